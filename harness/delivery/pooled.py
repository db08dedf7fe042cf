"""A head on the pooled features of a body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from harness.errors import UndefinedError
from harness.protocols import Pooling

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""Inputs of the body in a batch; other entries belong to the task."""


class FeatureHead(nn.Module):
    """A head on a body's pooled features."""

    def __init__(self, body: nn.Module, head: nn.Module, pooling: Pooling) -> None:
        """Put `head` (`[b, width] -> [b, classes]`) on `body`."""
        super().__init__()
        self.body, self.head, self.pooling = body, head, pooling

    def forward(self, **batch: torch.Tensor) -> Any:
        """Return the head's output as `logits`, `[b, classes]`."""
        from transformers.modeling_outputs import SequenceClassifierOutput

        return SequenceClassifierOutput(logits=self.head(pooled(self.body, batch, self.pooling)))


def pooled(body: nn.Module, batch: Mapping[str, torch.Tensor], pooling: Pooling) -> torch.Tensor:
    """Return the body's last hidden states pooled over each text's tokens, `[b, width]`.

    Args:
        body: Maps a batch to `last_hidden_state`, `[b, tokens, width]`; only the encoder of an encoder-decoder is used.
        batch: Contains `attention_mask`, `[b, tokens]`, 1 for tokens and 0 for padding.
        pooling: `mean` over the tokens, `first` (an encoder's class token) or `last` (the last token read by a decoder).

    Raises:
        UndefinedError: The body shortens the token sequence.
    """
    inputs = {name: batch[name] for name in _INPUTS if name in batch}
    both = isinstance(body, PreTrainedModel) and body.config.is_encoder_decoder and hasattr(body, "decoder")
    whole: Any = body
    reader = whole.get_encoder() if both else whole
    hidden: torch.Tensor = reader(**inputs).last_hidden_state
    mask = inputs["attention_mask"]
    if hidden.shape[1] != mask.shape[1]:
        message = "the model's body returns fewer features than tokens, so they cannot be pooled over tokens"
        raise UndefinedError(message)
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)
    if pooling == "first":
        return hidden[torch.arange(len(hidden)), mask.argmax(1)]
    last = mask.shape[1] - 1 - mask.flip(1).argmax(1)
    return hidden[torch.arange(len(hidden)), last]
