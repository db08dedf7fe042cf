"""Accuracy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class Accuracy(harness.Ratio):
    """Share of items whose highest-scoring class is correct."""

    name = "accuracy"
    title = "accuracy"
    bounds = (0.0, 1.0)

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return whether class scores `[n, classes]` match class numbers `[n]`, each with weight 1: `[n, 2]`."""
        right = outputs.argmax(1) == targets
        return np.stack([right, np.ones_like(right)], axis=1)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [Accuracy]
