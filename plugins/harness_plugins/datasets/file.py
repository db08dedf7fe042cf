"""A user's own table of texts."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import Field, PrivateAttr

import harness

if TYPE_CHECKING:
    import datasets
    import pandas as pd

_READERS = (".csv", ".tsv", ".jsonl", ".parquet")
_SPLITS: tuple[harness.Split, ...] = get_args(harness.Split)


class File(harness.Dataset):
    """Your own table: CSV, TSV, JSONL or Parquet, a text (or a pair) and a label in each row."""

    name = "file"
    task = "text-classification"
    watch_task = "probe"
    argument = "path"
    suffixes = _READERS
    locating = frozenset({"path", "validation", "test"})

    path: str = Field(description="the table; the train split where the others are files of their own")
    validation: str | None = Field(None, description="a table for the validation split; blank: carved from train")
    test: str | None = Field(None, description="a table for the test split; blank: carved from train")
    text: str = Field("text", description="column of the text")
    text_pair: str | None = Field(None, description="column of a second text, for pairs")
    label: str | None = Field("label", description="column of the label; blank: the texts have none")
    classes: tuple[str, ...] | None = Field(None, description="labels in the order of their numbers; blank: sorted")
    split: str | None = Field(None, description="column that says train, validation or test")

    _classes: tuple[str, ...] | None = PrivateAttr(None)

    def fingerprint(self) -> str:
        """Return one hash over the files, each with the split it is for and the format it is read as."""
        parts = [
            f"{name} {Path(path).suffix.lower()} {harness.hash_files([_existing(path)])}"
            for name, path in self._paths().items()
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def read(self) -> "dict[harness.Split, datasets.Dataset]":
        """Return the splits the files hold."""
        import datasets

        if self.split is not None and (self.validation or self.test):
            message = (
                f"{self.path}: the column {self.split!r} and files of their own both say what the splits are: name one"
            )
            raise harness.HarnessError(message)
        frames = {name: self._frame(path) for name, path in self._paths().items()}
        if self.split is not None:
            frames = self._by_column(frames["train"])
        if self.label is not None:
            self._classes = self._find_classes(frames)
        numbers = {label: number for number, label in enumerate(self._classes or ())}
        splits = {}
        for name, frame in frames.items():
            columns: dict[str, list[Any]] = {"text": [str(text) for text in frame[self.text]]}
            if self.text_pair is not None:
                columns["text_pair"] = [str(text) for text in frame[self.text_pair]]
            if self.label is not None:
                columns["label"] = [numbers[str(label)] for label in frame[self.label]]
            splits[name] = datasets.Dataset.from_dict(columns)
        return splits

    def facts(self) -> harness.Facts:
        """Return the labels that were found."""
        return harness.Facts(self._classes)

    def _paths(self) -> dict[harness.Split, str]:
        paths: dict[harness.Split, str | None] = {"train": self.path, "validation": self.validation, "test": self.test}
        return {name: path for name, path in paths.items() if path is not None}

    def _frame(self, path: str) -> "pd.DataFrame":
        frame = _read(_existing(path))
        if not len(frame.columns):
            message = f"{path}: the file is empty"
            raise harness.HarnessError(message)
        if type(frame.index).__name__ != "RangeIndex":
            # pandas takes what stands before the header's columns for an index, and everything would be one column off.
            message = f"{path}: rows have more values than the header has columns: put quotes around texts with commas"
            raise harness.HarnessError(message)
        for column, flag in (
            (self.text, "text"),
            (self.text_pair, "text_pair"),
            (self.label, "label"),
            (self.split, "split"),
        ):
            if column is not None and column not in frame.columns:
                mend = (
                    f"name the right one with {'--' + flag if flag in ('text', 'label') else f'-o file.{flag}=COLUMN'}"
                )
                error = harness.unknown("column", column, [str(name) for name in frame.columns])
                message = f"{path}: {error}; {mend}"
                raise harness.HarnessError(message)
        if frame.empty:
            message = f"{path}: the file has no rows"
            raise harness.HarnessError(message)
        used = [column for column in (self.text, self.text_pair, self.label) if column is not None]
        blank = frame[used].isna().any(axis=1) | (frame[used].astype(str).apply(lambda c: c.str.strip()) == "").any(
            axis=1
        )
        if blank.any():
            first = int(blank.to_numpy().argmax()) + 1
            message = (
                f"{path}: {int(blank.sum())} rows without a text or label (the first: row {first}): fill or remove them"
            )
            raise harness.HarnessError(message)
        return frame

    def _by_column(self, frame: "pd.DataFrame") -> "dict[harness.Split, pd.DataFrame]":
        found = set(frame[self.split].astype(str))
        if strange := found - set(_SPLITS):
            message = f"{self.path}: column {self.split!r} says {min(strange)!r}; it may say {', '.join(_SPLITS)}"
            raise harness.HarnessError(message)
        return {name: frame[frame[self.split] == name] for name in _SPLITS if name in found}

    def _find_classes(self, frames: "dict[harness.Split, pd.DataFrame]") -> tuple[str, ...]:
        seen = {name: {str(label) for label in frame[self.label]} for name, frame in frames.items()}
        for name, labels in seen.items():
            if strange := sorted(labels - seen.get("train", set())):
                message = (
                    f"{self._paths().get(name, self.path)}: the {name} split has {len(strange)} labels that train lacks: "
                    f"{', '.join(repr(label) for label in strange[:3])}; add rows of them to train or leave them out"
                )
                raise harness.HarnessError(message)
        classes = self.classes if self.classes is not None else _sorted(sorted(seen["train"]))
        if strange := sorted(seen["train"] - set(classes)):
            message = f"{self.path}: label {strange[0]!r} is not among the given classes: {', '.join(classes)}"
            raise harness.HarnessError(message)
        return classes


def _existing(path: str) -> Path:
    found = Path(path)
    if not found.is_file():
        message = f"no data file {path!r}"
        raise harness.HarnessError(message)
    return found


def _read(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        match path.suffix.lower():
            case ".csv" | ".tsv" as suffix:
                separator = "," if suffix == ".csv" else "\t"
                return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8")
            case ".jsonl":
                return pd.read_json(path, lines=True, dtype=False, encoding="utf-8")
            case ".parquet":
                return pd.read_parquet(path)
            case suffix:
                message = f"{path}: cannot read files ending in {suffix!r}; use one of {', '.join(_READERS)}"
                raise harness.HarnessError(message)
    except UnicodeDecodeError:
        message = f"{path}: not UTF-8 (line {_first_bad_line(path)}): save it as UTF-8"
        raise harness.HarnessError(message) from None
    except pd.errors.EmptyDataError:
        message = f"{path}: the file is empty"
        raise harness.HarnessError(message) from None
    except (ValueError, OSError) as error:
        message = f"{path}: cannot be read as {path.suffix[1:].upper()}: {' '.join(str(error).split())}"
        raise harness.HarnessError(message) from None


def _first_bad_line(path: Path) -> int:
    """Return the number of the first line that is not UTF-8, from 1."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0


def _sorted(labels: Sequence[str]) -> tuple[str, ...]:
    """Return labels in order; numbers by value, not as words."""
    try:
        return tuple(sorted(labels, key=float))
    except ValueError:
        return tuple(sorted(labels))


@harness.hookimpl
def harness_datasets() -> list[type[harness.Dataset]]:
    """Offer the dataset."""
    return [File]
