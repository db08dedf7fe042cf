"""Reads questions on passages from SQuAD's JSON, version 1 or 2. Imported when data is read: it needs pandas.

data [ title, paragraphs [ context, qas [ question, is_impossible, answers [ text, answer_start ] ] ] ]
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

import harness
from harness_plugins.datasets._text import read_text

_COLUMNS = ("text", "text_pair", "answers", "answer_start", "group", "problem")
_KINDS = {dict: "an object", list: "a list", str: "a text", int: "a whole number"}

T = TypeVar("T", dict[str, Any], list[Any], str, int)


def read(path: Path, encoding: str) -> pd.DataFrame:
    """Return a row for each question, in the order of the file.

    Columns: `text`, the question; `text_pair`, the passage; `answers`, a list of every right answer as it stands there, empty
    where the passage has none; `answer_start`, for each of them its first character in the passage, from 0; `group`, the
    article's title; `problem`, why the row cannot be used, as a clause, or None.

    Raises:
        HarnessError: The file is not in this encoding, not JSON, or not of this form; says where.
    """
    try:
        content = json.loads(read_text(path, encoding))
    except json.JSONDecodeError as error:
        message = f"{path}: not JSON (line {error.lineno}, column {error.colno}: {error.msg[0].lower()}{error.msg[1:]})"
        raise harness.HarnessError(message) from None
    try:
        rows = list(_rows(content))
    except ValueError as error:
        message = f"{path}: not in the form of SQuAD: {error}"
        raise harness.HarnessError(message) from None
    # As objects, or pandas would turn None into nan.
    return pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object)


def _rows(content: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a file.

    Raises:
        ValueError: Something is missing or of another kind; says what and where.
    """
    for article, article_at in _each(_are(content, dict, "the file"), "data", ""):
        # Without a title, an article's questions still belong together, and to no other's.
        title = _get(article, "title", str, article_at) if "title" in article else article_at
        for paragraph, paragraph_at in _each(article, "paragraphs", article_at):
            passage = _get(paragraph, "context", str, paragraph_at)
            for question, at in _each(paragraph, "qas", paragraph_at):
                yield _row(question, at, passage, title)


def _row(question: dict[str, Any], at: str, passage: str, title: str) -> tuple[Any, ...]:
    text = _get(question, "question", str, at)
    answers, starts = [], []
    for answer, answer_at in _each(question, "answers", at):
        answers.append(_get(answer, "text", str, answer_at))
        starts.append(_get(answer, "answer_start", int, answer_at))
    problem = _problem(text, passage, answers, starts, impossible=bool(question.get("is_impossible")))
    return text, passage, answers, starts, title, problem


def _problem(text: str, passage: str, answers: list[str], starts: list[int], *, impossible: bool) -> str | None:
    """Return why a question cannot be used, as a clause; None if it can."""
    for name, value in (("question", text), ("context", passage)):
        if not value.strip():
            return f"the {name} is empty"
    if impossible and answers:
        return f"the question is marked as impossible, but has the answer {answers[0]!r}"
    if not impossible and not answers:
        return "the question has no answers and is not marked as impossible"
    for answer, start in zip(answers, starts, strict=True):
        if not answer.strip():
            return "an answer is empty"
        if start < 0 or not passage.startswith(answer, start):
            return f"the answer {answer!r} does not stand at character {start} of its context"
    return None


def _each(parent: dict[str, Any], key: str, at: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the objects of a list, each with where it is."""
    for number, item in enumerate(_get(parent, key, list, at or "the file")):
        place = f"{at}.{key}[{number}]".lstrip(".")
        yield _are(item, dict, place), place


def _get(parent: dict[str, Any], key: str, kind: type[T], at: str) -> T:
    if key not in parent:
        message = f"{at} has no {key!r}"
        raise ValueError(message)
    return _are(parent[key], kind, f"{key!r} of {at}")


def _are(value: Any, kind: type[T], at: str) -> T:
    """Return a value of this kind."""
    if not isinstance(value, kind) or isinstance(value, bool):
        message = f"{at} is not {_KINDS[kind]}"
        raise ValueError(message)
    return value
