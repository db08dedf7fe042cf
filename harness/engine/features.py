"""What a body makes of texts, computed once for as long as the body does not change.

That a body is unchanged is noticed, not declared: features are known by the digest of its weights. Those of the body as
published are kept on disk, memory-mapped, for every run, seed and head; those of a tuned body only in memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import nn

from harness.delivery.pooled import pooled
from harness.engine.compat import versions
from harness.engine.forward import forward
from harness.engine.meter import merge_spent, spent_between
from harness.engine.models import body_digest
from harness.engine.session import Session
from harness.protocols import Pooling
from harness.records import Shared, Split, digest
from harness.store import dump

_ARRAY, _COST = "features.npy", "cost.json"


class Extracted(NamedTuple):
    """Features, and what they would have cost."""

    array: NDArray[Any]
    """`[n, width]`, float32."""
    shared: Shared
    """What extracting them took an earlier run; nothing if this run extracted them, or has said so before."""


class Features:
    """The features of a run's body as it was when last looked at."""

    def __init__(self, session: Session) -> None:
        """Look at the body as it is now."""
        self._session = session
        self._kept: dict[str, NDArray[Any]] = {}
        self.look()

    def look(self) -> None:
        """Notice whether the body has changed; to be called after anything that may have changed it."""
        # A phase of its own: reading every weight is the harness's doing, not a strategy's cost.
        with self._session.meter.phase("digest"):
            self._digest = body_digest(self._session.heads.body, self._session.heads.made)
            self._marks = self._versions()

    @property
    def published(self) -> bool:
        """Whether the body is as it was published."""
        if self._versions() != self._marks:
            self.look()
        return self._digest == self._session.published

    def get(self, problem: int, split: Split, pooling: Pooling) -> Extracted:
        """Return the pooled features of a problem's split."""
        session = self._session
        published = self.published
        key = [self._digest, session.tokens[problem].key(split), pooling, session.arithmetic]
        name = digest(key)
        if name in self._kept:
            return Extracted(self._kept[name], Shared())
        shared = Shared()
        # One process decides for all, or some would extract together while others read.
        if session.agree(published and session.cache.find("features", key) is not None):
            folder = session.cache.place("features", key)
            shared = Shared.model_validate_json((folder / _COST).read_text(encoding="utf-8"))
            self._kept[name] = np.load(folder / _ARRAY, mmap_mode="r", allow_pickle=False)
        else:
            self._kept[name] = self._extract(problem, split, pooling, key if published else None)
        return Extracted(self._kept[name], shared)

    def _versions(self) -> list[tuple[int, int]]:
        """Return what changes with every step of an optimizer, without reading the weights."""
        return versions(self._session.heads.body.parameters())

    def _extract(self, problem: int, split: Split, pooling: Pooling, key: list[Any] | None) -> NDArray[Any]:
        """Return the features of the body as it is; kept for other runs if there is a key to know them by."""
        session, body = self._session, self._session.heads.body
        before = session.meter.now()
        array = forward(session, problem, split, body, lambda batch: pooled(body, batch, pooling))
        cost = merge_spent(gather_object([spent_between(before, session.meter.now())]))

        def build(folder: Path) -> None:
            np.save(folder / _ARRAY, array, allow_pickle=False)
            (folder / _COST).write_text(dump(cost.model_dump()), encoding="utf-8")

        if key is not None and session.rank == 0:
            session.cache.make("features", key, build)
        return array


class Answered(nn.Module):
    """Gives logits that are there already: what a task makes of them is its own."""

    def __init__(self, logits: torch.Tensor) -> None:
        """Take the logits, `[b, k]`."""
        super().__init__()
        self._logits = logits

    def forward(self, **_: torch.Tensor) -> Any:
        """Return them."""
        from transformers.modeling_outputs import SequenceClassifierOutput

        return SequenceClassifierOutput(logits=self._logits)
