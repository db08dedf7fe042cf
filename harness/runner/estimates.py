"""Estimated cost of the missing runs, from stored runs of the same arm or else from a rehearsal."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from harness.experiment.plan import Arm
from harness.experiment.search import Budget, most_trials
from harness.records import Outcome, Record
from harness.store import Store, dump, write_atomically


class Prediction(Record):
    """The predicted cost of a run, saved before any run of its arm is stored, for comparison with the actual cost."""

    seconds: float
    """Wall time."""
    processes: int
    memory_bytes: int | None
    device: str
    share: float
    """Share of the data used for the rehearsal."""


class Estimate(NamedTuple):
    """The estimated cost of an arm's missing runs, if this machine is like that of the stored ones."""

    missing: int
    stored: int
    """Number of stored runs the estimate is based on; if 0, it is the prediction."""
    seconds: float | None
    """Wall time for each missing run; None if unknown."""
    device_seconds: float | None
    """The same, summed over the processes of a run."""
    memory_bytes: int | None
    """The highest peak: of accelerator memory if there is an accelerator, else of the process."""
    devices: tuple[str, ...]
    """Devices of the stored runs."""
    prediction: Prediction | None


def estimate(arm: Arm, store: Store) -> Estimate:
    """Return the estimated cost of an arm's missing runs: other seeds do the same work on the same texts."""
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
    """Return the approximate device seconds of the search for an arm's settings; None if unknown.

    A trial takes at most as long as a run, which also includes tests and watching; a time budget does not stop a trial
    that has started.
    """
    trials = most_trials(arm.space, budget)
    if trials is not None and found.device_seconds is not None:
        whole = trials * found.device_seconds
        return whole if budget.seconds is None else min(whole, budget.seconds)
    return budget.seconds


def keep_prediction(arm: Arm, store: Store, prediction: Prediction) -> None:
    """Save the predicted cost of an arm's runs."""
    write_atomically(_place(arm, store), dump(prediction.model_dump()))


def peak_bytes(outcome: Outcome) -> int | None:
    """Return a run's peak memory, of the accelerator if there is one; None if the system does not report it."""
    on_device = [phase.peak_device_bytes for phase in outcome.phases.values() if phase.peak_device_bytes is not None]
    resident = [phase.peak_memory_bytes for phase in outcome.phases.values() if phase.peak_memory_bytes is not None]
    return max(on_device or resident, default=None)


def _read_prediction(arm: Arm, store: Store) -> Prediction | None:
    path = _place(arm, store)
    return Prediction.model_validate_json(path.read_text(encoding="utf-8")) if path.exists() else None


def _place(arm: Arm, store: Store) -> Path:
    return store.cache / "estimates" / f"{arm.runs[0].id}.json"
