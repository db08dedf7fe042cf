"""The baseline: what can be had without learning anything."""

from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    from torch import nn


class Untuned(harness.Strategy):
    """Tune nothing: the baseline that learning must beat, such as always answering with the most frequent class."""

    name = "untuned"
    role = "baseline"
    default = True
    shapes = frozenset()

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the task's baseline; where it has none, the model as it is."""
        return stage.baseline()


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Offer the strategy."""
    return [Untuned]
