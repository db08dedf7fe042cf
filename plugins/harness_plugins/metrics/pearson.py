"""Pearson's correlation."""

from typing import Any

from numpy.typing import NDArray

import harness
from harness_plugins.metrics._correlation import correlation


class Pearson(harness.Metric):
    """Linear correlation of predictions and targets.

    Source: Pearson, 1895 (Note on Regression and Inheritance in the Case of Two Parents), by scipy.
    """

    name = "pearson"
    title = "Pearson"
    chance = 0.0
    bounds = (-1.0, 1.0)

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the correlation of `outputs` `[n]` with `targets` `[n]`, from -1 to 1.

        Raises:
            UndefinedError: There are fewer than two items, or all predictions or all targets are equal.
        """
        from scipy.stats import pearsonr

        return correlation(pearsonr, outputs, targets)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [Pearson]
