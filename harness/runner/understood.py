"""Text summaries of data and model."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from harness.records import DataSummary
from harness.runner.examine import Examined

_CLASSES = 8
"""Maximum number of classes listed; the largest ones if there are more."""


def say(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def brief(examined: Examined, stages: int) -> Iterator[str]:
    """Yield a few lines on the tuning data, then notes."""
    for data in examined.data[:stages]:
        classes = f"; {_classes(data.classes)}" if data.classes else ""
        yield f"{data.dataset}: {data.task}, {data.rows:,} rows ({_splits(data)}){classes}"
        if data.columns.used:
            yield f"  columns: {_columns(data)}"
        if data.left_out:
            yield f"  left out: {_counts(data.left_out)}"
        yield from (f"  note: {note}" for note in data.notes)
        yield from (f"  warning: {warning}" for warning in data.warnings)
    yield from (f"note: {note}" for note in examined.notes)


def in_full(data: DataSummary) -> Iterator[tuple[str, str]]:
    """Yield the summary of a dataset, as pairs of heading and text."""
    yield "task", data.task + (f": {data.why}" if data.why else "")
    yield (
        "rows",
        f"{data.rows:,} ({_splits(data)})" + (f"; left out: {_counts(data.left_out)}" if data.left_out else ""),
    )
    if data.columns.used:
        yield "columns", _columns(data)
    if data.classes:
        yield "classes", _classes(data.classes, data)
    yield "example", data.example
    yield "texts", f"{data.truncated:g} % truncated; {data.unknown_tokens:g} % unknown tokens"
    yield from (("note", note) for note in data.notes)
    yield from (("warning", warning) for warning in data.warnings)


def _splits(data: DataSummary) -> str:
    return ", ".join(f"{name} {split.rows:,}" for name, split in data.splits.items())


def _columns(data: DataSummary) -> str:
    used = ", ".join(f"{role.replace('_', ' ')} from {_names(names)}" for role, names in data.columns.used.items())
    return used + (f"; not used: {_names(data.columns.unused)}" if data.columns.unused else "")


def _names(names: Sequence[str]) -> str:
    some = ", ".join(repr(name) for name in names[:_CLASSES])
    return some + (f" and {len(names) - _CLASSES} more" if len(names) > _CLASSES else "")


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} ({reason})" for reason, count in counts.items())


def _classes(classes: Mapping[str, int], data: DataSummary | None = None) -> str:
    """Return classes with their counts, and the counts in each split if the data is given."""
    shown = list(classes) if len(classes) <= _CLASSES else sorted(classes, key=lambda name: -classes[name])[:_CLASSES]

    def told(name: str) -> str:
        if data is None:
            return f"{name} {classes[name]:,}"
        parts = "/".join(f"{(split.classes or {}).get(name, 0):,}" for split in data.splits.values())
        return f"{name} {classes[name]:,} ({parts})"

    more = f" and {len(classes) - len(shown)} more" if len(classes) > len(shown) else ""
    return f"{len(classes)} classes: " + ", ".join(told(name) for name in shown) + more
