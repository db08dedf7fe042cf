"""Features of texts, computed once as long as the body does not change.

A changed body is detected by the digest of its weights. Features of the published body are cached on disk, memory-mapped,
for all runs, seeds and heads; those of a tuned body only in memory.
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
    """Features and the cost of extracting them."""

    array: NDArray[Any]
    """`[n, width]`, float32."""
    shared: Shared
    """Cost of the extraction in an earlier run; zero if this run extracted them or already reported it."""


class Features:
    """The features of a run's body."""

    def __init__(self, session: Session) -> None:
        """Record the current state of the body."""
        self._session = session
        self._kept: dict[str, NDArray[Any]] = {}
        self.look()

    def look(self) -> None:
        """Record the state of the body; call this after anything that may have changed it."""
        # A separate phase: reading every weight is a cost of the harness, not of the strategy.
        with self._session.meter.phase("digest"):
            self._digest = body_digest(self._session.heads.body, self._session.heads.made)
            self._marks = self._versions()

    @property
    def published(self) -> bool:
        """Whether the body is unchanged since publication."""
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
        # The first process decides for all, so that all extract or all read.
        if session.agree(published and session.cache.find("features", key) is not None):
            folder = session.cache.place("features", key)
            shared = Shared.model_validate_json((folder / _COST).read_text(encoding="utf-8"))
            self._kept[name] = np.load(folder / _ARRAY, mmap_mode="r", allow_pickle=False)
        else:
            self._kept[name] = self._extract(problem, split, pooling, key if published else None)
        return Extracted(self._kept[name], shared)

    def _versions(self) -> list[tuple[int, int]]:
        """Return values that change with every optimizer step, without reading the weights."""
        return versions(self._session.heads.body.parameters())

    def _extract(self, problem: int, split: Split, pooling: Pooling, key: list[Any] | None) -> NDArray[Any]:
        """Return the features of the current body; cached for other runs if there is a key."""
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
    """Returns precomputed logits, so that a task can compute predictions from them."""

    def __init__(self, logits: torch.Tensor) -> None:
        """Store the logits, `[b, k]`."""
        super().__init__()
        self._logits = logits

    def forward(self, **_: torch.Tensor) -> Any:
        """Return the logits."""
        from transformers.modeling_outputs import SequenceClassifierOutput

        return SequenceClassifierOutput(logits=self._logits)
