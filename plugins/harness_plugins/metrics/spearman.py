"""Spearman's correlation."""

from typing import Any

from numpy.typing import NDArray

import harness
from harness_plugins.metrics._correlation import correlation


class Spearman(harness.Metric):
    """Rank correlation of predictions and targets; ties get their mean rank.

    Source: Spearman, 1904 (The Proof and Measurement of Association between Two Things), by scipy.
    """

    name = "spearman"
    title = "Spearman"
    chance = 0.0
    bounds = (-1.0, 1.0)

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the correlation of `outputs` `[n]` with `targets` `[n]`, from -1 to 1.

        Raises:
            UndefinedError: There are fewer than two items, or all predictions or all targets are equal.
        """
        from scipy.stats import spearmanr

        return correlation(spearmanr, outputs, targets)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [Spearman]
