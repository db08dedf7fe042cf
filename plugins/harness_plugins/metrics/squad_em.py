"""SQuAD's exact match."""

from typing import Any

from numpy.typing import NDArray

import harness
from harness_plugins.metrics._squad import mean_of_best


class SquadEM(harness.Metric):
    """Share of answers that are a right one but for case, punctuation and articles, as SQuAD's official script has it.

    Where there is no answer, giving none is right. Source: Rajpurkar et al., 2018 (Know What You Don't Know: Unanswerable
    Questions for SQuAD, https://arxiv.org/abs/1806.03822).
    """

    name = "squad-em"
    title = "EM"

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the share of answers `[n]` that are among the right answers `[n, m]`, from 0 to 1; "" is no answer.

        Raises:
            UndefinedError: There are no items, or they are not texts.
        """
        return mean_of_best(outputs, targets, lambda answer, right: float(answer == right))


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [SquadEM]
