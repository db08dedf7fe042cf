"""A model that does not read, for answers found in a passage. Imported when a baseline is made: it needs torch."""

import torch
from torch import nn
from transformers.modeling_outputs import QuestionAnsweringModelOutput

_STEP = 1e3
"""By which a token's score falls behind that of the token before it."""


class First(nn.Module):
    """Scores each token the lower the later it comes, as start and as end of an answer, whatever it says."""

    def forward(self, attention_mask: torch.Tensor, **_: torch.Tensor) -> QuestionAnsweringModelOutput:
        """Return the scores as `start_logits` and `end_logits`, `[b, tokens]`; that of a text's first token is 0."""
        scores = _STEP * (1 - attention_mask.cumsum(1)).float()
        return QuestionAnsweringModelOutput(start_logits=scores, end_logits=scores)
