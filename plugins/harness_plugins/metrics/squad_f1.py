"""SQuAD's F1."""

from collections import Counter
from typing import Any

from numpy.typing import NDArray

import harness
from harness_plugins.metrics._squad import best


class SquadF1(harness.Ratio):
    """F1 of the answer's words against those of the right answer that fits best, as SQuAD's official script has it.

    Where there is no answer, 1 for giving none and 0 for giving one. Source: Rajpurkar et al., 2018 (Know What You Don't
    Know: Unanswerable Questions for SQuAD, https://arxiv.org/abs/1806.03822).
    """

    name = "squad-f1"
    title = "F1"

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return the F1 of each answer `[n]` against right answers `[n, m]`, out of 1: `[n, 2]`; "" is no answer.

        Raises:
            UndefinedError: They are not texts.
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
    """Offer the metric."""
    return [SquadF1]
