"""Language-model loss."""

from typing import Any

from numpy.typing import NDArray

import harness


class NatsPerToken(harness.Ratio):
    """Mean cross-entropy of the predicted tokens, in nats; its exponential is the perplexity."""

    name = "nats-per-token"
    title = "loss"
    unit = "nats/token"
    better = "lower"
    nothing = "no token was predicted"

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return each text's summed loss and number of predicted tokens, which are the outputs, `[n, 2]`."""
        del targets
        return outputs


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [NatsPerToken]
