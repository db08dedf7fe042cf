"""Questions on passages with answers: SQuAD's JSON, version 1 or 2, and rows with `context`, `question`, `answers`.

data [ title, paragraphs [ context, qas [ question, is_impossible, answers [ text, answer_start ] ] ] ]
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import harness
from harness_plugins.reading.rows import Rows, of_objects

_KINDS = {dict: "an object", list: "a list", str: "a string", int: "an integer"}
_NEAR = 20
"""Distance from its offset, in characters, within which an answer is searched."""

T = TypeVar("T", dict[str, Any], list[Any], str, int)


def is_squad(content: Any) -> bool:
    """Return whether JSON content has SQuAD's list of articles."""
    data = content.get("data") if isinstance(content, dict) else None
    return (
        isinstance(data, list) and bool(data) and all(isinstance(part, dict) and "paragraphs" in part for part in data)
    )


def read(path: str, content: Any) -> Rows:
    """Return one row per question, in the order of the file.

    Columns: `question`, `context`, `answers` (a list of objects with `text` and `answer_start`), `is_impossible`, and
    the article's `title`.

    Raises:
        HarnessError: Something is missing or has the wrong type; the message says what and where.
    """
    try:
        return of_objects(path, list(_rows(content)))
    except ValueError as error:
        message = f"{path}: not in SQuAD format: {error}"
        raise harness.HarnessError(message) from None


def _rows(content: Any) -> Iterator[dict[str, Any]]:
    for article, article_at in _each(_are(content, dict, "the file"), "data", ""):
        # Without a title, the questions of an article still form one group.
        title = article.get("title") or article_at
        for paragraph, paragraph_at in _each(article, "paragraphs", article_at):
            passage = _get(paragraph, "context", str, paragraph_at)
            for question, at in _each(paragraph, "qas", paragraph_at):
                answers = []
                for answer, answer_at in _each(question, "answers", at):
                    start = _get(answer, "answer_start", int, answer_at)
                    answers.append({"text": _get(answer, "text", str, answer_at), "answer_start": start})
                yield {
                    "question": _get(question, "question", str, at),
                    "context": passage,
                    "answers": answers,
                    "is_impossible": bool(question.get("is_impossible")),
                    "title": title,
                }


class Answers(NamedTuple):
    """The correct answers to a question, as they occur in its passage."""

    texts: list[str]
    starts: list[int]
    moved: int
    """How many were not exactly at their offset, or had surrounding spaces."""
    problem: str | None
    """The problem, as a clause, or None."""


def mended(passage: str, value: Any, *, impossible: bool | None) -> Answers:
    """Return the answers of a row with offsets corrected to their position in the passage.

    Args:
        passage: The text that holds the answers.
        value: SQuAD's answers: a list of objects, or an object of two lists.
        impossible: Whether the row says that there is no answer; None if it does not say.
    """
    texts, starts = _listed(value)
    if impossible and texts:
        return Answers([], [], 0, f"the question is marked as impossible, but has the answer {texts[0]!r}")
    if impossible is False and not texts:
        return Answers([], [], 0, "the question has no answers and is not marked as impossible")
    places: list[int] = []
    kept: list[str] = []
    moved = 0
    for answer, start in zip(texts, starts, strict=True):
        if not answer.strip():
            return Answers([], [], 0, "an answer is empty")
        found = answer.strip()
        place = _nearest(passage, found, start + len(answer) - len(answer.lstrip()))
        if place is None:
            where = passage.find(found)
            hint = "it does not occur there" if where < 0 else f"it occurs at character {where}"
            told = f"the answer {answer!r} is not at character {start} of its context; {hint}"
            return Answers([], [], 0, told)
        moved += (found, place) != (answer, start)
        kept.append(found)
        places.append(place)
    return Answers(kept, places, moved, None)


def _listed(value: Any) -> tuple[Sequence[str], Sequence[int]]:
    if isinstance(value, dict):
        texts, starts = value["text"], value["answer_start"]
        return (texts, starts) if isinstance(texts, list) else ([texts], [starts])
    return [part["text"] for part in value or []], [part["answer_start"] for part in value or []]


def _nearest(passage: str, answer: str, start: int) -> int | None:
    """Return the position of an answer nearest to its offset, within a few characters; None if there is none."""
    for distance in range(_NEAR + 1):
        for place in (start - distance, start + distance):
            if place >= 0 and passage.startswith(answer, place):
                return place
    return None


def _each(parent: dict[str, Any], key: str, at: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the objects of a list, each with its location."""
    for number, item in enumerate(_get(parent, key, list, at or "the file")):
        place = f"{at}.{key}[{number}]".lstrip(".")
        yield _are(item, dict, place), place


def _get(parent: dict[str, Any], key: str, kind: type[T], at: str) -> T:
    if key not in parent:
        message = f"{at} has no {key!r}"
        raise ValueError(message)
    return _are(parent[key], kind, f"{key!r} of {at}")


def _are(value: Any, kind: type[T], at: str) -> T:
    """Return the value after checking its type."""
    if not isinstance(value, kind) or isinstance(value, bool):
        message = f"{at} is not {_KINDS[kind]}"
        raise ValueError(message)
    return value
