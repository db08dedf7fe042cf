"""A user's own table of texts."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import ConfigDict, Field, PrivateAttr

import harness

if TYPE_CHECKING:
    import datasets
    import pandas as pd

    from harness_plugins.datasets._tables import Format

_SPLITS: tuple[harness.Split, ...] = get_args(harness.Split)
_TASKS: Mapping[str, tuple[str, str]] = {
    "class": ("text-classification", "probe"),
    "classes": ("multi-label-classification", "representation"),
    "number": ("regression", "similarity"),
    "tags": ("token-classification", "representation"),
    "answers": ("question-answering", "representation"),
    "completion": ("completion", "representation"),
    "nothing": ("language-modelling", "representation"),
}
"""For what a row says of its text, the task it is tuned on and the one it is watched by."""


class File(harness.Dataset):
    """Your own file: CSV, TSV, JSONL, JSON, Parquet, CoNLL, SQuAD or plain text; a text and what is to be said of it per row.

    What its ending does not say is named: `format=lines` has a label, a space and a text on each line; `format=squad` is
    SQuAD's JSON; `format=conll` (.conll) has words and tags in columns; `format=text` (.txt) has paragraphs between blank
    lines and no labels. JSON is a list of objects, or has for each split a list of objects or of [text, label] pairs. A column
    is named, or given by its number from 1. A split may have several files.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    name = "file"
    task = "text-classification"
    watch_task = "probe"
    argument = "path"
    suffixes = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt", ".conll")
    locating = frozenset({"path", "validation", "test"})

    path: str | tuple[str, ...] = Field(
        description="the table; the train split where the others are files of their own"
    )
    validation: str | tuple[str, ...] | None = Field(None, description="the validation split; blank: carved from train")
    test: str | tuple[str, ...] | None = Field(None, description="the test split; blank: carved from train")
    format: Literal["csv", "tsv", "jsonl", "json", "parquet", "conll", "squad", "text", "lines"] | None = Field(
        None, description="the files' form; blank: by their ending"
    )
    encoding: str = Field("utf-8", description="the files' encoding")
    header: bool = Field(True, description="whether the first row of a CSV or TSV file names its columns")
    quoted: bool = Field(True, description="whether the values of a CSV or TSV file may stand in quotes")
    text: str = Field("text", description="column of the text; in CoNLL of the words, by number (blank: the first)")
    text_pair: str | None = Field(None, description="column of a second text, for pairs")
    label: str | None = Field(
        "label",
        description="column of the label; blank: there is none; in CoNLL of the tags, by number (blank: the last)",
    )
    label_separator: str | None = Field(
        None, description="what parts the labels of a text that may have several; blank: each has one"
    )
    numeric: bool = Field(False, description="the label is a number, for regression or similarity, and not a class")
    completion: str | None = Field(None, description="column of what is to be written after the text, the prompt")
    group: str | None = Field(None, description="column whose rows of one value stay together where a split is carved")
    classes: tuple[str, ...] | None = Field(None, description="labels in the order of their numbers; blank: sorted")
    split: str | None = Field(None, description="column that says train, validation or test")
    on_bad_rows: Literal["error", "skip"] = Field(
        "error", description="rows without a text, with a label that is none, ...: an error, or left out and counted"
    )

    _classes: tuple[str, ...] | None = PrivateAttr(None)
    _notes: tuple[str, ...] = PrivateAttr(())

    def fingerprint(self) -> str:
        """Return one hash over the files, each with the split it is for and the format it is read as."""
        parts = [
            f"{name} {self.format or Path(path).suffix.lower()} {harness.hash_files([_existing(path)])}"
            for name, paths in self._paths().items()
            for path in paths
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def task_for(self, *, watched: bool) -> str:
        """Return the task that suits what a row says of its text."""
        if self._says() == "number" and self.text_pair is None:
            return "representation" if watched else "regression"
        return _TASKS[self._says()][watched]

    def read(self) -> "dict[harness.Split, datasets.Dataset]":
        """Return the splits the files hold."""
        import datasets

        from harness_plugins.datasets import _rows

        if self.split is not None and (self.validation or self.test):
            message = (
                f"{self.path}: the column {self.split!r} and files of their own both say what the splits are: name one"
            )
            raise harness.HarnessError(message)
        frames = self._frames()
        if self.split is not None:
            frames = self._by_column(frames["train"])
        says = self._says()
        for frame in frames.values():
            _rows.mark(frame, says, self.label_separator)
        if says in ("class", "classes", "tags"):
            self._classes = _rows.classes(frames, self.classes)
        frames, self._notes = _rows.without_bad(frames, skip=self.on_bad_rows == "skip")
        return {
            name: datasets.Dataset.from_dict(_rows.columns(frame, says, self._classes))
            for name, frame in frames.items()
        }

    def facts(self) -> harness.Facts:
        """Return the labels that were found."""
        return harness.Facts(self._classes, notes=self._notes)

    def _says(self) -> str:
        """Return what a row says of its text."""
        form = self._form(next(iter(self._paths()["train"])))
        if form in ("conll", "squad"):
            return {"conll": "tags", "squad": "answers"}[form]
        if self.completion is not None:
            return "completion"
        if self.label is None or form == "text":
            return "nothing"
        if self.numeric:
            return "number"
        return "class" if self.label_separator is None else "classes"

    def _paths(self) -> dict[harness.Split, tuple[str, ...]]:
        given = {"train": self.path, "validation": self.validation, "test": self.test}
        paths = {name: (found,) if isinstance(found, str) else found for name, found in given.items()}
        return {name: paths[name] or () for name in _SPLITS if paths[name]}

    def _form(self, path: str) -> "Format":
        from harness_plugins.datasets._tables import BY_SUFFIX

        form = self.format or BY_SUFFIX.get(Path(path).suffix.lower())
        if form is None:
            message = (
                f"{path}: cannot tell the form of files ending in {Path(path).suffix!r}; use one of "
                f"{', '.join(self.suffixes)}, or name it with -o file.format=csv"
            )
            raise harness.HarnessError(message)
        return form

    def _frames(self) -> "dict[harness.Split, pd.DataFrame]":
        """Return the rows of each split, under the columns' own names here, each with the file and row it is from."""
        import pandas as pd

        parts: dict[harness.Split, list[pd.DataFrame]] = {}
        for name, paths in self._paths().items():
            for path in paths:
                found = self._read(path)
                for split, frame in (found if isinstance(found, dict) else {name: found}).items():
                    if split != name and split in self._paths():
                        message = f"{path}: the {split} split is given twice"
                        raise harness.HarnessError(message)
                    parts.setdefault(split, []).append(self._named(path, frame))
        return {split: pd.concat(frames, ignore_index=True) for split, frames in parts.items()}

    def _read(self, path: str) -> "pd.DataFrame | dict[harness.Split, pd.DataFrame]":
        form = self._form(path)
        if form == "conll":
            from harness_plugins.datasets import _conll

            return _conll.read(_existing(path), self.encoding, *self._numbered(path))
        if form == "squad":
            from harness_plugins.datasets import _squad

            return _squad.read(_existing(path), self.encoding)
        from harness_plugins.datasets import _tables

        return _tables.read(_existing(path), form, self.encoding, header=self.header, quoted=self.quoted)

    def _numbered(self, path: str) -> tuple[int | None, int | None]:
        """Return the numbers of the columns of words and of tags; None where the usual one is meant."""
        numbers = [None if name in ("text", "label", None) else name for name in (self.text, self.label)]
        if not all(number is None or number.isdigit() for number in numbers):
            message = f"{path}: columns of a CoNLL file have no names: say which by number, such as -o file.label=4"
            raise harness.HarnessError(message)
        words, tags = (None if number is None else int(number) for number in numbers)
        return words, tags

    def _named(self, path: str, frame: "pd.DataFrame") -> "pd.DataFrame":
        """Return the columns that are used, under our names for them."""
        if not len(frame.columns):
            message = f"{path}: the file is empty"
            raise harness.HarnessError(message)
        if type(frame.index).__name__ != "RangeIndex":
            # pandas takes what stands before the header's columns for an index, and everything would be one column off.
            message = f"{path}: rows have more values than the header has columns: put quotes around texts with commas"
            raise harness.HarnessError(message)
        if frame.empty:
            message = f"{path}: the file has no rows"
            raise harness.HarnessError(message)
        if self._says() in ("tags", "answers"):
            named = frame.copy()
        else:
            wanted = {
                "text": self.text,
                "text_pair": self.text_pair,
                "completion": self.completion,
                "split": self.split,
            }
            wanted |= {
                "group": self.group,
                "label": self.label if self._says() in ("class", "classes", "number") else None,
            }
            named = frame[
                [_column(frame, name, flag, path) for flag, name in wanted.items() if name is not None]
            ].copy()
            named.columns = [flag for flag, name in wanted.items() if name is not None]
        named["file"], named["row"] = path, range(1, len(named) + 1)
        return named

    def _by_column(self, frame: "pd.DataFrame") -> "dict[harness.Split, pd.DataFrame]":
        found = set(frame["split"].astype(str))
        if strange := found - set(_SPLITS):
            message = f"{self.path}: column {self.split!r} says {min(strange)!r}; it may say {', '.join(_SPLITS)}"
            raise harness.HarnessError(message)
        return {name: frame[frame["split"] == name].reset_index(drop=True) for name in _SPLITS if name in found}


def _existing(path: str) -> Path:
    found = Path(path)
    if not found.is_file():
        message = f"no data file {path!r}"
        raise harness.HarnessError(message)
    return found


def _column(frame: "pd.DataFrame", name: str, flag: str, path: str) -> Any:
    """Return the column of that name, or else of that number.

    Raises:
        HarnessError: There is none; names the nearest.
    """
    if name in frame.columns:
        return name
    if name.isdigit() and 0 < int(name) <= len(frame.columns):
        return frame.columns[int(name) - 1]
    mend = f"name the right one with {'--' + flag if flag in ('text', 'label') else f'-o file.{flag}=COLUMN'}"
    error = harness.unknown("column", name, [str(known) for known in frame.columns])
    message = f"{path}: {error}; {mend}"
    raise harness.HarnessError(message)


@harness.hookimpl
def harness_datasets() -> list[type[harness.Dataset]]:
    """Offer the dataset."""
    return [File]
