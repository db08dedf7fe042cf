"""Shared by the SQuAD metrics: normalisation of answers, and the best match among several correct answers.

Source: the official evaluation script, evaluate-v2.0.py of https://rajpurkar.github.io/SQuAD-explorer/ (Rajpurkar et al.,
2018, Know What You Don't Know: Unanswerable Questions for SQuAD).
"""

import re
import string
from collections.abc import Callable, Iterator
from typing import Any

from numpy.typing import NDArray

import harness
from harness_plugins.metrics._texts import of_one

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Return the text in lower case, without punctuation and articles, with single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def answers(outputs: NDArray[Any], targets: NDArray[Any]) -> Iterator[tuple[str, set[str]]]:
    """Yield each item's predicted answer and its correct ones, normalised; "" means no answer.

    Args:
        outputs: The predicted answers, `[n]`; for `[n, k]`, the first of each item.
        targets: The correct answers, `[n, m]`, or `[n]` if each item has one. An item has none if all are empty after
            normalisation; empty ones next to others are ignored.

    Raises:
        UndefinedError: There are no items, or they are not texts.
    """
    if not len(targets):
        message = "there are no items"
        raise harness.UndefinedError(message)
    if outputs.dtype.kind != "U" or targets.dtype.kind != "U":
        message = "the answers are not texts"
        raise harness.UndefinedError(message)
    given = outputs.reshape(len(outputs), -1)[:, 0]
    for answer, right in zip(given.tolist(), targets.reshape(len(targets), -1).tolist(), strict=True):
        yield normalised(answer), {known for text in right if (known := normalised(text))} or {""}


def best(outputs: NDArray[Any], targets: NDArray[Any], score: Callable[[str, str], float]) -> NDArray[Any]:
    """Return each predicted answer's best score against any correct answer, with weight 1: `[n, 2]`.

    Args:
        outputs: As `answers` takes them.
        targets: As `answers` takes them.
        score: Scores a predicted answer against a correct one, both normalised.

    Raises:
        UndefinedError: There are no items, or they are not texts.
    """
    return of_one(max(score(answer, known) for known in right) for answer, right in answers(outputs, targets))
