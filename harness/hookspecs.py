"""The hooks a plugin can implement. Each has a complete example in `plugins/README.md`.

A plugin is a module named by an entry point in the group `harness`. Component hooks take no arguments and return
classes; the harness collects them, rejects duplicate names, and creates instances as needed. Observer hooks are called on events, in the process of the command.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from harness.contracts import Dataset, Executor, Metric, Model, Reporter, Strategy, Task, Tracker
    from harness.records import Failure, Outcome, Run

hookspec = pluggy.HookspecMarker("harness")
hookimpl = pluggy.HookimplMarker("harness")


@hookspec
def harness_models() -> Iterable[type[Model]]:
    """Return pretrained base models."""


@hookspec
def harness_datasets() -> Iterable[type[Dataset]]:
    """Return datasets."""


@hookspec
def harness_tasks() -> Iterable[type[Task]]:
    """Return tasks."""


@hookspec
def harness_strategies() -> Iterable[type[Strategy]]:
    """Return tuning strategies."""


@hookspec
def harness_metrics() -> Iterable[type[Metric]]:
    """Return metrics."""


@hookspec
def harness_reporters() -> Iterable[type[Reporter]]:
    """Return reporters, which write a table."""


@hookspec
def harness_executors() -> Iterable[type[Executor]]:
    """Return executors, which compute runs."""


@hookspec
def harness_trackers() -> Iterable[type[Tracker]]:
    """Return trackers, which are sent the progress and results of a comparison."""


@hookspec
def harness_run_started(run: Run, label: str) -> None:
    """Handle the start of a run of the arm `label`."""


@hookspec
def harness_run_logged(run: Run, event: dict[str, object]) -> None:
    """Handle the progress of a run: `{"phase": "tune", "step": 5, "steps": 60, "loss": 0.61}`."""


@hookspec
def harness_run_finished(run: Run, result: Outcome | Failure) -> None:
    """Handle the end of a run, finished or failed."""
