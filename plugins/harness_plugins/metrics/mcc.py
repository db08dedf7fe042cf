"""Matthews' correlation coefficient."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class MCC(harness.Confusion):
    """Matthews correlation of predicted and correct classes: 0 for any constant prediction, for any class sizes.

    Source: Gorodkin, 2004, by scikit-learn's matthews_corrcoef, which gives 0 for a constant prediction.
    """

    name = "mcc"
    title = "MCC"
    chance = 0.0
    bounds = (-1.0, 1.0)

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the correlation of class scores `[n, classes]` with class numbers `[n]`, from -1 to 1."""
        from sklearn.metrics import matthews_corrcoef

        return float(matthews_corrcoef(targets, outputs.argmax(1)))

    def of_counts(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Return the scores of confusion matrices `[B, 1, classes, classes]`; `[B]`."""
        table = counts[:, 0]
        all_, wanted, answered = table.sum((1, 2)), table.sum(2), table.sum(1)
        right = np.trace(table, axis1=1, axis2=2)
        spread = (all_**2 - (wanted**2).sum(1)) * (all_**2 - (answered**2).sum(1))
        return np.asarray((right * all_ - (wanted * answered).sum(1)) / np.sqrt(spread))


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [MCC]
