"""Caching of the outputs below the trained blocks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from harness.engine.compat import versions
from harness.engine.fast.prefix import Kept, Prefix, Writer, find_prefix
from harness.engine.forward import Batch, Batches, Compute, passes
from harness.engine.meter import spent_between
from harness.records import Split

if TYPE_CHECKING:
    from harness.engine.session import Session

_SHARE_OF_DISK = 0.25
"""Maximum share of the free disk space for one split."""
_TOLERANCE = 1e-4
"""Tolerance of outputs against the plain path, relative to the largest."""
_CHECKED = 4
"""Number of rows for comparing the two paths; includes the shortest and the longest, so that there is padding."""


class Splice:
    """A model in training with its prefix, and the prefix outputs for the splits of one problem."""

    def __init__(self, session: Session, problem: int, model: nn.Module, prefix: Prefix) -> None:
        """Store the model and prefix; nothing is computed yet."""
        self.prefix = prefix
        self._session, self._problem, self._model = session, problem, model
        self._task = session.tokens[problem].task
        self._kept: dict[Split, Kept] = {}
        self._marks = self._versions()

    def serves(self, model: nn.Module, problem: int) -> bool:
        """Return whether the cached outputs are valid for this model's predictions on the problem.

        False for text generation, which processes other tokens than those of the batch.
        """
        known = model is self._model and problem == self._problem and self._versions() == self._marks
        return known and self._task.answers != "text"

    def keep(self, split: Split) -> Kept:
        """Return the prefix outputs for a split; computed if not cached."""
        if split not in self._kept:
            self._kept[split] = self._open(split)
        return self._kept[split]

    def compute(self, batch: Batch) -> torch.Tensor:
        """Return the whole model's predictions for a batch, or its loss for text generation."""
        made = self._task.loss if self._task.answers == "text" else self._task.predict
        return made(self._model, batch)

    def problem_found(self) -> str | None:
        """Return the reason why the plain path is required, as a clause; None if the two agree."""
        session = self._session
        lengths = session.tokens[self._problem].lengths("train")
        order = np.argsort(lengths, kind="stable")
        numbers = order[np.unique(np.linspace(0, len(order) - 1, _CHECKED).astype(int))]
        plain, spliced = (Batches(session, self._problem, "train", kept) for kept in (None, self.keep("train")))
        first, second = plain(numbers), plain(numbers)
        if any(not torch.equal(first[name], second[name]) for name in first):
            return f"task {self._task.name!r} creates different batches from the same texts each time"
        training = [(module, module.training) for module in self._model.modules()]
        self._model.eval()
        with torch.no_grad(), session.accelerator.autocast():
            expected, found = self.compute(first), self.prefix.wrap(self.compute)(spliced(numbers))
        for module, mode in training:
            module.training = mode
        if not torch.allclose(expected, found, rtol=0, atol=_TOLERANCE * float(expected.abs().max().clamp(min=1))):
            return f"{type(self._model).__name__} gives different outputs with cached layers"
        return None

    def _open(self, split: Split) -> Kept:
        session = self._session
        tokens = session.tokens[self._problem]
        lengths = tokens.lengths(split)
        key = [self.prefix.digest, len(self.prefix.blocks), tokens.key(split), session.arithmetic]
        with session.meter.phase("wait"):
            session.cache.wait("hidden", key)
        built = False
        before = session.meter.now()

        def below(batch: Batch) -> torch.Tensor:
            return self.prefix.run(self.compute, batch)

        def build(folder: Path) -> None:
            nonlocal built
            built = True
            writer = Writer(folder, lengths, self.width())
            passes(
                session,
                self._problem,
                Batches(session, self._problem, split),
                self._model,
                below,
                lambda numbers, batch, hidden: writer.put(numbers, batch["attention_mask"], hidden),
                f"below {len(self.prefix.blocks)}",
            )
            writer.close(spent_between(before, session.meter.now()))

        kept = Kept(session.cache.make("hidden", key, build), lengths)
        if not built and split == "train":
            session.shared += kept.cost
        return kept

    def width(self) -> int:
        """Return the width of one token's cached output."""
        with torch.no_grad(), self._session.accelerator.autocast():
            batch = Batches(self._session, self._problem, "train")(np.array([0]))
            return int(self.prefix.run(self.compute, batch).shape[-1])

    def _versions(self) -> list[tuple[int, int]]:
        modules = (*self.prefix.before, *self.prefix.blocks)
        return versions(p for module in modules for p in module.parameters())


def splice(session: Session, problem: int, model: nn.Module, compute: Compute) -> tuple[Prefix | None, Splice | None]:
    """Return the prefix that cannot change when training with `compute`, and its cached outputs.

    If a prefix exists but is not cached, the run's notes give the reason.
    """
    lengths = session.tokens[problem].lengths("train")
    shortest = Batches(session, problem, "train")(np.array([int(np.argmin(lengths))]))
    with session.meter.phase("count"):
        prefix = find_prefix(session.heads.body, compute, shortest)
    if prefix is None:
        return None, None
    if not session.fast:
        return prefix, None
    found = Splice(session, problem, model, prefix)
    with session.meter.phase("features"):
        reason = _hindrance(session, found, shortest, int(lengths.sum()))
        reason = reason or found.problem_found()
    if reason is not None:
        session.notes.append(f"frozen lower layers are not cached: {reason}")
        return prefix, None
    return prefix, found


def _hindrance(session: Session, found: Splice, batch: dict[str, Any], tokens: int) -> str | None:
    if session.run.train.compile:
        return "the model is compiled"
    if session.processes > 1:
        return "several processes share the run"
    if "attention_mask" not in batch:
        return "the batches have no attention mask"
    wanted = tokens * found.width() * 4
    if wanted > _SHARE_OF_DISK * shutil.disk_usage(session.cache.root).free:
        return f"the cache would need {wanted / 1e9:.1f} GB, more than a quarter of the free disk space"
    return None
