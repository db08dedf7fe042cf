"""Reads JSON (a list, an object, or one object per line) in the layouts that common tools write."""

import json
from collections.abc import Mapping
from typing import Any

import harness
from harness_plugins.reading import answers
from harness_plugins.reading.rows import Rows, lines_of, of_objects
from harness_plugins.reading.values import Written

_SPLITS: Mapping[str, harness.Split] = {
    "train": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation", "test": "test",
}  # fmt: skip
_PAIR = 2
_DIGITS = 1000


def split_of(name: str) -> harness.Split | None:
    """Return the split that a name stands for, or None."""
    return _SPLITS.get(name.lower())


def load(path: str, text: str) -> Any:
    """Return the content of a JSON text; numbers keep their spelling.

    Raises:
        HarnessError: The text is not JSON; the message says where.
    """
    try:
        return _loads(text)
    except RecursionError:
        message = f"{path}: JSON is nested too deeply"
        raise harness.HarnessError(message) from None
    except json.JSONDecodeError as error:
        hint = (
            "" if text.lstrip()[:1] in ("{", "[") else "; if it has another format, set it, such as -o file.format=csv"
        )
        message = f"{path}: not JSON (line {error.lineno}, column {error.colno}: {_reason(error)}){hint}"
        raise harness.HarnessError(message) from None


def read_lines(path: str, text: str) -> "Rows | dict[harness.Split, Rows]":
    """Return the rows of JSON with one object per line.

    Raises:
        HarnessError: A line is not a JSON object; the message gives its number.
    """
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("[") and not is_json(lines_of(text.lstrip())[0]):
        return read(path, text, ("read as JSON, not JSON Lines",))
    rows: list[Any] = []
    for number, line in enumerate(lines_of(text), 1):
        if not line.strip():
            continue
        try:
            rows.append(_loads(line))
        except json.JSONDecodeError as error:
            message = f"{path}: line {number} is not JSON (column {error.colno}: {_reason(error)})"
            raise harness.HarnessError(message) from None
    if len(rows) == 1 and not isinstance(rows[0], dict):
        return read(path, text, ("read as JSON, not JSON Lines",))
    return _of_list(path, rows, ())


def read(path: str, text: str, notes: tuple[str, ...] = ()) -> "Rows | dict[harness.Split, Rows]":
    """Return the rows of JSON: a list of rows, or an object with rows under `data`, values by column, or rows by split.

    Raises:
        HarnessError: The content has another layout; the message says which.
    """
    text = text.removeprefix("\ufeff")
    if not text.strip():
        message = f"{path}: the file is empty"
        raise harness.HarnessError(message)
    lines = [line for line in lines_of(text) if line.strip()]
    if len(lines) > 1 and lines[0].lstrip().startswith("{") and is_json(lines[0]) and is_json(lines[1]):
        return read_lines(path, text)
    content = load(path, text)
    if isinstance(content, list):
        return _of_list(path, content, notes)
    if answers.is_squad(content):
        return answers.read(path, content)
    if isinstance(content, dict) and content:
        if all(split_of(name.rpartition("_")[2]) for name in content):
            return _by_split(path, content, notes)
        if (found := _of_object(path, content, notes)) is not None:
            return found
    has = ", ".join(repr(name) for name in list(content)[:3]) if isinstance(content, dict) else "a single value"
    message = (
        f"{path}: expected a list of rows, or an object with rows under 'data', values by column, or rows by split "
        f"(train, validation, test), but found {has or 'nothing'}"
    )
    raise harness.HarnessError(message)


def _of_object(path: str, content: Mapping[str, Any], notes: tuple[str, ...]) -> Rows | None:
    """Return the rows of an object with rows under a key or values by column; None if it has neither."""
    if isinstance(content.get("columns"), list) and isinstance(content.get("data"), list):
        rows = [dict(zip(content["columns"], row, strict=False)) for row in content["data"] if isinstance(row, list)]
        return of_objects(path, rows, (*notes, "rows under 'data', named by 'columns'"))
    if name := next((name for name in ("data", "rows", "examples") if isinstance(content.get(name), list)), None):
        return _of_list(path, content[name], (*notes, f"rows under {name!r}"))
    values = list(content.values())
    if all(isinstance(value, dict) for value in values) and len({tuple(value) for value in values}) == 1:
        rows = [{name: held[key] for name, held in content.items()} for key in values[0]]
        return of_objects(path, rows, (*notes, "values by column, as pandas writes them"))
    if all(isinstance(value, list) for value in values) and len({len(value) for value in values}) == 1:
        rows = [dict(zip(content, row, strict=True)) for row in zip(*values, strict=True)]
        return of_objects(path, rows, (*notes, "values by column"))
    return None


def _of_list(path: str, rows: list[Any], notes: tuple[str, ...]) -> Rows:
    from harness_plugins.reading import spans

    if not rows:
        message = f"{path}: the file is empty"
        raise harness.HarnessError(message)
    if spans.is_label_studio(rows):
        return spans.from_label_studio(path, rows, notes)
    pairs = isinstance(rows[0], list)
    for number, row in enumerate(rows, 1):
        if not (isinstance(row, list) and len(row) == _PAIR if pairs else isinstance(row, dict)):
            message = f"{path}: row {number} is neither an object nor a pair of text and label"
            raise harness.HarnessError(message)
    if pairs:
        return of_objects(
            path, [{"text": text, "label": label} for text, label in rows], (*notes, "pairs of text and label")
        )
    return of_objects(path, rows, notes)


def _by_split(path: str, content: Mapping[str, Any], notes: tuple[str, ...]) -> "dict[harness.Split, Rows]":
    parts: dict[harness.Split, list[Any]] = {}
    for name, rows in content.items():
        if not isinstance(rows, list):
            message = f"{path}: expected a list of rows under {name!r}"
            raise harness.HarnessError(message)
        split = split_of(name.rpartition("_")[2])  # "oos_train" is a part of train, as in CLINC150
        assert split is not None
        parts.setdefault(split, []).extend(rows)
    return {split: _of_list(path, rows, notes) for split, rows in parts.items() if rows}


def _loads(text: str) -> Any:
    return json.loads(text, parse_float=Written, parse_constant=Written, parse_int=_whole)


def _whole(digits: str) -> int | str:
    """Return an integer, or its digits if Python cannot parse that many."""
    return int(digits) if len(digits) <= _DIGITS else digits


def is_json(text: str) -> bool:
    """Return whether a text is a JSON list or object."""
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        _loads(text)
    except (json.JSONDecodeError, RecursionError):
        return False
    return True


def _reason(error: json.JSONDecodeError) -> str:
    return f"{error.msg[0].lower()}{error.msg[1:]}"
