"""From a user's rows to those a task can use: bad ones named or left out. Imported when data is read: it needs pandas.

A frame has the columns `text`, `text_pair`, `label`, ... that a task needs, `file` and `row` (where each is from), and, once it
is marked, `problem`: what is wrong with a row, or None.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

import harness

_NEEDED: Mapping[str, Sequence[str]] = {
    "class": ("text", "text_pair", "label"),
    "classes": ("text", "text_pair"),
    "number": ("text", "text_pair", "label"),
    "completion": ("text", "completion"),
    "nothing": ("text",),
}
"""For what a row says of its text, the columns in which nothing may be missing."""
_PASSED: Sequence[str] = ("text", "text_pair", "completion", "words", "answers", "answer_start", "group")
"""Columns that a task gets as they are."""

Frames = Mapping[harness.Split, pd.DataFrame]


def mark(frame: pd.DataFrame, says: str, separator: str | None) -> None:
    """Note in the column `problem` what is wrong with each row by itself; labels become what they stand for.

    Args:
        frame: Rows of one split; changed in place.
        says: What a row says of its text: `class`, `classes`, `number`, `completion`, `nothing`, `tags` or `answers`.
        separator: What parts the labels of a row.
    """
    if "problem" not in frame.columns:
        frame["problem"] = None
    for column in _NEEDED.get(says, ()):
        if column in frame.columns:
            _note(frame, _blank(frame[column]), [f"no {column.replace('_', ' ')}"] * len(frame))
    if says == "number":
        numbers = pd.to_numeric(frame["label"], errors="coerce").to_numpy(dtype=float)
        reasons = [f"the label {given!r} is not a number" for given in frame["label"]]
        _note(frame, ~np.isfinite(numbers), reasons)
        frame["label"] = numbers
    elif says == "classes":
        frame["label"] = [_parted(given, str(separator)) for given in frame["label"]]
    elif says == "class":
        missing = frame["label"].isna().any()
        several = [isinstance(given, list) for given in frame["label"]]
        _note(
            frame,
            several,
            ["several labels: name what would part them in a text, -o file.label_separator=,"] * len(frame),
        )
        # Where some are missing, whole numbers have been read as others.
        frame["label"] = [_word(given) if missing else str(given) for given in frame["label"]]
    if "group" in frame.columns:
        _note(frame, _blank(frame["group"]), ["no group"] * len(frame))
        frame["group"] = [_word(given) for given in frame["group"]]


def classes(frames: Frames, given: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the labels that stand for classes, in the order of their numbers, and mark the rows that have others.

    Args:
        frames: Marked rows of each split.
        given: The labels there may be; None for those of train, sorted, with the tag for nothing first.
    """
    if "train" not in frames:
        return given or ()
    known = given if given is not None else _sorted(set(_labels(frames["train"])))
    lacks = "that is not among the given classes" if given is not None else "that train lacks"
    for frame in frames.values():
        labels = _labels(frame)
        strange = labels[~labels.isin(known)].groupby(level=0).first().reindex(frame.index)
        reasons = [f"a label {lacks}: {label!r}" for label in strange]
        _note(frame, strange.notna(), reasons)
    return known


def without_bad(frames: Frames, *, skip: bool) -> tuple[dict[harness.Split, pd.DataFrame], tuple[str, ...]]:
    """Return the rows with nothing wrong, and a note for the table if others are left out.

    Raises:
        HarnessError: A row is bad, and such are not to be left out; or none would be left.
    """
    good, notes = {}, []
    for split, frame in frames.items():
        bad = frame[frame["problem"].notna()]
        good[split] = frame[frame["problem"].isna()]
        if not len(bad):
            continue
        first = bad.iloc[0]
        rows = "1 bad row" if len(bad) == 1 else f"{len(bad):,} bad rows"
        told = f"{rows} (the first: row {first['row']}: {first['problem']})"
        if not skip or good[split].empty:
            message = f"{first['file']}: {told}: mend or remove them, or leave them out with -o file.on_bad_rows=skip"
            raise harness.HarnessError(message)
        notes.append(f"{split}: {told} left out")
    return good, tuple(notes)


def columns(frame: pd.DataFrame, says: str, known: Sequence[str] | None) -> dict[str, list[Any]]:
    """Return what a task gets of good rows, labels as class numbers or, where there may be several, as 0 or 1 for each class."""
    numbers = {label: number for number, label in enumerate(known or ())}
    passed: dict[str, list[Any]] = {name: frame[name].tolist() for name in _PASSED if name in frame.columns}
    for name in ("text", "text_pair", "completion"):
        if name in passed:
            passed[name] = [str(text) for text in passed[name]]
    if says == "class":
        passed["label"] = [numbers[label] for label in frame["label"]]
    elif says == "classes":
        passed["label"] = [[int(label in labels) for label in numbers] for labels in frame["label"]]
    elif says == "number":
        passed["label"] = frame["label"].tolist()
    elif says == "tags":
        passed["tags"] = [[numbers[tag] for tag in tags] for tags in frame["tags"]]
    return passed


def _note(frame: pd.DataFrame, wrong: Any, reasons: Sequence[str]) -> None:
    """Note a reason for rows that are wrong and of which nothing worse is known."""
    new = np.asarray(wrong, dtype=bool) & frame["problem"].isna().to_numpy()
    frame.loc[new, "problem"] = pd.Series(reasons, index=frame.index, dtype=object)[new]


def _blank(values: pd.Series) -> pd.Series:
    """Return which values say nothing."""
    return values.isna() | (values.astype(str).str.strip() == "")


def _labels(frame: pd.DataFrame) -> pd.Series:
    """Return the labels of the rows with nothing wrong, of each one, several, or a word's each, under the row's own index."""
    labels: pd.Series = frame.loc[frame["problem"].isna(), "tags" if "tags" in frame.columns else "label"]
    return labels.explode().dropna()


def _parted(given: Any, separator: str) -> list[str]:
    """Return the labels that a cell holds: a list of them, or a text."""
    if isinstance(given, list):
        return [_word(label) for label in given]
    return [] if pd.isna(given) else [label.strip() for label in str(given).split(separator) if label.strip()]


def _word(given: Any) -> str:
    """Return a value as a word: numbers of a column in which some are missing are whole all the same."""
    return str(int(given)) if isinstance(given, float) and given.is_integer() else str(given)


def _sorted(labels: set[str]) -> tuple[str, ...]:
    """Return labels in order: numbers by value, not as words; of tags first the one for nothing."""
    try:
        return tuple(sorted(labels, key=float))
    except ValueError:
        return tuple(sorted(labels, key=lambda label: (label != "O", label)))
