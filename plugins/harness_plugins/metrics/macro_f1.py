"""F1, all classes alike."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class MacroF1(harness.Metric):
    """F1 of each class, averaged: rare classes count as much as frequent ones.

    Source: scikit-learn's f1_score with average="macro", over the classes that occur in targets or predictions; a class
    that is never predicted counts as 0.
    """

    name = "macro-f1"
    version = 2
    title = "macro-F1"

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the F1 of scores `[n, classes]` against class numbers `[n]`, or 0 and 1 for each class `[n, classes]`.

        Raises:
            UndefinedError: Nothing is right and nothing is predicted.
        """
        from sklearn.metrics import f1_score

        answered = outputs.argmax(1) if targets.ndim == 1 else outputs > 0
        # What neither is nor is predicted has no F1, and takes no part in the mean.
        found = float(f1_score(targets, answered, average="macro", zero_division=np.nan))
        if np.isnan(found):
            message = "no class occurs, neither in what is right nor in what is predicted"
            raise harness.UndefinedError(message)
        return found


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [MacroF1]
