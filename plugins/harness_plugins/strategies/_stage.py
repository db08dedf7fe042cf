"""Shared by several strategies: queries of a stage, or of a model before there is a stage."""

from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


def head_parameters(stage: "harness.Stage") -> "Sequence[nn.Parameter]":
    """Return the weights of the head that are not shared with the body, as a language model's embedding may be."""
    embedding: Any = stage.model.get_input_embeddings()
    shared = {id(parameter) for parameter in embedding.parameters()}
    return [parameter for parameter in stage.head.parameters() if id(parameter) not in shared]


def too_many_layers(model: harness.Model, layers: int | None) -> str | None:
    """Return why this many blocks, counted from the output, cannot be tuned, as a clause; None if they can."""
    if layers is None or layers <= (count := harness.block_count(model)):
        return None
    return f"layers={layers} is too many: the model has {count} blocks"
