"""Language-model loss."""

from typing import Any

from numpy.typing import NDArray

import harness


class NatsPerToken(harness.Metric):
    """Mean cross-entropy of the predicted tokens, in nats; its exponential is the perplexity."""

    name = "nats-per-token"
    title = "loss"
    unit = "nats/token"
    better = "lower"

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the loss of texts `[n, 2]`, each with its summed loss and its number of predicted tokens.

        Raises:
            UndefinedError: No token was predicted.
        """
        del targets
        tokens = outputs[:, 1].sum(dtype="float64")
        if tokens == 0:
            message = "no token was predicted"
            raise harness.UndefinedError(message)
        return float(outputs[:, 0].sum(dtype="float64") / tokens)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [NatsPerToken]
