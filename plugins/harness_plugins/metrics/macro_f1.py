"""F1 averaged over classes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class MacroF1(harness.Confusion):
    """F1 averaged over classes: rare classes count as much as frequent ones.

    Source: scikit-learn's f1_score with average="macro", over the classes that occur in targets or predictions; a class
    that is never predicted counts as 0.
    """

    name = "macro-f1"
    version = 2
    title = "macro-F1"
    bounds = (0.0, 1.0)

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the F1 of scores `[n, classes]` against class numbers `[n]`, or 0 and 1 for each class `[n, classes]`.

        Raises:
            UndefinedError: No class occurs in targets or predictions.
        """
        from sklearn.metrics import f1_score

        answered = outputs.argmax(1) if targets.ndim == 1 else outputs > 0
        # Classes that are neither correct nor predicted anywhere have no F1 and are excluded from the mean.
        found = float(f1_score(targets, answered, average="macro", zero_division=np.nan))
        if np.isnan(found):
            message = "no class occurs in targets or predictions"
            raise harness.UndefinedError(message)
        return found

    def of_counts(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Return the scores of confusion matrices `[B, tables, classes, classes]`; `[B]`."""
        right = np.diagonal(counts, axis1=2, axis2=3)  # [B, tables, classes]
        found = 2 * right / (counts.sum(3) + counts.sum(2))
        # If texts may have several classes, each table is a class, of which only yes counts.
        return np.asarray(
            (found if counts.shape[1] == 1 else found[..., 1]).mean(axis=(1, 2) if counts.shape[1] == 1 else 1)
        )


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [MacroF1]
