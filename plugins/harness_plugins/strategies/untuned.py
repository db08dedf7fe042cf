"""The floor: what can be had without learning anything."""

from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    from torch import nn


class Untuned(harness.Strategy):
    """Tune nothing and always answer with the most frequent class: the floor that learning must beat."""

    name = "untuned"
    role = "floor"
    default = True

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return a model whose class scores are the classes' logarithmic frequencies, whatever the text."""
        import numpy as np
        import torch
        from torch import nn
        from transformers.modeling_outputs import SequenceClassifierOutput

        counts = np.bincount(stage.targets("train"), minlength=len(stage.facts.classes or ()))
        scores = torch.from_numpy(np.log(np.maximum(counts, 0.5) / counts.sum())).float()

        class Prior(nn.Module):
            """Answers with the training split's class frequencies."""

            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("scores", scores)

            def forward(self, input_ids: torch.Tensor, **_: torch.Tensor) -> SequenceClassifierOutput:
                """Return the same scores for every text, `[b, classes]`."""
                return SequenceClassifierOutput(logits=self.get_buffer("scores").expand(len(input_ids), -1))

        return Prior().to(next(stage.body.parameters()).device)


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Offer the strategy."""
    return [Untuned]
