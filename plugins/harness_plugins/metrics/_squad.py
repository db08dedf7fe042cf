"""What SQuAD's metrics share: when two answers are the same, and which of several right answers counts.

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
    """Return the words that count: lower case, without punctuation and articles, one space between them."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def answers(outputs: NDArray[Any], targets: NDArray[Any]) -> Iterator[tuple[str, set[str]]]:
    """Yield each item's given answer and its right ones, normalised; "" says that there is none.

    Args:
        outputs: The given answers, `[n]`; of `[n, k]` the first of each item.
        targets: The right answers, `[n, m]`, or `[n]` where each item has one. An item has none if all are empty, or
            become so; an empty one beside others does not count.

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
    """Return each given answer's best score against one of the right answers, out of 1: `[n, 2]`.

    Args:
        outputs: As `answers` takes them.
        targets: As `answers` takes them.
        score: Of a given answer against a right one, both normalised.

    Raises:
        UndefinedError: There are no items, or they are not texts.
    """
    return of_one(max(score(answer, known) for known in right) for answer, right in answers(outputs, targets))
