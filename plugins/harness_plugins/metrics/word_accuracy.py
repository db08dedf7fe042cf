"""Tagging accuracy over words."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class WordAccuracy(harness.Ratio):
    """Share of words with the correct tag, over the words of all texts."""

    name = "word-accuracy"
    title = "word accuracy"
    bounds = (0.0, 1.0)
    nothing = "the texts have no words"

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return each text's numbers of correct words and words, `[n, 2]`, given tags `[n, words]`, "" beyond its end.

        Raises:
            UndefinedError: The inputs are not tags.
        """
        if targets.dtype.kind != "U" or outputs.dtype.kind != "U":
            message = "needs tags of words"
            raise harness.UndefinedError(message)
        words = targets != ""
        return np.stack([((outputs == targets) & words).sum(axis=1), words.sum(axis=1)], axis=1)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [WordAccuracy]
