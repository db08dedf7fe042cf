"""Perplexity."""

import math
from typing import Any

from numpy.typing import NDArray

import harness
from harness_plugins.metrics.nats_per_token import NatsPerToken


class Perplexity(harness.Metric):
    """Exponential of the mean cross-entropy of the predicted tokens: the effective number of equally likely choices.

    It depends on the tokenizer, so only models with the same tokenizer can be compared. Source: Jelinek et al., 1977
    (Perplexity: a Measure of the Difficulty of Speech Recognition Tasks).
    """

    name = "perplexity"
    title = "perplexity"
    better = "lower"

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the perplexity of texts `[n, 2]`, each with its summed loss in nats and its number of predicted tokens.

        Raises:
            UndefinedError: No token was predicted.
        """
        return math.exp(NatsPerToken().score(outputs, targets))


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [Perplexity]
