"""F1 over all predictions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class MicroF1(harness.Ratio):
    """F1 over all pairs of text and class: frequent classes count more than rare ones.

    Source: scikit-learn's f1_score with average="micro". If each text has one class, it equals accuracy.
    """

    name = "micro-f1"
    title = "micro-F1"
    bounds = (0.0, 1.0)
    nothing = "no text has a class"

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return, for each text, twice the correct classes, and the predicted plus the true classes: `[n, 2]`.

        Args:
            outputs: Scores `[n, classes]`, or log-odds if texts may have several classes.
            targets: Class numbers `[n]`, or 0 and 1 for each class `[n, classes]`.
        """
        if targets.ndim == 1:
            right = outputs.argmax(1) == targets
            return np.stack([2 * right, np.full(len(right), 2)], axis=1)
        answered, wanted = outputs > 0, targets > 0
        return np.stack([2 * (answered & wanted).sum(1), answered.sum(1) + wanted.sum(1)], axis=1)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [MicroF1]
