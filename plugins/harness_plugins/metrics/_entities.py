"""Finds the entities that tags mark."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import harness


class Counts(NamedTuple):
    """How many entities each text has, `[n]`."""

    answered: NDArray[np.int64]
    right: NDArray[np.int64]
    """Of those answered, those that have the right type, first word and last word."""
    wanted: NDArray[np.int64]


def count(outputs: NDArray[Any], targets: NDArray[Any]) -> Counts:
    """Return how many entities the tags `[n, words]` of each text mark; an empty string is no word.

    Raises:
        UndefinedError: These are not tags.
    """
    if targets.dtype.kind != "U" or outputs.dtype.kind != "U":
        message = "only tags of words mark entities"
        raise harness.UndefinedError(message)
    answered, wanted = entities(outputs), entities(targets)
    return Counts(*(_by_text(some, len(targets)) for some in (answered, answered & wanted, wanted)))


def entities(tags: NDArray[Any]) -> set[tuple[int, int, int, str]]:
    """Return the entities that tags `[n, words]` mark: the text, the first and the last word, and the type.

    One begins at every B-, and at an I- that does not go on with its own type: after O, after another type, and at the start
    of a text.

    Source: conlleval (Tjong Kim Sang and Buchholz, 2000), which seqeval follows unless told to be strict.
    """
    found: set[tuple[int, int, int, str]] = set()
    for text, names in enumerate(tags.tolist()):
        first = 0
        open_type: str | None = None
        for at, name in enumerate([*names, ""]):
            mark, _, entity_type = name.partition("-")
            if open_type is not None and not (mark == "I" and entity_type == open_type):
                found.add((text, first, at - 1, open_type))
                open_type = None
            if mark in ("B", "I") and open_type is None:
                first, open_type = at, entity_type
    return found


def _by_text(found: set[tuple[int, int, int, str]], texts: int) -> NDArray[np.int64]:
    return np.bincount([entity[0] for entity in found], minlength=texts).astype(np.int64)
