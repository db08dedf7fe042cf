"""Exact match."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness
from harness_plugins.metrics._texts import pairs


class ExactMatch(harness.Metric):
    """Share of texts that equal a right one but for white space."""

    name = "exact-match"
    title = "exact match"

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the share of texts `[n]` that are the right one `[n]`, or one of several `[n, k]`, from 0 to 1.

        Raises:
            UndefinedError: There are no items, or they are not texts.
        """
        found = [_plain(text) in map(_plain, right) for text, right in pairs(outputs, targets)]
        return float(np.mean(found))


def _plain(text: str) -> str:
    return " ".join(text.split())


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [ExactMatch]
