"""Matthews' correlation coefficient."""

from typing import Any

from numpy.typing import NDArray

import harness


class MCC(harness.Metric):
    """Matthews correlation of predicted and correct classes: 0 for any constant prediction, for any class sizes.

    Source: Gorodkin, 2004, by scikit-learn's matthews_corrcoef, which gives 0 for a constant prediction.
    """

    name = "mcc"
    title = "MCC"
    chance = 0.0

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the correlation of class scores `[n, classes]` with class numbers `[n]`, from -1 to 1."""
        from sklearn.metrics import matthews_corrcoef

        return float(matthews_corrcoef(targets, outputs.argmax(1)))


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [MCC]
