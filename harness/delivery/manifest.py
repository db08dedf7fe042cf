"""`harness.json`: description of a delivered folder, and the sha256 of every file in it."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, NonNegativeFloat, NonNegativeInt, PositiveInt, ValidationError

from harness.contracts import hash_files
from harness.errors import HarnessError
from harness.records import ComponentRef, Record, TrainConfig
from harness.store import dump, write_atomically

NAME = "harness.json"
CARD = "README.md"
ONNX = "model.onnx"
FORMAT = 1
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "scikit-learn", "finetune-harness")
_EDITABLE = frozenset({NAME, CARD})
"""Files that may be edited later: the manifest, and the card, which people complete."""


class Base(Record):
    """The pretrained model that an adapter belongs to."""

    name: str
    """Name in the experiment."""
    path: str
    """A hub id, or a folder relative to the delivered one."""
    revision: str | None = None
    """Revision of a hub id; None for a folder."""
    sha256: str | None = None
    """Hash of its weights; None for weights that are only on the hub."""
    licence: str | None = None

    @property
    def local(self) -> bool:
        """Whether `path` is a folder."""
        return self.revision is None


class ScoreLine(Record):
    """A value of the comparison's table."""

    group: str
    title: str
    text: str
    """Text in the table."""
    metric: str | None = None
    """Metric, for scores on the tuned data."""
    value: float | None = None
    low: float | None = None
    """Lower end of the 95 % interval; None if there is none."""
    high: float | None = None
    half_width: float | None = None


class Rescored(Record):
    """Comparison of the folder's predictions, in a new process, with the stored ones."""

    loader: str
    """The library that loaded the folder."""
    items: PositiveInt
    equal: NonNegativeInt
    """Items with the same class, tags or text; for predicted numbers, those within the tolerance."""
    largest_difference: NonNegativeFloat | None = None
    """Largest difference of scores, divided by the larger of 1 and the stored score; None for predicted texts."""
    tolerance: NonNegativeFloat | None = None
    device: str
    versions: dict[str, str]


class Manifest(Record):
    """Description of a delivered folder."""

    format: int = FORMAT
    kind: Literal["whole", "adapter", "pooled", "onnx", "none"]
    """A transformers model; a PEFT adapter; a body with pooling and linear head (sentence-transformers); only an ONNX graph; or a
    model that no library can load."""
    reason: str = ""
    """Reason for kind `none`."""
    auto_class: str | None = None
    """The transformers class that loads the model or the adapter's base."""
    settings: dict[str, JsonValue] = {}
    """Additional arguments of that class."""
    base: Base
    task: ComponentRef
    dataset: ComponentRef
    """Without its location, which is specific to a machine."""
    data: str
    """Name of the data, with the source file."""
    classes: tuple[str, ...] | None = None
    columns: dict[str, tuple[str, ...]] = {}
    """Columns of the training data by role."""
    licence: str | None = None
    """Licence of the training data."""
    citation: str | None = None
    rows: dict[str, NonNegativeInt] = {}
    """Number of rows of each split."""
    max_length: PositiveInt
    """Maximum number of tokens of a text."""
    batch_tokens: PositiveInt
    """Tokens per batch in the evaluation."""
    precision: Literal["fp32", "bf16", "fp16"]
    """Precision of arithmetic in the evaluation."""
    dtype: str
    """Type of the weights."""
    pooling: str | None = None
    """Pooling of token features, for a head on frozen features."""
    run: str
    """The run's id."""
    strategy: ComponentRef
    train: TrainConfig
    seed: NonNegativeInt
    stage: NonNegativeInt = 0
    """Index of the dataset the head is for, from 0."""
    experiment: str | None = None
    arm: str | None = None
    """Row in the comparison's table; None if a run saved the folder."""
    all_data: bool = False
    """Whether the model was tuned on all splits; scores are then from the comparison's models, tuned on train only."""
    seeds: tuple[NonNegativeInt, ...] = ()
    """Seeds averaged in the scores."""
    scores: tuple[ScoreLine, ...] = ()
    rescored: tuple[Rescored, ...] = ()
    versions: dict[str, str]
    files: dict[str, str] = {}
    """The sha256 of every file except this one."""


def versions() -> dict[str, str]:
    """Return the versions of the packages used."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write `harness.json` with the hashes of the folder's current files; return the manifest."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # some libraries write weights readable only by the owner
    whole = manifest.model_copy(update={"files": _hashes(folder)})
    write_atomically(folder / NAME, dump(whole.model_dump(mode="json")))
    return whole


def read_manifest(folder: Path) -> Manifest:
    """Return a folder's manifest after verifying its files.

    Raises:
        HarnessError: The folder is not a delivered one, has another format version, or a file was changed or removed.
    """
    path = folder / NAME
    if not path.is_file():
        what = "not a folder" if not folder.is_dir() else f"not an exported model (no {NAME})"
        message = f"{str(folder)!r} is {what}; use a folder written by harness export or --keep-models"
        raise HarnessError(message)
    try:
        manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError, OSError):
        message = (
            f"{str(path)!r} cannot be read; it is damaged or from another version of harness: export the model again"
        )
        raise HarnessError(message) from None
    if manifest.format != FORMAT:
        message = (
            f"{str(folder)!r} has format {manifest.format}, but this version reads format {FORMAT}: update harness"
        )
        raise HarnessError(message)
    for name, sha256 in manifest.files.items():
        if name in _EDITABLE:
            continue
        if not (folder / name).is_file():
            message = f"{str(folder)!r} lacks the file {name}: export the model again"
            raise HarnessError(message)
        if hash_files([folder / name]) != sha256:
            message = f"{str(folder / name)!r} was changed after delivery (sha256 differs): export the model again"
            raise HarnessError(message)
    return manifest


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    return {path.relative_to(folder).as_posix(): hash_files([path]) for path in files}
