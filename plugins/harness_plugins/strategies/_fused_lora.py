"""LoRA's linear layer without extra passes over its output. Imported when a model is tuned, because it needs torch.

PEFT computes `base(x) + scaling * B(A(x))` as five operations, three of which read and write the whole output; their
gradients add three more. Here the low-rank product is accumulated into the output (`addmm`), the scaling is folded into
the small matrix, and the small matrices are laid out for contiguous access: `[n, out] @ [out, r]` with `B` in PEFT's
layout runs at a tenth of the rate of its transposed copy (15 against 40 GFLOP/s and more on 2 AVX2 cores).

Tried without a speed-up: adding `B A` to the weight before each product. It saves two thin products and costs a pass
over the weight, and stores one product less and one more for the gradient.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import MethodType
from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import nn


class _LoraLinear(torch.autograd.Function):
    """`x W' + b + x A' (s B)'`, with gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Return `[..., out]` for inputs `[..., in]`, weight `[out, in]`, bias `[out]`, down `[r, in]`, up `[out, r]`."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        small = (up * scaling).t().contiguous()
        # The result must not be a view: models may change it in place, which a view created here does not allow.
        whole = rows.new_empty(*inputs.shape[:-1], weight.shape[0])
        output = whole.view(-1, weight.shape[0])
        if bias is None:
            torch.mm(rows, weight.t(), out=output)
        else:
            torch.addmm(bias, rows, weight.t(), out=output)
        hidden = rows @ down.t()
        torch.addmm(output, hidden, small, out=output)
        ctx.save_for_backward(rows, weight, down, small, hidden)
        ctx.scaling = scaling
        return whole

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Return the gradients of inputs, down and up."""
        rows, weight, down, small, hidden = ctx.saved_tensors
        grown = gradient.reshape(-1, gradient.shape[-1])
        through = grown @ small.t()
        to_inputs = None
        if ctx.needs_input_grad[0]:
            to_inputs = grown @ weight
            torch.addmm(to_inputs, through, down, out=to_inputs)
            to_inputs = to_inputs.view(*gradient.shape[:-1], -1)
        to_up = (hidden.t() @ grown).t().mul(ctx.scaling)
        return to_inputs, None, None, through.t() @ rows, to_up, None


@contextmanager
def fused(model: nn.Module) -> Iterator[None]:
    """Compute the model's plain LoRA layers with the fused operation; all other layers use PEFT's forward.

    Layers of a shape for which the two results differ also use PEFT's forward.
    """
    agreed: dict[tuple[Any, ...], bool] = {}
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, Linear) and _is_plain(module):
                weight = module.base_layer.weight
                shape = (*weight.shape, weight.dtype, weight.device, module.base_layer.bias is None)
                if shape not in agreed:
                    agreed[shape] = _agree(module)
                if agreed[shape]:
                    module.forward = _forward_of(module)
                    stack.callback(module.__dict__.pop, "forward")
        yield


def _agree(module: Linear) -> bool:
    """Return whether a layer matches PEFT's forward and its gradients, also if its output is changed in place."""
    weight = module.base_layer.weight
    (adapter,) = module.active_adapters
    trained = [module.lora_A[adapter].weight, module.lora_B[adapter].weight]
    # Fixed inputs, so that the run's random numbers do not depend on this check.
    given = torch.linspace(-1, 1, 6 * weight.shape[1], device=weight.device, dtype=weight.dtype).view(2, 3, -1)
    found = []
    try:
        for forward in (_forward_of(module), module.forward):
            inputs = given.clone().requires_grad_()
            output = forward(inputs)
            turned = output.permute(1, 0, 2)
            turned += 1
            found.append([output.detach(), *torch.autograd.grad(turned.square().sum(), [inputs, *trained])])
    except RuntimeError:
        return False
    return all(torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4) for ours, theirs in zip(*found, strict=True))


def _forward(self: Linear, inputs: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Return the output of a plain layer, `[..., out]` for inputs `[..., in]`."""
    base, (adapter,) = self.base_layer, self.active_adapters
    down, up = self.lora_A[adapter].weight, self.lora_B[adapter].weight
    mixed = torch.is_autocast_enabled(inputs.device.type) or inputs.dtype != down.dtype
    if args or kwargs or mixed or self.disable_adapters or self.merged:
        return Linear.forward(self, inputs, *args, **kwargs)  # type: ignore[no-any-return]
    return _LoraLinear.apply(inputs, base.weight, base.bias, down, up, self.scaling[adapter])  # type: ignore[no-any-return, no-untyped-call]


def _forward_of(module: Linear) -> Any:
    # A method, so that a copy of the layer has its own.
    return MethodType(_forward, module)


def _is_plain(module: Linear) -> bool:
    """Return whether the layer is LoRA as published: one adapter, no dropout, no own bias, no variant."""
    if type(module) is not Linear or type(module.base_layer) is not nn.Linear or len(module.active_adapters) != 1:
        return False
    (adapter,) = module.active_adapters
    return (
        adapter not in module.lora_variant
        and isinstance(module.lora_dropout[adapter], nn.Identity)
        and module.lora_B[adapter].bias is None
        and not module.base_layer.weight.requires_grad
        and module.base_layer.weight.dtype == module.lora_A[adapter].weight.dtype
        and (module.base_layer.bias is None or not module.base_layer.bias.requires_grad)
    )
