"""A tagging baseline that ignores the text. Imported when a baseline is built, because it needs torch."""

import torch
from numpy.typing import ArrayLike
from torch import nn
from transformers.modeling_outputs import TokenClassifierOutput


class ConstantTag(nn.Module):
    """Returns the same scores for every token of every text."""

    def __init__(self, scores: ArrayLike) -> None:
        """Store the scores, `[classes]`."""
        super().__init__()
        self.register_buffer("scores", torch.as_tensor(scores, dtype=torch.float32))

    def forward(self, input_ids: torch.Tensor, **_: torch.Tensor) -> TokenClassifierOutput:
        """Return the scores as `logits`, `[b, tokens, classes]`."""
        return TokenClassifierOutput(logits=self.get_buffer("scores").expand(*input_ids.shape, -1))
