"""Shared by the metrics that compare texts."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


def pairs(outputs: NDArray[Any], targets: NDArray[Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield each item's text and its correct texts.

    Args:
        outputs: The predicted texts, `[n]`.
        targets: The correct texts, `[n, k]`, or `[n]` if each item has one.

    Raises:
        UndefinedError: There are no items, or they are not texts.
    """
    if not len(targets):
        message = "there are no items"
        raise harness.UndefinedError(message)
    if outputs.ndim != 1 or outputs.dtype.kind != "U" or targets.dtype.kind != "U":
        message = "the answers are not texts"
        raise harness.UndefinedError(message)
    yield from zip(outputs.tolist(), targets.reshape(len(targets), -1).tolist(), strict=True)


def of_one(values: Iterable[float]) -> NDArray[Any]:
    """Return the contributions of items to a mean, `[n, 2]`: their values, each with weight 1."""
    array = np.array([float(value) for value in values])
    return np.stack([array, np.ones_like(array)], axis=1)
