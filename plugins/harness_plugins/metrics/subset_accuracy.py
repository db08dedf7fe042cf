"""Subset accuracy for multi-label classification."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class SubsetAccuracy(harness.Ratio):
    """Share of texts with exactly the correct set of classes.

    Source: scikit-learn's accuracy_score for multilabel targets.
    """

    name = "subset-accuracy"
    title = "subset accuracy"
    bounds = (0.0, 1.0)

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return whether log-odds `[n, classes]` match all classes `[n, classes]`, 0 or 1, with weight 1: `[n, 2]`."""
        right = ((outputs > 0) == (targets > 0)).all(axis=1)
        return np.stack([right, np.ones_like(right)], axis=1)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [SubsetAccuracy]
