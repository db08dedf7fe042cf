"""Accuracy where a text has several classes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class SubsetAccuracy(harness.Ratio):
    """Share of texts all of whose classes, and no others, are answered.

    Source: scikit-learn's accuracy_score for multilabel targets.
    """

    name = "subset-accuracy"
    title = "all right"

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return whether log-odds `[n, classes]` are right of all classes `[n, classes]`, 0 or 1, each out of 1: `[n, 2]`."""
        right = ((outputs > 0) == (targets > 0)).all(axis=1)
        return np.stack([right, np.ones_like(right)], axis=1)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [SubsetAccuracy]
