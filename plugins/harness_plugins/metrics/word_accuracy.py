"""Accuracy where each word has a tag."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class WordAccuracy(harness.Ratio):
    """Share of words that have the right tag, over the words of all texts together."""

    name = "word-accuracy"
    title = "word accuracy"
    nothing = "the texts have no words"

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return how many words of each text are right, and how many it has, given tags `[n, words]`, "" beyond its end: `[n, 2]`.

        Raises:
            UndefinedError: These are not tags.
        """
        if targets.dtype.kind != "U" or outputs.dtype.kind != "U":
            message = "only words have tags"
            raise harness.UndefinedError(message)
        words = targets != ""
        return np.stack([((outputs == targets) & words).sum(axis=1), words.sum(axis=1)], axis=1)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [WordAccuracy]
