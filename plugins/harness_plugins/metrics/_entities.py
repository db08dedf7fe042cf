"""Extracts the entities marked by tags."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import harness


class Counts(NamedTuple):
    """Number of entities per text, `[n]`."""

    answered: NDArray[np.int64]
    right: NDArray[np.int64]
    """Predicted entities with the correct type, first word and last word."""
    wanted: NDArray[np.int64]


def count(outputs: NDArray[Any], targets: NDArray[Any]) -> Counts:
    """Return the number of entities marked by the tags `[n, words]` of each text; empty strings are padding.

    Raises:
        UndefinedError: The inputs are not tags.
    """
    if targets.dtype.kind != "U" or outputs.dtype.kind != "U":
        message = "needs tags of words"
        raise harness.UndefinedError(message)
    answered, wanted = entities(outputs), entities(targets)
    return Counts(*(_by_text(some, len(targets)) for some in (answered, answered & wanted, wanted)))


def entities(tags: NDArray[Any]) -> set[tuple[int, int, int, str]]:
    """Return the entities marked by tags `[n, words]`: the text, the first and the last word, and the type.

    An entity begins at every B-, and at an I- that does not continue its own type: after O, after another type, and at
    the start of a text.

    Source: conlleval (Tjong Kim Sang and Buchholz, 2000), which seqeval follows in its default mode.
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
