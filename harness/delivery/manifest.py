"""`harness.json`: what a delivered folder is, and the sha256 of every file in it."""

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
"""Files that may change after they were written: this one, and the card, which people complete."""


class Base(Record):
    """The pretrained model that an adapter belongs to."""

    name: str
    """As the experiment names it."""
    path: str
    """A hub id; or a folder, relative to the delivered one."""
    revision: str | None = None
    """Of a hub id; None for a folder."""
    sha256: str | None = None
    """Of its weights; None where only a hub knows them."""
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
    """As the table shows it."""
    metric: str | None = None
    """Of a score of what was tuned on."""
    value: float | None = None
    half_width: float | None = None
    """Of the 95 % interval; None where there is none."""


class Rescored(Record):
    """How the folder's answers, in a fresh process, compare with the stored predictions."""

    loader: str
    """The public loader that opened it."""
    items: PositiveInt
    equal: NonNegativeInt
    """Items whose class, tags or text are the same; where a number is predicted, those within the tolerance."""
    largest_difference: NonNegativeFloat | None = None
    """Between scores, divided by the larger of 1 and the stored score; None where texts are predicted."""
    tolerance: NonNegativeFloat | None = None
    device: str
    versions: dict[str, str]


class Manifest(Record):
    """What a delivered folder is."""

    format: int = FORMAT
    kind: Literal["whole", "adapter", "pooled", "onnx", "none"]
    """A model of transformers; an adapter of PEFT; a body, pooling and a linear head (sentence-transformers); an ONNX graph alone; or
    nothing that any library loads."""
    reason: str = ""
    """Why it is `none`."""
    auto_class: str | None = None
    """The class of transformers that loads the model, or an adapter's base."""
    settings: dict[str, JsonValue] = {}
    """What that class is given besides."""
    base: Base
    task: ComponentRef
    dataset: ComponentRef
    """Its location is left out: it is of another machine."""
    data: str
    """What the data is called, with the file it came from."""
    classes: tuple[str, ...] | None = None
    columns: dict[str, tuple[str, ...]] = {}
    """By role, the columns of the data that was tuned on."""
    licence: str | None = None
    """Of that data."""
    citation: str | None = None
    rows: dict[str, NonNegativeInt] = {}
    """Of each split."""
    max_length: PositiveInt
    """Tokens a text may have."""
    batch_tokens: PositiveInt
    """Tokens of a batch when it was measured."""
    precision: Literal["fp32", "bf16", "fp16"]
    """Of the arithmetic when it was measured."""
    dtype: str
    """Of the weights."""
    pooling: str | None = None
    """How a text's token features become one vector, of a head on frozen features."""
    run: str
    """The run's id."""
    strategy: ComponentRef
    train: TrainConfig
    seed: NonNegativeInt
    stage: NonNegativeInt = 0
    """Which of the run's datasets the head is for, from 0."""
    experiment: str | None = None
    arm: str | None = None
    """The row of its table; None where the folder was kept by a run."""
    all_data: bool = False
    """Whether the model was tuned on all splits; scores are then those of the comparison, of models tuned on train alone."""
    seeds: tuple[NonNegativeInt, ...] = ()
    """That the scores are the mean of."""
    scores: tuple[ScoreLine, ...] = ()
    rescored: tuple[Rescored, ...] = ()
    versions: dict[str, str]
    files: dict[str, str] = {}
    """The sha256 of every file but this one."""


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def write_manifest(folder: Path, manifest: Manifest) -> Manifest:
    """Write `harness.json` with the hashes of the folder's files as they are; return what was written."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)  # some libraries keep weights from others
    whole = manifest.model_copy(update={"files": _hashes(folder)})
    write_atomically(folder / NAME, dump(whole.model_dump(mode="json")))
    return whole


def read_manifest(folder: Path) -> Manifest:
    """Return what a folder is, once its files are seen to be those that were written.

    Raises:
        HarnessError: It is no such folder, was written by a newer version, or a file was changed, lost or added since.
    """
    path = folder / NAME
    if not path.is_file():
        what = "not a folder" if not folder.is_dir() else f"not an exported model: it has no {NAME}"
        message = f"{str(folder)!r} is {what}: name a folder written by harness export or --keep-models"
        raise HarnessError(message)
    try:
        manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError, OSError):
        message = (
            f"{str(path)!r} cannot be read: it is damaged or of another version of harness; export the model again"
        )
        raise HarnessError(message) from None
    if manifest.format != FORMAT:
        message = (
            f"{str(folder)!r} was written in format {manifest.format}, and this version reads {FORMAT}: update harness"
        )
        raise HarnessError(message)
    for name, sha256 in manifest.files.items():
        if name in _EDITABLE:
            continue
        if not (folder / name).is_file():
            message = f"{str(folder)!r} lacks {name}, which it was delivered with: export the model again"
            raise HarnessError(message)
        if hash_files([folder / name]) != sha256:
            message = (
                f"{str(folder / name)!r} was changed since it was delivered (another sha256): export the model again"
            )
            raise HarnessError(message)
    return manifest


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / NAME)
    return {path.relative_to(folder).as_posix(): hash_files([path]) for path in files}
