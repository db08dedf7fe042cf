"""The hooks a plugin can implement. Each has a whole example in `plugins/README.md`.

A plugin is a module named by an entry point in the group `harness`. Component hooks take nothing and return classes; the
harness collects them, refuses double names, and makes instances where an experiment asks for them. Observer hooks are
told what happens, in the process of the command.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from harness.contracts import Dataset, Executor, Metric, Model, Reporter, Strategy, Task
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
    """Return ways to write a table."""


@hookspec
def harness_executors() -> Iterable[type[Executor]]:
    """Return places where runs are computed."""


@hookspec
def harness_run_started(run: Run, label: str) -> None:
    """A run of the arm `label` begins."""


@hookspec
def harness_run_logged(run: Run, event: dict[str, object]) -> None:
    """A run says where it is: `{"phase": "tune", "step": 5, "steps": 60, "loss": 0.61}`."""


@hookspec
def harness_run_finished(run: Run, result: Outcome | Failure) -> None:
    """A run has ended, well or not."""
