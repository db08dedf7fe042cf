"""Full fine-tuning: the reference."""

from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    from torch import nn


class Full(harness.Strategy):
    """Train every weight of the model."""

    name = "full"
    role = "reference"
    default = True
    defaults = {"learning_rate": 5e-5}

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the model with all its weights trained."""
        stage.model.requires_grad_(True)
        return stage.fit(stage.model)


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Register the strategy."""
    return [Full]
