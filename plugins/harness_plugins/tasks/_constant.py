"""A baseline that ignores the text. Imported when a baseline is built, because it needs torch."""

import torch
from numpy.typing import ArrayLike
from torch import nn
from transformers.modeling_outputs import SequenceClassifierOutput


class Constant(nn.Module):
    """Returns the same scores for every text."""

    def __init__(self, scores: ArrayLike) -> None:
        """Store the scores, `[k]`."""
        super().__init__()
        self.register_buffer("scores", torch.as_tensor(scores, dtype=torch.float32))

    def forward(self, input_ids: torch.Tensor, **_: torch.Tensor) -> SequenceClassifierOutput:
        """Return the scores as `logits`, `[b, k]`."""
        return SequenceClassifierOutput(logits=self.get_buffer("scores").expand(len(input_ids), -1))
