"""The final number of an answer."""

import re
from decimal import Decimal
from typing import Any

from numpy.typing import NDArray

import harness
from harness_plugins.metrics._texts import of_one, pairs

_MARK = "####"
"""The mark before the number in the correct answers of GSM8K."""
# A sign after a digit is a minus or a hyphen between two numbers, not part of the second.
_NUMBER = re.compile(r"(?<![\d.])-?(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)")


class FinalNumber(harness.Ratio):
    """Share of texts whose last number equals that of the correct answer: the one after "####", or its last.

    Numbers are compared by value: thousands separators and redundant zeros are ignored. Source: Cobbe et al., 2021
    (Training Verifiers to Solve Math Word Problems, https://arxiv.org/abs/2110.14168), where a solution is correct if
    its final answer is correct.
    """

    name = "final-number"
    title = "final number"
    bounds = (0.0, 1.0)

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return whether each text `[n]` ends with the number of a correct one, `[n]` or `[n, k]`, with weight 1: `[n, 2]`.

        Raises:
            UndefinedError: The inputs are not texts, or a correct answer has no number.
        """
        return of_one(_number(text) in [_right(known) for known in right] for text, right in pairs(outputs, targets))


def _number(text: str) -> Decimal | None:
    """Return the last number in a text; None if there is none."""
    found = _NUMBER.findall(text)
    return Decimal(found[-1].replace(",", "")) if found else None


def _right(text: str) -> Decimal:
    number = _number(text.rpartition(_MARK)[2])
    if number is None:
        message = f"the correct answer {text[-60:]!r} has no number"
        raise harness.UndefinedError(message)
    return number


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [FinalNumber]
