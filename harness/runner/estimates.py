"""What the runs that are missing will take: from those of the same arm that are stored, else from a rehearsal."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.experiment.plan import Arm
from harness.experiment.search import Budget, most_trials
from harness.records import Outcome, Record
from harness.store import Store, dump, write_atomically


class Prediction(Record):
    """What a run was said to take before any of its arm was stored; kept, to be held against what it took."""

    seconds: float
    """Of wall time."""
    processes: int
    memory_bytes: int | None
    device: str
    share: float
    """Of the data it was rehearsed with."""


class Estimate(NamedTuple):
    """What an arm's missing runs will take, if this machine is like that of the stored ones."""

    missing: int
    stored: int
    """How many runs it is taken from; if 0, it is the prediction."""
    seconds: float | None
    """Of wall time for each missing run; None where nothing is known."""
    device_seconds: float | None
    """The same, summed over the processes of a run."""
    memory_bytes: int | None
    """The highest peak: of the accelerator's memory where there is one, else of the process."""
    devices: tuple[str, ...]
    """What they ran on."""
    prediction: Prediction | None


def estimate(arm: Arm, store: Store) -> Estimate:
    """Return what an arm's missing runs will take: other seeds do the same work on the same texts."""
    outcomes = [store.sound(run) for run in (*arm.runs, *arm.repeats)]
    done = [outcome for outcome in outcomes if outcome is not None]
    missing, predicted = len(outcomes) - len(done), _read_prediction(arm, store)
    if done:
        return Estimate(
            missing=missing,
            stored=len(done),
            seconds=float(np.mean([outcome.wall_seconds for outcome in done])),
            device_seconds=float(np.mean([outcome.wall_seconds * outcome.processes for outcome in done])),
            memory_bytes=max((peak for outcome in done if (peak := peak_bytes(outcome)) is not None), default=None),
            devices=tuple(sorted({outcome.device for outcome in done})),
            prediction=predicted,
        )
    if predicted is None:
        return Estimate(missing, 0, None, None, None, (), None)
    seconds = predicted.seconds
    return Estimate(
        missing, 0, seconds, seconds * predicted.processes, predicted.memory_bytes, (predicted.device,), predicted
    )


def search_seconds(arm: Arm, budget: Budget, found: Estimate) -> float | None:
    """Return about how long choosing an arm's settings takes, in device seconds; None where nothing is known.

    A trial takes at most what a run takes, which is tested and watched besides; a budget in time ends no trial that was begun.
    """
    trials = most_trials(arm.space, budget)
    if trials is not None and found.device_seconds is not None:
        whole = trials * found.device_seconds
        return whole if budget.seconds is None else min(whole, budget.seconds)
    return budget.seconds


def keep_prediction(arm: Arm, store: Store, prediction: Prediction) -> None:
    """Keep what an arm's runs are said to take."""
    write_atomically(_place(arm, store), dump(prediction.model_dump()))


def peak_bytes(outcome: Outcome) -> int | None:
    """Return a run's highest peak of memory, of the accelerator where there is one; None where the system does not tell."""
    on_device = [phase.peak_device_bytes for phase in outcome.phases.values() if phase.peak_device_bytes is not None]
    resident = [phase.peak_memory_bytes for phase in outcome.phases.values() if phase.peak_memory_bytes is not None]
    return max(on_device or resident, default=None)


def _read_prediction(arm: Arm, store: Store) -> Prediction | None:
    path = _place(arm, store)
    return Prediction.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else None


def _place(arm: Arm, store: Store) -> Path:
    return store.cache / "estimates" / f"{arm.runs[0].id}.json"
