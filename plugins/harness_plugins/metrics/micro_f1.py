"""F1, all answers alike."""

from typing import Any

from numpy.typing import NDArray

import harness


class MicroF1(harness.Metric):
    """F1 over all pairs of a text and a class together: frequent classes count more than rare ones.

    Source: scikit-learn's f1_score with average="micro". Where each text has one class it equals accuracy.
    """

    name = "micro-f1"
    title = "micro-F1"

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the F1 of scores `[n, classes]` against class numbers `[n]` or 0 and 1 for each class `[n, classes]`.

        Raises:
            UndefinedError: No text has a class, and none is answered.
        """
        from sklearn.metrics import f1_score

        answered = outputs.argmax(1) if targets.ndim == 1 else outputs > 0
        if not len(targets) or (targets.ndim > 1 and not targets.any() and not answered.any()):
            message = "no text has a class"
            raise harness.UndefinedError(message)
        return float(f1_score(targets, answered, average="micro", zero_division=0.0))


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [MicroF1]
