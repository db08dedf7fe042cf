"""The types of cell values, as written in the file: text, number, boolean, list, object or missing."""

import datetime as dt
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Self

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_SPAN_KEYS = ({"start", "end"}, {"start_offset", "end_offset"})
_CHAT_KEYS = ({"role", "content"}, {"from", "value"})
# Invisible characters that `str.strip` does not remove: zero-width spaces, joiners, byte order marks.
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))


class Written(float):
    """A number that keeps its spelling in the file: 3.10 stays 3.10."""

    digits: str

    def __new__(cls, digits: str) -> Self:
        """Return the number written as `digits`."""
        number = super().__new__(cls, digits)
        number.digits = digits
        return number


def is_missing(value: Any) -> bool:
    """Return whether a cell is missing: None, NaN, or a text without a visible character."""
    if value is None:
        return True
    if isinstance(value, str):
        return not value.translate(_INVISIBLE).strip()
    return isinstance(value, float) and math.isnan(value)


def is_container(value: Any) -> bool:
    """Return whether a cell holds several values."""
    return isinstance(value, list | dict | tuple | bytes)


def word(value: Any) -> str:
    """Return a single value as text, as written in the file; floats that are whole numbers without the fraction.

    Raises:
        TypeError: The value is a container; containers are never converted to text.
    """
    if isinstance(value, str):
        return value
    if is_container(value):
        message = f"a {type(value).__name__} is not a single value"
        raise TypeError(message)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Written):
        return value.digits
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dt.datetime) and value.time() == dt.time():
        return value.date().isoformat()
    return str(value)


def is_number(text: str) -> bool:
    """Return whether a text is a number in digits."""
    return _NUMBER.fullmatch(text) is not None


def in_order(labels: set[str]) -> tuple[str, ...]:
    """Return labels in an order that is the same in every process: numbers by value, then words; ties by text."""
    return tuple(sorted(labels, key=lambda text: (0, float(text), text) if is_number(text) else (1, 0.0, text)))


def is_chat(value: Any) -> bool:
    """Return whether a cell holds chat messages."""
    return isinstance(value, list) and bool(value) and all(_has(part, _CHAT_KEYS) for part in value)


def is_spans(value: Any) -> bool:
    """Return whether a cell holds labelled character spans; true for an empty list."""
    if isinstance(value, dict):
        return isinstance(value.get("entities"), list) and is_spans(value["entities"])
    return isinstance(value, list) and all(
        (
            _has(part, _SPAN_KEYS)
            and all(type(at) is int for name, at in part.items() if name.startswith(("start", "end")))
        )
        or (
            isinstance(part, list)
            and len(part) == 3
            and all(type(at) is int for at in part[:2])
            and isinstance(part[2], str)
        )
        for part in value
    )


def is_fraction(value: Any) -> bool:
    """Return whether a value is a number that is not an integer, such as a probability."""
    return isinstance(value, float) and not value.is_integer()


def is_answers(value: Any) -> bool:
    """Return whether a cell holds SQuAD answers to a question: texts and their offsets."""
    if isinstance(value, list):
        return bool(value) and all(
            isinstance(part, dict) and is_answers(part) and isinstance(part["text"], str) for part in value
        )
    if not (isinstance(value, dict) and {"text", "answer_start"} <= set(value)):
        return False
    if isinstance(value["text"], list) != isinstance(value["answer_start"], list):
        return False
    texts, starts = (found if isinstance(found, list) else [found] for found in (value["text"], value["answer_start"]))
    pairs = zip(texts, starts, strict=False)
    return len(texts) == len(starts) and all(isinstance(text, str) and type(start) is int for text, start in pairs)


def is_words(value: Any) -> bool:
    """Return whether a cell holds a list of texts."""
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def is_marks(value: Any) -> bool:
    """Return whether a cell holds one 0 or 1 for each of several classes."""
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(part in (0, 1) and not isinstance(part, str) for part in value)
    )


def is_named_marks(value: Any) -> bool:
    """Return whether a cell maps the names of several classes to 0 or 1, as spaCy's `cats` do."""
    return (
        isinstance(value, dict)
        and len(value) > 1
        and all(type(part) in (bool, int, float, Written) and part in (0, 1) for part in value.values())
    )


def describe(value: Any) -> str:
    """Return a description of a container for a message, without its content."""
    looks = next((told for told, holds in _LOOKS if holds(value)), None)
    if looks is not None:
        return looks
    return f"an object with {_some(list(map(str, value)))}" if isinstance(value, dict) else "bytes"


def _some(names: Sequence[str]) -> str:
    return (
        "no keys"
        if not names
        else "the keys " + ", ".join(repr(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
    )


def _has(part: Any, choices: Sequence[set[str]]) -> bool:
    return isinstance(part, dict) and any(keys <= set(part) for keys in choices)


_LOOKS: tuple[tuple[str, Callable[[Any], bool]], ...] = (
    ("a list that looks like chat messages", is_chat),
    ("what looks like SQuAD answers", is_answers),
    (
        "a list that looks like labelled character spans (doccano, spaCy)",
        lambda value: bool(value) and is_spans(value),
    ),
    ("a list that looks like one 0/1 per class", is_marks),
    ("a list of strings, such as tokens, tags or several labels", is_words),
    ("a list", lambda value: isinstance(value, list)),
)
