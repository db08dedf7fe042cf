"""Partial fine-tuning of the layers near the output."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

import harness
from harness_plugins.strategies._stage import head_parameters, too_many_layers

if TYPE_CHECKING:
    from torch import nn

_TOKENS = 8
"""Number of tokens in the pass that finds the execution order of a body; enough for bodies that shorten texts."""


class LastLayers(harness.Strategy):
    """Train the last blocks of the body, the layers after them, and the head.

    The layers below are frozen, so they use no dropout and are computed once for all epochs and seeds.

    Source: Lee et al., 2019 (What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning).
    """

    name = "last-layers"
    defaults = {"learning_rate": 1e-4}

    layers: PositiveInt = Field(2, description="number of trained blocks, counted from the output")

    def check(self, model: harness.Model, tasks: Sequence[harness.Task]) -> str | None:
        """Return why the model cannot be tuned this way."""
        del tasks
        return too_many_layers(model, self.layers)

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the model with its last blocks trained."""
        blocks = stage.last_blocks(self.layers)
        stage.model.requires_grad_(False)
        for module in (*blocks, *_run_after(stage.body, blocks[-1])):
            module.requires_grad_(True)
        for parameter in head_parameters(stage):
            parameter.requires_grad = True
        return stage.fit(stage.model)


def _run_after(body: "nn.Module", block: "nn.Module") -> "list[nn.Module]":
    """Return the modules of a body that run only after a block, such as a final norm or a pooler.

    Found by a pass over a few tokens, not by the order of definition: modules shared by all blocks, such as positions,
    may be defined after them.
    """
    import torch

    before: set[nn.Module] = set()
    after: list[nn.Module] = []
    ended = False

    def began(module: "nn.Module", _: object) -> None:
        if not ended:
            before.add(module)
        elif module not in before:
            after.append(module)

    def end(*_: object) -> None:
        nonlocal ended
        ended = True

    both = getattr(getattr(body, "config", None), "is_encoder_decoder", False) and hasattr(body, "decoder")
    hooks = [module.register_forward_pre_hook(began) for module in body.modules()]
    hooks.append(block.register_forward_hook(end))
    training = [module for module in body.modules() if module.training]
    body.eval()  # dropout would consume random numbers meant for tuning
    try:
        with torch.no_grad():
            tokens = torch.zeros((1, _TOKENS), dtype=torch.long, device=next(body.parameters()).device)
            body(
                input_ids=tokens,
                attention_mask=torch.ones_like(tokens),
                **({"decoder_input_ids": tokens} if both else {}),
            )
    finally:
        for hook in hooks:
            hook.remove()
        for module in training:
            module.training = True
    return after


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Register the strategy."""
    return [LastLayers]
