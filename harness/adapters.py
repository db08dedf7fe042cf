"""For strategies that put adapters into a model by PEFT: which layers, which heads, how they are delivered.

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
    """Return the linear layers of a stage's model that lie in these parts of it and not in its head, by name."""
    inside = {id(module) for part in parts for module in part.modules()} - {id(part) for part in stage.head.modules()}
    return {
        name: module
        for name, module in stage.model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and id(module) in inside
    }


def transposed(layers: Mapping[str, nn.Module]) -> bool:
    """Return whether the layers keep their weights as `[inputs, outputs]`, as GPT-2 does: PEFT's `fan_in_fan_out`."""
    return any(isinstance(layer, Conv1D) for layer in layers.values())


def widths(layer: nn.Module) -> tuple[int, int]:
    """Return how wide a linear layer's inputs and outputs are."""
    if isinstance(layer, Conv1D):
        return int(layer.weight.shape[0]), int(layer.weight.shape[1])
    assert isinstance(layer, nn.Linear)
    return layer.in_features, layer.out_features


def trained_heads(stage: Stage) -> list[str]:
    """Return the modules of a stage's head whose weights are trained as they are: PEFT's `modules_to_save`.

    None of a language model's own head. Each has weights itself: of a whole head that is made of several, most of PEFT's
    methods cannot be merged.
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
    """Declare an adapter as what would be delivered, and return the model with it merged into its weights."""
    stage.ship(adapted)
    whole: nn.Module = adapted.merge_and_unload()
    return whole


def norms(model: PreTrainedModel, body: nn.Module) -> list[str]:
    """Return the names of the norms of a model's body."""
    inside = {id(module) for module in body.modules()}
    return [
        name
        for name, module in model.named_modules()
        if id(module) in inside
        and type(module).__name__.lower().endswith("norm")
        and list(module.parameters(recurse=False))
    ]
