"""What several strategies ask of a stage."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    import harness


def head_parameters(stage: "harness.Stage") -> "Sequence[nn.Parameter]":
    """Return the weights of the head that are not the body's as well, as a language model's embedding may be."""
    shared = {id(parameter) for parameter in stage.body.parameters()}
    return [parameter for parameter in stage.head.parameters() if id(parameter) not in shared]
