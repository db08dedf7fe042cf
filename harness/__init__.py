"""Compare full fine-tuning, frozen features and parameter-efficient tuning by accuracy, cost and forgetting.

`compare`, `plan` and `load_experiment` are the Python API; the other names are for plugins. Importing them does not
import torch.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

from harness.architecture import (
    block_count,
    find_blocks,
    head_class,
    keeps_tokens,
    scores_last_token,
    skeleton,
)
from harness.contracts import (
    Component,
    Confusion,
    Data,
    Dataset,
    Executor,
    Facts,
    Metric,
    Model,
    ModelSource,
    Ratio,
    Reporter,
    Span,
    Strategy,
    Task,
    Tracker,
    Unlabelled,
    hash_files,
)
from harness.errors import HarnessError, UndefinedError, unknown
from harness.hookspecs import hookimpl
from harness.processes import start_process, warm_process
from harness.protocols import Earlier, Host, Loader, Pooling, Stage, View
from harness.records import (
    ADDED,
    UNITS,
    Cell,
    Column,
    ComponentRef,
    Failure,
    Job,
    Outcome,
    Place,
    Predictions,
    Row,
    Run,
    Split,
    Table,
    TrainConfig,
    added,
    parse_result,
)
from harness.reports import AnswerReport, ArmReport, ClassReport, CurveReport, DatasetReport, Report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from harness.api import Comparison, compare, load_experiment, plan
    from harness.delivery.load import Delivered


def load(folder: str | Path, *, device: str | None = None, onnx: bool = False) -> Delivered:
    """Return the model in a folder written by `harness export` or `--keep-models`; call its `predict` with texts.

    Args:
        folder: The folder.
        device: Device, such as `cpu` or `cuda`; None for an accelerator if there is one.
        onnx: Use the folder's ONNX graph.

    Raises:
        HarnessError: The folder has no such model, a file in it was changed, or a dependency is not installed.
    """
    from harness.delivery.load import Delivered

    return Delivered(folder, device=device, onnx=onnx)


_API = ("Comparison", "compare", "load_experiment", "plan")


def __getattr__(name: str) -> Any:
    """Return a name of the Python API, imported on first use, because plugins do not need it."""
    if name == "__version__":
        return importlib.metadata.version("finetune-harness")
    if name not in _API:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from harness import api

    return getattr(api, name)


def compute(
    job: Job, tell: Callable[[dict[str, Any]], None] | None = None, place: Place | None = None
) -> Outcome | Failure:
    """Compute a job in this process, which does nothing else, and store the result; for executors.

    The output of the process goes to the run's `worker.log`.

    Args:
        job: The job to compute.
        tell: Called with progress, such as `{"phase": "tune", "step": 5, "steps": 60, "loss": 0.61}`; None to skip it.
        place: The share of the run and of the machine for this process; None for all of both.
    """
    from harness.catalog import load_catalog
    from harness.engine.worker import work

    return work(job, load_catalog(job.without), tell or (lambda _: None), place or Place())


def versions() -> dict[str, str]:
    """Return the versions of the main libraries and of every installed plugin's distribution, by name.

    Machines on which they are equal compute comparable results.
    """
    from harness.catalog import load_catalog
    from harness.delivery.manifest import versions as libraries

    plugins = dict(state.distribution.rsplit(" ", 1) for state in load_catalog().states)
    return libraries() | plugins


__all__ = [
    "ADDED",
    "UNITS",
    "AnswerReport",
    "ArmReport",
    "Cell",
    "ClassReport",
    "Column",
    "Comparison",
    "Component",
    "ComponentRef",
    "Confusion",
    "CurveReport",
    "Data",
    "Dataset",
    "DatasetReport",
    "Earlier",
    "Executor",
    "Facts",
    "Failure",
    "HarnessError",
    "Host",
    "Job",
    "Loader",
    "Metric",
    "Model",
    "ModelSource",
    "Outcome",
    "Place",
    "Pooling",
    "Predictions",
    "Ratio",
    "Report",
    "Reporter",
    "Row",
    "Run",
    "Span",
    "Split",
    "Stage",
    "Strategy",
    "Table",
    "Task",
    "Tracker",
    "TrainConfig",
    "UndefinedError",
    "Unlabelled",
    "View",
    "added",
    "block_count",
    "compare",
    "compute",
    "find_blocks",
    "hash_files",
    "head_class",
    "hookimpl",
    "keeps_tokens",
    "load",
    "load_experiment",
    "parse_result",
    "plan",
    "scores_last_token",
    "skeleton",
    "start_process",
    "unknown",
    "versions",
    "warm_process",
]
