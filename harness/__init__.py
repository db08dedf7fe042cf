"""Compare full fine-tuning, frozen features and parameter-efficient tuning by accuracy, cost and forgetting.

The names below are all a plugin needs; importing them imports no torch.
"""

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
    hash_files,
)
from harness.errors import HarnessError, UndefinedError, unknown
from harness.hookspecs import hookimpl
from harness.protocols import Earlier, Loader, Pooling, Stage, View
from harness.records import ADDED, Cell, Column, ComponentRef, Predictions, Row, Split, Table, TrainConfig

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
    "View",
    "block_count",
    "find_blocks",
    "hash_files",
    "hookimpl",
    "skeleton",
    "unknown",
]
