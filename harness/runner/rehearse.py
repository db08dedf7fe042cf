"""Rehearsal of a run on a sample of its data, to predict its cost on all data. It is not stored as a run.

    every split ──► its longest rows + a share of the others ──► an ordinary run in a temporary results folder

The rehearsal runs twice, with a small share and a larger one. Time that grows between the two is extrapolated to all
rows; time that does not grow, such as loading the model, is constant. Both contain the longest rows, so the largest batch
occurs and peak memory is measured.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from harness.contracts import Dataset
from harness.engine.cache import Cache
from harness.engine.data import Prepared, keep, prepare
from harness.experiment.plan import Plan
from harness.records import LEAST_STEPS, MOST_EPOCHS, SPLITS, TUNING, Failure, Outcome, Run, TrainConfig
from harness.runner.compute import compute
from harness.runner.estimates import Prediction, estimate, keep_prediction, peak_bytes
from harness.runner.plans import Runner
from harness.store import Store

_GROWING = {*TUNING, "validate", "test", "watch"}
"""The phases whose time grows with the number of rows."""
_BY_EPOCH = {"tune", "validate"}
"""The phases whose time grows with the number of epochs."""
_FEW_EPOCHS = 2
"""Epochs of the rehearsal of a run that lasts until validation is flat."""
_STEPS = (1, 6)
"""Optimizer steps per epoch of the two shares, in addition to the one on the longest rows."""
_PASSES = 60
"""Maximum forward passes of the larger share, so that large test splits do not make it slow."""


class Rehearsed(NamedTuple):
    """The predicted cost of a run, from its rehearsal."""

    outcome: Outcome
    """Of the larger share; its seconds and peaks are not those of the full run."""
    seconds: float
    """Predicted wall time on all rows."""
    share: float
    """Share of the rows in the larger sample."""


@dataclass(frozen=True)
class _Sizes:
    """Sample sizes of a split."""

    longest: dict[str, int]
    """Number of longest rows taken from each split."""
    shares: tuple[float, float]
    """Shares of the other rows."""
    most_epochs: float
    """Epochs of a run that lasts until validation is flat, at most."""


class Rehearsal:
    """Rehearses runs of one plan, one after another, with a shared cache."""

    def __init__(self, runs: Sequence[Run], cache: Cache, runner: Runner) -> None:
        """Prepare to rehearse some of these runs.

        Args:
            runs: Runs on the same data.
            cache: Holds their prepared data.
            runner: The runner that would compute them.
        """
        self._runner = runner
        first = runs[0]
        self._data = {
            problem.dataset.model_dump_json(): prepare(
                runner.catalog.restore(Dataset, problem.dataset), problem.dataset, cache, first.seed
            )
            for problem in first.task_data
        }
        stages = [self._data[problem.dataset.model_dump_json()] for problem in first.stages]
        self._sizes = _sizes([run.train for run in runs], stages, list(self._data.values()))
        self._folder = tempfile.TemporaryDirectory(dir=cache.root, prefix=".rehearsal-")

    def __enter__(self) -> Self:
        """Sample the data."""
        for share, root in zip(self._sizes.shares, self._roots, strict=True):
            cache = Cache(Store(root).cache)
            for prepared in self._data.values():
                keep(cut(prepared, self._sizes.longest, share), cache)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete the temporary files."""
        self._folder.cleanup()

    def rehearse(self, run: Run) -> Rehearsed | Failure:
        """Return the predicted cost of a run, or why it cannot be predicted."""
        # On a few rows, validation is too noisy for early stopping.
        fixed: dict[str, Any] = {"patience": None}
        more = 1.0
        if run.train.epochs == "flat":
            fixed |= {"epochs": _FEW_EPOCHS, "max_steps": None}
            more = self._sizes.most_epochs / _FEW_EPOCHS
        run = run.model_copy(update={"train": run.train.model_copy(update=fixed)})
        large = self._perform(run, self._roots[1])
        if isinstance(large, Failure) or self._sizes.shares[1] == 1:
            return (
                large if isinstance(large, Failure) else Rehearsed(large, extrapolate(None, large, (0, 1), more), 1.0)
            )
        small = self._perform(run, self._roots[0])
        if isinstance(small, Failure):
            return small
        return Rehearsed(large, extrapolate(small, large, self._sizes.shares, more), self._sizes.shares[1])

    @property
    def _roots(self) -> tuple[Path, Path]:
        return Path(self._folder.name) / "small", Path(self._folder.name) / "large"

    def _perform(self, run: Run, root: Path) -> Outcome | Failure:
        runner = dataclasses.replace(self._runner, store=Store(root), keep_models=False)
        jobs = compute([("rehearsal", runner.job(run))], runner.executor, runner.catalog, runner.say)
        return next(result for _, result in jobs)


def rehearse_unknown(plan: Plan, runner: Runner) -> dict[str, str]:
    """Rehearse the arms without stored runs or predictions; return the reasons of failures, by label."""
    unknown = [arm for arm in plan.arms if estimate(arm, runner.store).seconds is None]
    if not unknown:
        return {}
    reasons = {}
    runner.say(f"trial runs of {len(unknown)} strategies on a sample of the data")
    runner.prepare(plan)
    with Rehearsal([arm.runs[0] for arm in plan.arms], Cache(runner.store.cache), runner) as rehearsal:
        for number, arm in enumerate(unknown, 1):
            found = rehearsal.rehearse(arm.runs[0])
            if isinstance(found, Failure):
                reasons[arm.label] = f"{found.status}: {found.reason}"
            else:
                prediction = Prediction(
                    seconds=found.seconds,
                    processes=found.outcome.processes,
                    memory_bytes=peak_bytes(found.outcome),
                    device=found.outcome.device,
                    share=found.share,
                )
                keep_prediction(arm, runner.store, prediction)
            runner.say(f"[{number}/{len(unknown)}] {arm.label}")
    return reasons


def extrapolate(small: Outcome | None, large: Outcome, shares: tuple[float, float], epochs: float = 1.0) -> float:
    """Return the predicted wall seconds of a run on all rows, from runs on two shares of them.

    Args:
        small: The run on the smaller share; None if the larger one is all rows.
        large: The run on the larger share.
        shares: The shares.
        epochs: How many times as many epochs the run has.
    """
    less, share = shares
    total = large.wall_seconds
    for name, phase in large.phases.items():
        seconds, growth = phase.wall_seconds, 0.0
        if name in _GROWING and small is not None and name in small.phases:
            # Less time for more rows is noise.
            growth = max(0.0, seconds - small.phases[name].wall_seconds) * (1 - share) / (share - less)
        total += growth
        if name in _BY_EPOCH:
            total += (epochs - 1) * (seconds + growth)
    return total


def _sizes(settings: Sequence[TrainConfig], stages: Sequence[Prepared], everything: Sequence[Prepared]) -> _Sizes:
    """Return the sample sizes, the same for all arms."""
    batch = max(
        train.batch_size if train.batch_tokens is None else -(-train.batch_tokens // train.max_length)
        for train in settings
    )
    per_pass = max(1, *(train.eval_batch_tokens // train.max_length for train in settings))
    epochs = max(_FEW_EPOCHS if train.epochs == "flat" else train.epochs for train in settings)
    trained = sum(len(prepared.splits["train"]) for prepared in stages)
    steps = max(1, min(len(prepared.splits["train"]) for prepared in stages) // batch)
    longest = max(train.max_steps or max(LEAST_STEPS, MOST_EPOCHS * steps) for train in settings)
    scored = sum(len(prepared.splits["test"]) for prepared in everything)
    scored += epochs * sum(len(prepared.splits["validation"]) for prepared in stages)
    most = min(_STEPS[1] * batch * len(stages) / trained, _PASSES * per_pass / scored)
    # If the data is not much larger than the sample, rehearse on all rows.
    more = most if most < 0.5 else 1.0
    longest_rows = {"train": batch, "validation": per_pass, "test": per_pass}
    return _Sizes(longest_rows, (more * _STEPS[0] / _STEPS[1], more), longest / steps)


def cut(prepared: Prepared, longest: dict[str, int], share: float) -> Prepared:
    """Return the data with a sample of each split's rows; a larger share contains every smaller one."""
    splits = {}
    for split in SPLITS:
        rows = prepared.splits[split]
        order = np.argsort(-_lengths(rows), kind="stable")
        first, others = order[: longest[split]], order[longest[split] :]
        others = np.random.default_rng(0).permutation(others)[: round(share * len(others))]
        splits[split] = rows.select(np.sort(np.concatenate([first, others])))
    return dataclasses.replace(prepared, splits=splits)


def _lengths(rows: Any) -> NDArray[np.int64]:
    """Return the characters of all texts in each row, `[n]`: a fast approximation of length."""
    lengths = np.zeros(len(rows), dtype=np.int64)
    for name in rows.column_names:
        values = rows[name][:]
        if values and isinstance(values[0], str):
            lengths += np.array([len(value or "") for value in values])
        elif values and isinstance(values[0], list) and values[0] and isinstance(values[0][0], str):
            lengths += np.array([sum(map(len, value)) for value in values])
    return lengths
