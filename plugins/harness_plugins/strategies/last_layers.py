"""Partial fine-tuning: only what is near the output."""

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

import harness
from harness_plugins.strategies._stage import head_parameters

if TYPE_CHECKING:
    from torch import nn


class LastLayers(harness.Strategy):
    """Train the last blocks of the body, what follows them, and the head.

    What lies below cannot change, so it is without dropout and runs once for all epochs and seeds.

    Source: Lee et al., 2019 (What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning).
    """

    name = "last-layers"
    defaults = {"learning_rate": 1e-4}

    layers: PositiveInt = Field(2, description="blocks that are trained, counted from the output")

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the model with its last blocks trained."""
        blocks = stage.last_blocks(self.layers)
        stage.model.requires_grad_(False)
        trained = {id(parameter) for block in blocks for parameter in block.parameters()}
        past = False
        # Parameters come in the order a model defines its parts, so what follows the last block is nearer the output.
        for parameter in stage.body.parameters():
            parameter.requires_grad = id(parameter) in trained or past
            past = past or id(parameter) == id(list(blocks[-1].parameters())[-1])
        for parameter in head_parameters(stage):
            parameter.requires_grad = True
        return stage.fit(stage.model)


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Offer the strategy."""
    return [LastLayers]
