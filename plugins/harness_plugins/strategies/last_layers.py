"""Partial fine-tuning: only what is near the output."""

from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

import harness

if TYPE_CHECKING:
    from torch import nn


class LastLayers(harness.Strategy):
    """Train the last blocks of the body, what follows them, and the head.

    Source: Lee et al., 2019 (What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning).
    """

    name = "last-layers"
    defaults = {"learning_rate": 1e-4}

    layers: PositiveInt = Field(2, description="blocks that are trained, counted from the output")

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the model with its last blocks trained."""
        blocks = find_blocks(stage.body)
        if self.layers > len(blocks):
            message = f"strategy 'last-layers': the model has {len(blocks)} blocks, so layers={self.layers} is too many"
            raise harness.HarnessError(message)
        stage.model.requires_grad_(False)
        trained = {id(parameter) for block in blocks[-self.layers :] for parameter in block.parameters()}
        past = False
        # Parameters come in the order a model defines its parts, so what follows the last block is nearer the output.
        for parameter in stage.body.parameters():
            parameter.requires_grad = id(parameter) in trained or past
            past = past or id(parameter) == id(list(blocks[-1].parameters())[-1])
        stage.head.requires_grad_(True)
        return stage.fit(stage.model)


def find_blocks(body: "nn.Module") -> "nn.ModuleList":
    """Return a transformer's blocks: the list of like modules that holds most of its parameters.

    Raises:
        HarnessError: There is no such list.
    """
    from torch import nn

    lists = [
        module
        for module in body.modules()
        if isinstance(module, nn.ModuleList) and len(module) and len({type(block) for block in module}) == 1
    ]
    if not lists:
        message = f"strategy 'last-layers': {type(body).__name__} has no list of blocks"
        raise harness.HarnessError(message)
    return max(lists, key=lambda found: sum(parameter.numel() for parameter in found.parameters()))


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Offer the strategy."""
    return [LastLayers]
