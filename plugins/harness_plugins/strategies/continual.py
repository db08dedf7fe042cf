"""Full fine-tuning with measures against forgetting earlier stages."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

import harness

if TYPE_CHECKING:
    import torch
    from torch import nn


class Replay(harness.Strategy):
    """Train every weight, with a share of the earlier stages' texts mixed in.

    Each step adds the mean loss of one batch of remembered texts, drawn evenly from the earlier stages, each with its
    own head; those heads stay frozen. Source: Chaudhry et al., 2019 (On Tiny Episodic Memories in Continual Learning,
    https://arxiv.org/abs/1902.10486).
    """

    name = "replay"
    shardable = False
    defaults = {"learning_rate": 5e-5}

    share: float = Field(0.1, gt=0, le=1, description="share of each earlier stage's training texts that is remembered")
    weight: float = Field(
        1.0, gt=0, description="weight of the remembered texts' loss relative to that of the new texts"
    )

    def searched(self, tasks: Sequence[harness.Task]) -> Mapping[str, harness.Span]:
        """Return the search range of the share."""
        del tasks
        return {"share": harness.Span(0.05, 0.5, log=True)}

    def check(self, model: harness.Model, tasks: Sequence[harness.Task]) -> str | None:
        """Return why there are no earlier stages."""
        del model
        return _nothing_earlier(tasks)

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the model with all its weights trained."""
        import numpy as np

        stage.model.requires_grad_(True)
        earlier = stage.earlier
        if not earlier:
            return stage.fit(stage.model)
        # The remembered texts of a stage are the same in all later stages.
        memories = [
            np.random.default_rng([stage.seed, at]).permutation(past.items)[: max(1, round(self.share * past.items))]
            for at, past in enumerate(earlier)
        ]
        random = np.random.default_rng([stage.seed, stage.index, len(memories)])
        size = max(1, stage.config.batch_size // len(memories))

        def penalty() -> "torch.Tensor":
            drawn = (random.choice(rows, min(size, len(rows)), replace=False) for rows in memories)
            losses = [past.loss(rows) for past, rows in zip(earlier, drawn, strict=True)]
            return self.weight * sum(losses[1:], losses[0]) / len(losses)

        return stage.fit(stage.model, penalty)


class EWC(harness.Strategy):
    """Train every weight, with a penalty on changes to weights that earlier stages need (elastic weight consolidation).

    The penalty is strength / 2 * sum F (w - w0)^2, where w0 are the body's weights at the start of this stage and F is
    the diagonal of the empirical Fisher information there, summed over the earlier stages. Each stage's F is scaled to
    a mean of 1 over the weights, because for confidently predicted texts it is close to 0, so no strength would work.
    Needs memory for three more copies of the weights. Source: Kirkpatrick et al., 2017 (Overcoming catastrophic
    forgetting in neural networks, equation 3); one anchor for all stages: Huszár, 2018 (Note on the quadratic penalties
    in elastic weight consolidation).
    """

    name = "ewc"
    shardable = False
    defaults = {"learning_rate": 5e-5}

    # MiniLM, tuned on 160 sentences and then on 160 others at six times the learning rate (one seed): with 1, nothing
    # of the
    # first was lost, and the second reached 0.34 instead of 0.40 (six classes); with 10, it learned nothing.
    strength: float = Field(1.0, gt=0, description="strength of the penalty (lambda in the paper)")
    samples: PositiveInt = Field(
        200, description="number of texts of each earlier stage used to estimate its Fisher information"
    )

    def searched(self, tasks: Sequence[harness.Task]) -> Mapping[str, harness.Span]:
        """Return the search range of the strength."""
        del tasks
        return {"strength": harness.Span(0.1, 10.0, log=True)}

    def check(self, model: harness.Model, tasks: Sequence[harness.Task]) -> str | None:
        """Return why there are no earlier stages."""
        del model
        return _nothing_earlier(tasks)

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the model with all its weights trained."""
        import torch

        stage.model.requires_grad_(True)
        if not stage.earlier:
            return stage.fit(stage.model)
        guarded = list(stage.body.parameters())
        anchors = [parameter.detach().clone() for parameter in guarded]
        needed = self._fisher(stage, guarded)

        def penalty() -> "torch.Tensor":
            terms = [
                (fisher * (parameter - anchor).square()).sum()
                for fisher, parameter, anchor in zip(needed, guarded, anchors, strict=True)
            ]
            return self.strength / 2 * torch.stack(terms).sum()

        return stage.fit(stage.model, penalty)

    def _fisher(self, stage: harness.Stage, guarded: "list[nn.Parameter]") -> "list[torch.Tensor]":
        """Return the Fisher information of each parameter, scaled to mean 1 per earlier stage and summed over them."""
        import numpy as np
        import torch

        random = np.random.default_rng([stage.seed, stage.index])
        training = stage.body.training
        stage.body.eval()
        summed = [torch.zeros_like(parameter) for parameter in guarded]
        for past in stage.earlier:
            squares = [torch.zeros_like(parameter) for parameter in guarded]
            for row in random.permutation(past.items)[: self.samples]:
                gradients = torch.autograd.grad(past.loss([int(row)]), guarded, allow_unused=True)
                for square, gradient in zip(squares, gradients, strict=True):
                    if gradient is not None:
                        square.addcmul_(gradient, gradient)
            mean = sum(float(square.sum()) for square in squares) / sum(square.numel() for square in squares)
            for total, square in zip(summed, squares, strict=True):
                # If all texts are predicted with certainty, no weight is needed.
                total.add_(square, alpha=1 / mean if mean else 0.0)
        stage.body.train(training)
        return summed


def _nothing_earlier(tasks: Sequence[harness.Task]) -> str | None:
    return None if len(tasks) > 1 else "needs at least two stages"


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Register the strategies."""
    return [Replay, EWC]
