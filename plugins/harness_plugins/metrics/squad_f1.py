"""SQuAD's F1."""

from collections import Counter
from typing import Any

from numpy.typing import NDArray

import harness
from harness_plugins.metrics._squad import best


class SquadF1(harness.Ratio):
    """F1 of the answer's words against the best-matching correct answer, as in SQuAD's official script.

    If there is no answer, it is 1 for predicting none and 0 otherwise. Source: Rajpurkar et al., 2018 (Know What You
    Don't Know: Unanswerable Questions for SQuAD, https://arxiv.org/abs/1806.03822).
    """

    name = "squad-f1"
    title = "F1"
    bounds = (0.0, 1.0)

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return the F1 of each answer `[n]` against correct ones `[n, m]`, with weight 1: `[n, 2]`; "" is no answer.

        Raises:
            UndefinedError: The inputs are not texts.
        """
        return best(outputs, targets, _f1)


def _f1(answer: str, right: str) -> float:
    words, known = answer.split(), right.split()
    if not words or not known:
        return float(words == known)
    same = sum((Counter(words) & Counter(known)).values())
    # 2 P R / (P + R), where precision P is same / words, and recall R is same / known.
    return 2 * same / (len(words) + len(known))


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [SquadF1]
