"""Tuning of the biases only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import harness
from harness_plugins.strategies._stage import head_parameters

if TYPE_CHECKING:
    from torch import nn


class BitFit(harness.Strategy):
    """Train the bias terms and the head; all weight matrices stay frozen.

    Source: Ben Zaken et al., 2022 (BitFit, https://arxiv.org/abs/2106.10199). Models without biases are rejected.
    """

    name = "bitfit"
    defaults = {"learning_rate": 1e-3}

    def check(self, model: harness.Model, tasks: Sequence[harness.Task]) -> str | None:
        """Return why the model cannot be tuned this way."""
        del tasks
        return None if _biases(harness.skeleton(model)) else "the model has no biases to train"

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the model with its biases trained."""
        stage.model.requires_grad_(False)
        for parameter in (*_biases(stage.body), *head_parameters(stage)):
            parameter.requires_grad = True
        return stage.fit(stage.model)


def _biases(body: "nn.Module") -> "list[nn.Parameter]":
    return [parameter for name, parameter in body.named_parameters() if name.endswith("bias")]


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Register the strategy."""
    return [BitFit]
