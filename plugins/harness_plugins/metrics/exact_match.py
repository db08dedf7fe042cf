"""Exact match."""

from typing import Any

from numpy.typing import NDArray

import harness
from harness_plugins.metrics._texts import of_one, pairs


class ExactMatch(harness.Ratio):
    """Share of texts that equal a right one but for white space."""

    name = "exact-match"
    title = "exact match"

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return whether each text `[n]` is the right one `[n]`, or one of several `[n, k]`, out of 1: `[n, 2]`.

        Raises:
            UndefinedError: They are not texts.
        """
        return of_one(_plain(text) in map(_plain, right) for text, right in pairs(outputs, targets))


def _plain(text: str) -> str:
    return " ".join(text.split())


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [ExactMatch]
