"""Helpers for strategies that use PEFT adapters: layers, heads and delivery.

    from harness.adapters import linear_layers, merged, trained_heads

Import it inside `tune`: it needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.protocols import Stage

if TYPE_CHECKING:
    import peft
    from transformers import PreTrainedModel


def linear_layers(stage: Stage, parts: Sequence[nn.Module]) -> dict[str, nn.Module]:
    """Return the linear layers in these parts of a stage's model, excluding its head, by name."""
    inside = {id(module) for part in parts for module in part.modules()} - {id(part) for part in stage.head.modules()}
    return {
        name: module
        for name, module in stage.model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and id(module) in inside
    }


def transposed(layers: Mapping[str, nn.Module]) -> bool:
    """Return whether the layers store weights as `[inputs, outputs]`, as in GPT-2: PEFT's `fan_in_fan_out`."""
    return any(isinstance(layer, Conv1D) for layer in layers.values())


def widths(layer: nn.Module) -> tuple[int, int]:
    """Return the input and output widths of a linear layer."""
    if isinstance(layer, Conv1D):
        return int(layer.weight.shape[0]), int(layer.weight.shape[1])
    assert isinstance(layer, nn.Linear)
    return layer.in_features, layer.out_features


def trained_heads(stage: Stage) -> list[str]:
    """Return the modules of a stage's head that are trained directly: PEFT's `modules_to_save`.

    Empty for a language-model head. Each returned module has weights of its own, because most PEFT methods cannot merge a
    head that consists of several modules.
    """
    if stage.model.get_output_embeddings() is not None:
        return []
    head = {id(module) for module in stage.head.modules()}
    return [
        name
        for name, module in stage.model.named_modules()
        if id(module) in head and list(module.parameters(recurse=False))
    ]


def merged(stage: Stage, adapted: peft.PeftModel) -> nn.Module:
    """Declare an adapter as the delivered model, and return the model with the adapter merged."""
    stage.ship(adapted)
    whole: nn.Module = adapted.merge_and_unload()
    return whole


def norms(model: PreTrainedModel, body: nn.Module) -> list[str]:
    """Return the names of the normalisation layers in a model's body."""
    inside = {id(module) for module in body.modules()}
    return [
        name
        for name, module in model.named_modules()
        if id(module) in inside
        and type(module).__name__.lower().endswith("norm")
        and list(module.parameters(recurse=False))
    ]
