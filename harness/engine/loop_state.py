"""The state of the training loop, and copies of weights that it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


class Kept:
    """A copy of trained weights."""

    def __init__(self, key: tuple[float, ...], step: int, trained: Sequence[nn.Parameter]) -> None:
        """Copy the weights.

        Args:
            key: How good they are: the larger the better.
            step: The number of steps they took.
            trained: The parameters.
        """
        self.key, self.step, self._trained = key, step, trained
        self.copies = [parameter.detach().clone() for parameter in trained]

    def restore(self) -> None:
        """Set the weights to the copy."""
        with torch.no_grad():
            for parameter, copy in zip(self._trained, self.copies, strict=True):
                parameter.copy_(copy)


@dataclass
class LoopState:
    """How far a training has come: what its loop remembers from step to step."""

    epoch: int = 0
    """Number of epochs that are complete."""
    taken: int = 0
    """Number of batches of the current epoch, or the part of it that is trained on, that were taken."""
    waited: int = 0
    """Number of epochs since the best weights, with `patience`."""
    since: int | None = None
    """Until flat: the step after which the current check period began; None between two periods."""
    cooling: int | None = None
    """Until flat: the step after which the cool-down began; None before it."""
    untrained: float | None = None
    """Until flat: the validation loss before training."""
    scores: list[float] = field(default_factory=list)
    """Until flat: of every check."""
    losses: list[float] = field(default_factory=list)
    done: bool = False
    best: Kept | None = None
    """The best weights so far, if they are to be kept."""

    def state(self) -> dict[str, Any]:
        """Return everything but the weights, as JSON."""
        best = None if self.best is None else {"key": list(self.best.key), "step": self.best.step}
        return {**vars(self), "best": best}

    @classmethod
    def restored(
        cls, state: Mapping[str, Any], trained: Sequence[nn.Parameter], copies: Sequence[torch.Tensor]
    ) -> LoopState:
        """Return the loop's state that was written as this; `copies` are the best weights of the trained parameters, if any."""
        found, best = cls(**{**state, "best": None}), state["best"]
        if best is not None:
            found.best = Kept(tuple(best["key"]), best["step"], trained)
            for kept, copy in zip(found.best.copies, copies, strict=True):
                kept.copy_(copy)
        return found
