"""SQuAD's exact match."""

from typing import Any

from numpy.typing import NDArray

import harness
from harness_plugins.metrics._squad import best


class SquadEM(harness.Ratio):
    """Share of answers equal to a correct one, ignoring case, punctuation and articles, as in SQuAD's official script.

    If there is no answer, predicting none is correct. Source: Rajpurkar et al., 2018 (Know What You Don't Know:
    Unanswerable Questions for SQuAD, https://arxiv.org/abs/1806.03822).
    """

    name = "squad-em"
    title = "EM"
    bounds = (0.0, 1.0)

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return whether each answer `[n]` is among the correct ones `[n, m]`, with weight 1: `[n, 2]`; "" is no answer.

        Raises:
            UndefinedError: The inputs are not texts.
        """
        return best(outputs, targets, lambda answer, right: float(answer == right))


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [SquadEM]
