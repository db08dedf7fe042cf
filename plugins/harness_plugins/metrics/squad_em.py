"""SQuAD's exact match."""

from typing import Any

from numpy.typing import NDArray

import harness
from harness_plugins.metrics._squad import best


class SquadEM(harness.Ratio):
    """Share of answers that are a right one but for case, punctuation and articles, as SQuAD's official script has it.

    Where there is no answer, giving none is right. Source: Rajpurkar et al., 2018 (Know What You Don't Know: Unanswerable
    Questions for SQuAD, https://arxiv.org/abs/1806.03822).
    """

    name = "squad-em"
    title = "EM"

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return whether each answer `[n]` is among the right answers `[n, m]`, out of 1: `[n, 2]`; "" is no answer.

        Raises:
            UndefinedError: They are not texts.
        """
        return best(outputs, targets, lambda answer, right: float(answer == right))


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [SquadEM]
