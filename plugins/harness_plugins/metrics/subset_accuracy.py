"""Accuracy where a text has several classes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class SubsetAccuracy(harness.Metric):
    """Share of texts all of whose classes, and no others, are answered.

    Source: scikit-learn's accuracy_score for multilabel targets.
    """

    name = "subset-accuracy"
    title = "all right"

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the share for log-odds `[n, classes]` against 0 and 1 for each class `[n, classes]`, from 0 to 1.

        Raises:
            UndefinedError: There are no items.
        """
        if not len(targets):
            message = "there are no items"
            raise harness.UndefinedError(message)
        return float(np.mean(((outputs > 0) == (targets > 0)).all(axis=1)))


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [SubsetAccuracy]
