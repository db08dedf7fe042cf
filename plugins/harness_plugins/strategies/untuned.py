"""The baseline: the score without any training."""

from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    from torch import nn


class Untuned(harness.Strategy):
    """Train nothing: the baseline that tuning must beat, such as always predicting the most frequent class."""

    name = "untuned"
    role = "baseline"
    default = True
    shapes = frozenset()

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the task's baseline; if it has none, the unchanged model."""
        return stage.baseline()


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Register the strategy."""
    return [Untuned]
