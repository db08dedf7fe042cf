"""Dropout with one random number per four mask elements: drawing masks took 8 % of a training step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from harness.engine.fast.forwards import replaced_forward

_STEPS = 1 << 16
"""Dropout probabilities are rounded to multiples of one over this."""


class _Drop(torch.autograd.Function):
    """Dropout with one random number per four mask elements; torch draws one per element, in one thread."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, probability: float) -> torch.Tensor:
        """Return `hidden` with elements zeroed with this probability and the others scaled up."""
        threshold = round(probability * _STEPS)
        words = torch.empty(-(-hidden.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        ctx.kept = (words.view(torch.int16)[: hidden.numel()] >= threshold - _STEPS // 2).view(hidden.shape)
        ctx.scale = _STEPS / (_STEPS - threshold)
        dropped: torch.Tensor = (hidden * ctx.kept).mul_(ctx.scale)
        return dropped

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the gradient of the elements not zeroed."""
        return (gradient * ctx.kept).mul_(ctx.scale), None


@contextmanager
def fast_dropout(model: nn.Module) -> Iterator[None]:
    """Use fast dropout masks in the model, temporarily."""
    modules = [module for module in model.modules() if type(module) is nn.Dropout and 0 < module.p < 1]

    def forward(module: nn.Dropout, hidden: torch.Tensor) -> torch.Tensor:
        return _Drop.apply(hidden, module.p) if module.training else hidden  # type: ignore[no-untyped-call]

    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(replaced_forward(module, forward.__get__(module)))
        yield


def holds() -> bool:
    """Return whether elements and gradients are zeroed or scaled up as in torch's dropout."""
    layer, ones = nn.Dropout(0.25), torch.ones(64, 33, requires_grad=True)
    with torch.random.fork_rng(devices=[]), fast_dropout(layer):
        dropped = layer(ones)
        (gradient,) = torch.autograd.grad(dropped.sum(), ones)
    kept = dropped.detach() != 0
    scaled = torch.where(kept, torch.tensor(1 / 0.75), torch.tensor(0.0))
    return bool(kept.any()) and torch.allclose(dropped, scaled, rtol=1e-3) and torch.equal(gradient, dropped.detach())
