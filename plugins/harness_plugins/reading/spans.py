"""Converts labelled character spans (doccano, spaCy, Label Studio) to words with IOB2 tags."""

import re
from collections.abc import Sequence
from typing import Any

from harness_plugins.reading.rows import Rows, of_objects
from harness_plugins.reading.tags import OUTSIDE

_LABELS = ("label", "labels", "entity", "entity_group", "tag", "type", "category", "class")
"""Keys under which the label of a span may be stored."""
# A run of letters and digits, a single punctuation mark, or a character of a script without spaces between words.
_WORD = re.compile(
    r"[\u2e80-\u9fff\uac00-\ud7af\u0e00-\u0e7f\uf900-\ufaff]|[^\W\u2e80-\u9fff\uac00-\ud7af\u0e00-\u0e7f\uf900-\ufaff]+|[^\w\s]"
)


def to_tags(text: str, value: Any) -> tuple[list[str], list[str], int, str | None]:
    """Return a text's words, their tags, the number of span boundaries inside a word, and the problem, or None.

    A word with a span boundary inside it is split there, so that the spans do not change.

    Args:
        text: The text.
        value: A list of `[start, end, label]` or of objects, or an object with such a list under `entities`.
    """
    spans = sorted(_span(part) for part in (value["entities"] if isinstance(value, dict) else value or []))
    end = 0
    for start, stop, label in spans:
        if not label:
            return [], [], 0, f"the span {start} to {stop} needs exactly one label"
        if not 0 <= start < stop <= len(text):
            return [], [], 0, f"the span {start} to {stop} ({label}) is outside the text of {len(text)} characters"
        if start < end:
            return [], [], 0, f"the span {start} to {stop} ({label}) overlaps another"
        end = stop
    found = [(match.start(), match.end()) for match in _WORD.finditer(text)]
    edges = {place for start, stop, _ in spans for place in (start, stop)}
    pieces, cut = [], 0
    for start, stop in found:
        inside = sorted(place for place in edges if start < place < stop)
        cut += len(inside)
        pieces += list(zip([start, *inside], [*inside, stop], strict=True))
    tags, at = [], 0
    before: tuple[int, int, str] | None = None
    for start, stop in pieces:
        while at < len(spans) and spans[at][1] <= start:
            at += 1
        span = spans[at] if at < len(spans) and spans[at][0] < stop else None
        tags.append(OUTSIDE if span is None else f"{'I' if span is before else 'B'}-{span[2]}")
        before = span
    return [text[start:stop] for start, stop in pieces], tags, cut, None


def _span(part: Any) -> tuple[int, int, str]:
    """Return a span's start, end and label; the label is empty if there is none, or several."""
    if not isinstance(part, dict):
        return int(part[0]), int(part[1]), str(part[2])
    start, stop = (part[name] if name in part else part[f"{name}_offset"] for name in ("start", "end"))
    label = next((part[name] for name in _LABELS if part.get(name)), "")
    if isinstance(label, list) and len(label) == 1:
        label = label[0]
    return start, stop, label.strip() if isinstance(label, str) else ""


def is_label_studio(rows: Sequence[Any]) -> bool:
    """Return whether rows are tasks from a full Label Studio export."""
    return all(
        isinstance(row, dict) and isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list)
        for row in rows
    )


def from_label_studio(path: str, rows: Sequence[Any], notes: Sequence[str] = ()) -> Rows:
    """Return one row per task: its data, and in `label` the first annotation's choice, choices or spans, or None."""
    objects = []
    for row in rows:
        data = dict(row["data"])
        if "text" not in data and len(texts := [name for name, value in data.items() if isinstance(value, str)]) == 1:
            data["text"] = data.pop(texts[0])
        results = [
            part.get("value", {})
            for annotation in row["annotations"][:1]
            for part in annotation.get("result") or []
            if isinstance(part, dict)
        ]
        spans = [
            {"start": value["start"], "end": value["end"], "label": value["labels"]}
            for value in results
            if value.get("labels") and "start" in value and "end" in value
        ]
        choices = [choice for value in results for choice in value.get("choices", [])]
        label: Any = spans or choices or None
        if isinstance(label, list) and choices and not spans and len(choices) == 1:
            label = choices[0]
        objects.append({**data, "label": [] if label is None and row["annotations"] else label})
    several = any(isinstance(row["label"], list) and is_choice_list(row["label"]) for row in objects)
    if several:
        objects = [
            {**row, "label": [row["label"]] if isinstance(row["label"], str) else row["label"]} for row in objects
        ]
    elif any(isinstance(row["label"], str) for row in objects):
        objects = [{**row, "label": row["label"] or None} for row in objects]
    return of_objects(path, objects, (*notes, "Label Studio export: uses the first annotation of each task"))


def is_choice_list(value: Sequence[Any]) -> bool:
    """Return whether a list holds several choices."""
    return bool(value) and all(isinstance(part, str) for part in value)
