"""Compare full fine-tuning, frozen features and parameter-efficient tuning by accuracy, cost and forgetting.

The names below are all a plugin needs; importing them imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.architecture import block_count, find_blocks, skeleton
from harness.contracts import (
    Component,
    Dataset,
    Facts,
    Metric,
    Model,
    ModelSource,
    Ratio,
    Reporter,
    Span,
    Strategy,
    Task,
    Unlabelled,
    hash_files,
)
from harness.errors import HarnessError, UndefinedError, unknown
from harness.hookspecs import hookimpl
from harness.protocols import Earlier, Loader, Pooling, Stage, View
from harness.records import ADDED, Cell, Column, ComponentRef, Predictions, Row, Split, Table, TrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from harness.delivery.load import Delivered


def load(folder: str | Path, *, device: str | None = None, onnx: bool = False) -> Delivered:
    """Return the model of a folder that `harness export` or `--keep-models` wrote; its `predict` answers texts.

    Args:
        folder: The folder.
        device: Such as `cpu` or `cuda`; None for an accelerator if there is one.
        onnx: Take the folder's ONNX graph.

    Raises:
        HarnessError: It is no such folder, a file in it was changed since, or what it needs is not installed.
    """
    from harness.delivery.load import Delivered

    return Delivered(folder, device=device, onnx=onnx)


__all__ = [
    "ADDED",
    "Cell",
    "Column",
    "Component",
    "ComponentRef",
    "Dataset",
    "Earlier",
    "Facts",
    "HarnessError",
    "Loader",
    "Metric",
    "Model",
    "ModelSource",
    "Pooling",
    "Predictions",
    "Ratio",
    "Reporter",
    "Row",
    "Span",
    "Split",
    "Stage",
    "Strategy",
    "Table",
    "Task",
    "TrainConfig",
    "UndefinedError",
    "Unlabelled",
    "View",
    "block_count",
    "find_blocks",
    "hash_files",
    "hookimpl",
    "load",
    "skeleton",
    "unknown",
]
