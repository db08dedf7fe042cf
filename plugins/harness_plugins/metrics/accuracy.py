"""Accuracy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class Accuracy(harness.Metric):
    """Share of items whose highest class score is the right class's."""

    name = "accuracy"
    title = "accuracy"

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the accuracy of class scores `[n, classes]` against class numbers `[n]`, from 0 to 1.

        Raises:
            UndefinedError: There are no items.
        """
        if not len(targets):
            message = "there are no items"
            raise harness.UndefinedError(message)
        return float(np.mean(outputs.argmax(1) == targets))


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [Accuracy]
