"""The functions of the package that have no other place: load a model, compute a job, name versions."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.catalog import load_catalog
from harness.delivery.load import Delivered
from harness.delivery.manifest import versions as libraries
from harness.records import Failure, Job, Outcome, Place

__version__ = importlib.metadata.version("finetune-harness")


def load(folder: str | Path, *, device: str | None = None, onnx: bool = False) -> Delivered:
    """Return the model in a folder written by `harness export` or `--keep-models`; call its `predict` with texts.

    Args:
        folder: The folder.
        device: Device, such as `cpu` or `cuda`; None for an accelerator if there is one.
        onnx: Use the folder's ONNX graph.

    Raises:
        HarnessError: The folder has no such model, a file in it was changed, or a dependency is not installed.
    """
    return Delivered(folder, device=device, onnx=onnx)


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
    from harness.engine.worker import work

    return work(job, load_catalog(job.without), tell or (lambda _: None), place or Place())


def versions() -> dict[str, str]:
    """Return the versions of the main libraries and of every installed plugin's distribution, by name.

    Machines on which they are equal compute comparable results.
    """
    plugins = dict(state.distribution.rsplit(" ", 1) for state in load_catalog().states)
    return libraries() | plugins
