"""Whether an answer is given where there is one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness
from harness_plugins.metrics._squad import answers


class NoAnswerAccuracy(harness.Metric):
    """Share of questions of which it is told rightly whether the passage has an answer, whichever that is.

    An answer of punctuation and articles alone is none, as in SQuAD's official script.
    """

    name = "no-answer-accuracy"
    title = "no-answer accuracy"

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the share of answers `[n]` that are "" just where the right answers `[n, m]` are, from 0 to 1.

        Raises:
            UndefinedError: There are no items, they are not texts, or every question has an answer.
        """
        pairs = list(answers(outputs, targets))
        if not any(right == {""} for _, right in pairs):
            message = "every question has an answer"
            raise harness.UndefinedError(message)
        return float(np.mean([(answer == "") == (right == {""}) for answer, right in pairs]))


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [NoAnswerAccuracy]
