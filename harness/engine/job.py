"""What a run's process is told. Free of torch, so that the command that starts it is too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.records import Run


@dataclass(frozen=True)
class Job:
    """One process's share of one run."""

    run: Run
    results: Path
    without: tuple[str, ...] = ()
    processes: int = 1
    rank: int = 0
    port: int = 0
    """Where the processes of a run meet; 0 if there is one."""
    side_by_side: int = 1
    """Runs at a time, of which this is one."""
    place: int = 0
    """Which of them, from 0."""
    cpu: bool = False
    keep_model: bool = False
    """Whether the run's folder is to hold the model."""
    deliver: Path | None = None
    """Where the model is to be written besides, in place of the run's folder; nothing may be there yet."""
