"""Accuracy of predicting whether there is an answer."""

from typing import Any

from numpy.typing import NDArray

import harness
from harness_plugins.metrics._squad import answers
from harness_plugins.metrics._texts import of_one


class NoAnswerAccuracy(harness.Ratio):
    """Share of questions for which it is correctly predicted whether the passage has an answer.

    Answers of only punctuation and articles count as no answer, as in SQuAD's official script.
    """

    name = "no-answer-accuracy"
    title = "no-answer accuracy"
    bounds = (0.0, 1.0)

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return whether each answer `[n]` is "" exactly if the correct answers `[n, m]` are, with weight 1: `[n, 2]`.

        Raises:
            UndefinedError: The inputs are not texts, or every question has an answer.
        """
        pairs = list(answers(outputs, targets))
        if not any(right == {""} for _, right in pairs):
            message = "every question has an answer"
            raise harness.UndefinedError(message)
        return of_one((answer == "") == (right == {""}) for answer, right in pairs)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [NoAnswerAccuracy]
