"""What the runs that are missing will take, from those of the same arm that are stored."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from harness.experiment.plan import Arm
from harness.records import Outcome
from harness.store import Store


class Estimate(NamedTuple):
    """What an arm's missing runs will take, if this machine is like that of the stored ones."""

    missing: int
    stored: int
    """How many runs it is taken from."""
    seconds: float | None
    """Of wall time for each missing run; None where none is stored."""
    device_seconds: float | None
    """The same, summed over the processes of a run."""
    memory_bytes: int | None
    """The highest peak: of the accelerator's memory where there is one, else of the process."""
    devices: tuple[str, ...] = ()
    """What the stored ones ran on."""


def estimate(arm: Arm, store: Store) -> Estimate:
    """Return what an arm's missing runs will take: other seeds do the same work on the same texts."""
    outcomes = [store.outcome(run) for run in (*arm.runs, *arm.repeats)]
    done = [outcome for outcome in outcomes if outcome is not None]
    peaks = [peak for outcome in done if (peak := _peak(outcome)) is not None]
    return Estimate(
        missing=len(outcomes) - len(done),
        stored=len(done),
        seconds=float(np.mean([outcome.wall_seconds for outcome in done])) if done else None,
        device_seconds=float(np.mean([outcome.wall_seconds * outcome.processes for outcome in done])) if done else None,
        memory_bytes=max(peaks, default=None),
        devices=tuple(sorted({outcome.device for outcome in done})),
    )


def _peak(outcome: Outcome) -> int | None:
    on_device = [phase.peak_device_bytes for phase in outcome.phases.values() if phase.peak_device_bytes is not None]
    resident = [phase.peak_memory_bytes for phase in outcome.phases.values() if phase.peak_memory_bytes is not None]
    return max(on_device or resident, default=None)
