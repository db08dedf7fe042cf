"""Attention over short texts with plain matrix products: the fused kernel for long texts took 8 % of a training step."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from harness.engine.compat import Attend, replaced_attention, softmax_backward

_SHORT = 64
"""Maximum number of tokens at which plain matrix products are faster than the fused kernel: 1.9 vs. 4.3 ms at 27 tokens,
6.3 vs. 9.5 at 64, 30 vs. 27 at 128, 160 vs. 65 at 256 (forward and backward, 16 texts, 12 heads of 32)."""


class _Attend(torch.autograd.Function):
    """Softmax attention with batched matrix products; the gradient uses the saved weights."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scale: float,
    ) -> torch.Tensor:
        """Return `[b, heads, tokens, width]` for inputs of that shape; `mask` is added, `[b, 1, tokens, tokens]`."""
        shape = query.shape
        queries, keys, values = ((query * scale).flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1))
        scores = torch.bmm(queries, keys.transpose(1, 2))
        if mask is not None:
            scores = (scores.view(*shape[:3], -1) + mask).flatten(0, 1)
        weights = scores.softmax(-1)
        ctx.save_for_backward(queries, keys, values, weights)
        ctx.scale, ctx.shape = scale, shape
        return torch.bmm(weights, values).view(shape)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Return the gradients of query, key and value."""
        queries, keys, values, weights = ctx.saved_tensors
        gradients = gradient.flatten(0, 1)
        to_values = torch.bmm(weights.transpose(1, 2), gradients)
        to_weights = torch.bmm(gradients, values.transpose(1, 2))
        to_scores = softmax_backward(to_weights, weights)
        to_queries = torch.bmm(to_scores, keys).mul_(ctx.scale)
        to_keys = torch.bmm(to_scores.transpose(1, 2), queries)
        return to_queries.view(ctx.shape), to_keys.view(ctx.shape), to_values.view(ctx.shape), None, None


def short_attention() -> AbstractContextManager[None]:
    """Compute the library's attention over short texts with plain matrix products, temporarily."""
    return replaced_attention(_short)


def _short(original: Attend) -> Attend:
    """Return the library's attention, computed with plain products for short texts."""

    def attend(
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        dropout: float = 0.0,
        scaling: float | None = None,
        is_causal: bool | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
        mixed = torch.is_autocast_enabled(query.device.type) or query.dtype != torch.float32
        plain = query.shape == key.shape == value.shape and not mixed and kwargs.get("position_bias") is None
        if not plain or query.shape[2] > _SHORT or dropout or (attention_mask is None and causal):
            return original(module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs)
        if attention_mask is not None and attention_mask.dtype == torch.bool:
            shut = torch.finfo(query.dtype).min
            attention_mask = torch.zeros_like(attention_mask, dtype=query.dtype).masked_fill_(~attention_mask, shut)
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        attended: torch.Tensor = _Attend.apply(query, key, value, attention_mask, scale)  # type: ignore[no-untyped-call]
        return attended.transpose(1, 2).contiguous(), None

    return attend


def holds() -> bool:
    """Return whether plain products give the library's attention and gradients."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    module: Any = nn.Module()
    module.is_causal = False
    values = [torch.linspace(-1, 1, 2 * 2 * 5 * 4).view(2, 2, 5, 4).mul(sign).requires_grad_() for sign in (1, -1, 2)]
    mask = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    mask[1, :, :, 3:] = False
    found = []
    original: Attend = ALL_ATTENTION_FUNCTIONS["sdpa"]
    for attend in (original, _short(original)):
        attended, _ = attend(module, *values, mask)
        found.append([attended, *torch.autograd.grad(attended.square().sum(), values)])
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*found, strict=True))
