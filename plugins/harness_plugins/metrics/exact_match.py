"""Exact match."""

from typing import Any

from numpy.typing import NDArray

import harness
from harness_plugins.metrics._texts import of_one, pairs


class ExactMatch(harness.Ratio):
    """Share of texts that equal a correct text, ignoring whitespace differences."""

    name = "exact-match"
    title = "exact match"
    bounds = (0.0, 1.0)

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return whether each text `[n]` is the correct one `[n]`, or one of several `[n, k]`, with weight 1: `[n, 2]`.

        Raises:
            UndefinedError: The inputs are not texts.
        """
        return of_one(_plain(text) in map(_plain, right) for text, right in pairs(outputs, targets))


def _plain(text: str) -> str:
    return " ".join(text.split())


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [ExactMatch]
