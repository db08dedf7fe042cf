"""Whether an answer is given where there is one."""

from typing import Any

from numpy.typing import NDArray

import harness
from harness_plugins.metrics._squad import answers
from harness_plugins.metrics._texts import of_one


class NoAnswerAccuracy(harness.Ratio):
    """Share of questions of which it is told rightly whether the passage has an answer, whichever that is.

    An answer of punctuation and articles alone is none, as in SQuAD's official script.
    """

    name = "no-answer-accuracy"
    title = "no-answer accuracy"

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return whether each answer `[n]` is "" just where the right answers `[n, m]` are, out of 1: `[n, 2]`.

        Raises:
            UndefinedError: They are not texts, or every question has an answer.
        """
        pairs = list(answers(outputs, targets))
        if not any(right == {""} for _, right in pairs):
            message = "every question has an answer"
            raise harness.UndefinedError(message)
        return of_one((answer == "") == (right == {""}) for answer, right in pairs)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [NoAnswerAccuracy]
