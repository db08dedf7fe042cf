"""Unstable names of other libraries, each probed before use, with a fallback.

No other module of the core uses such a name (checked by a test). A probe checks that the name exists in the installed version and
behaves as expected; otherwise the plain implementation is used and `taken_plainly` reports it. HARNESS_PLAIN=1 makes every probe
fail.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

Attend = Callable[..., tuple[torch.Tensor, Any]]

_numbers = itertools.count()
_failed: dict[str, str] = {}


def usable(name: str, probe: Callable[[], bool]) -> bool:
    """Return whether a probe succeeds; runs it once and records failures. All probes fail under HARNESS_PLAIN."""
    known = _known.get(name)
    if known is None:
        reason = "HARNESS_PLAIN is set" if os.environ.get("HARNESS_PLAIN") else _ask(probe)
        known = _known[name] = not reason
        if reason:
            _failed[name] = reason
    return known


_known: dict[str, bool] = {}


def taken_plainly() -> list[str]:
    """Return one line per plain implementation used because the installed libraries changed; empty under HARNESS_PLAIN."""
    return [
        f"{name} uses the slower plain implementation: {reason}"
        for name, reason in _failed.items()
        if reason != "HARNESS_PLAIN is set"
    ]


def forget() -> None:
    """Reset the results of all probes."""
    _known.clear()
    _failed.clear()


def _ask(probe: Callable[[], bool]) -> str:
    try:
        # A probe must not change the run's random number state.
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            return "" if probe() else "the results differ with the installed versions"
    except Exception as error:  # noqa: BLE001 - a changed library may raise anything; there is a fallback
        return f"{type(error).__name__}: {' '.join(str(error).split())}"


def softmax_backward(gradient: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the gradient with respect to a softmax's inputs (last axis), given the gradient and its outputs."""
    if usable("the gradient of softmax", _softmax_backward_holds):
        return torch._softmax_backward_data(gradient, weights, -1, weights.dtype)  # noqa: SLF001 - torch's own kernel
    return _softmax_backward(gradient, weights)


def _softmax_backward(gradient: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return weights * (gradient - (gradient * weights).sum(-1, keepdim=True))


def _softmax_backward_holds() -> bool:
    weights = torch.linspace(-1, 1, 6).view(2, 3).softmax(-1)
    gradient = torch.linspace(0, 1, 6).view(2, 3)
    found = torch._softmax_backward_data(gradient, weights, -1, weights.dtype)  # noqa: SLF001
    return torch.allclose(found, _softmax_backward(gradient, weights), atol=1e-6)


def versions(parameters: Iterator[nn.Parameter]) -> list[tuple[int, int]]:
    """Return a value that changes whenever one of the parameters is changed in place, without reading them.

    If torch has no such counter, the value changes on every call, so the parameters always count as changed.
    """
    if usable("noticing changed weights", _versions_hold):
        return [(id(parameter), parameter._version) for parameter in parameters]  # noqa: SLF001 - autograd's version counter
    return [(id(parameter), next(_numbers)) for parameter in parameters]


def _versions_hold() -> bool:
    tensor = nn.Parameter(torch.zeros(1))
    before = tensor._version  # noqa: SLF001
    with torch.no_grad():
        tensor.add_(1)
    return bool(tensor._version != before)  # noqa: SLF001


def cpu_attention_counts(forward: Any, backward: Any) -> Mapping[Any, Any]:
    """Return FLOP formulas for torch's fused CPU attention; torch itself counts the GPU kernels only.

    Empty if the kernel has another name: `countable` then computes attention with matrix products, which are counted.
    """
    if not usable("counting attention on a CPU", _cpu_attention_holds):
        return {}
    aten: Any = torch.ops.aten
    return {
        aten._scaled_dot_product_flash_attention_for_cpu: forward,  # noqa: SLF001
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,  # noqa: SLF001
    }


def countable() -> AbstractContextManager[Any]:
    """Return a context in which all attention operations are counted."""
    if usable("counting attention on a CPU", _cpu_attention_holds):
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(SDPBackend.MATH)


def _cpu_attention_holds() -> bool:
    seen: list[str] = []

    class Names(torch.utils._python_dispatch.TorchDispatchMode):  # type: ignore[no-untyped-call]  # noqa: SLF001
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            del types
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    value = torch.zeros(1, 1, 4, 8)
    with Names():  # type: ignore[no-untyped-call]
        nn.functional.scaled_dot_product_attention(value, value, value)
    return any("_scaled_dot_product_flash_attention_for_cpu" in name for name in seen)


@contextmanager
def replaced_attention(wrap: Callable[[Attend], Attend]) -> Iterator[None]:
    """Replace the `sdpa` attention of transformers by a wrapper around it, temporarily."""
    if not usable("attention over short texts", _attention_holds):
        yield
        return
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    original = ALL_ATTENTION_FUNCTIONS["sdpa"]
    ALL_ATTENTION_FUNCTIONS["sdpa"] = wrap(original)
    try:
        yield
    finally:
        ALL_ATTENTION_FUNCTIONS["sdpa"] = original


def _attention_holds() -> bool:
    import inspect

    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    taken = list(inspect.signature(ALL_ATTENTION_FUNCTIONS["sdpa"]).parameters)
    return taken[:8] == ["module", "query", "key", "value", "attention_mask", "dropout", "scaling", "is_causal"]


def reset_accelerate() -> None:
    """Allow the next `Accelerator` of this process to use other settings, such as another precision."""
    import accelerate

    if usable("several runs in one process", lambda: hasattr(accelerate.state.AcceleratorState, "_reset_state")):
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)  # noqa: SLF001


def unprepared(accelerator: Any, model: nn.Module) -> nn.Module:
    """Return a model without the mixed-precision wrapper that `Accelerator.prepare` put around `forward`.

    accelerate's own unwrapping also removes the library's decorators, so it is only the fallback.
    """
    if "_original_forward" in vars(model):
        for name in ("forward", "_original_forward"):
            vars(model).pop(name, None)
        return model
    if "forward" in vars(model):
        found: nn.Module = accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        return found
    return model


def init_weights(model: Any, module: nn.Module) -> None:
    """Initialise a new layer's weights as the model's class does, or with torch's default if the class has none."""
    if usable("drawing new layers", lambda: _draws(model)):
        model._init_weights(module)  # noqa: SLF001 - defined by every class of the library for its new layers
    elif callable(draw := getattr(module, "reset_parameters", None)):
        draw()


def _draws(model: Any) -> bool:
    return callable(getattr(model, "_init_weights", None))


def clips_in_step() -> bool:
    """Return whether a fused AdamW divides gradients by `grad_scale` when it reads them."""
    return usable("clipping in the optimizer's step", _clipping_holds)


def clip_in_step(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], max_norm: float) -> None:
    """Clip the gradient norm in the next step of a fused optimizer, without a separate pass over the gradients."""
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    # Mixed precision uses this attribute to unscale the gradients.
    optimizer.grad_scale = (norm / max_norm).clamp(min=1.0).to(torch.float32)  # type: ignore[attr-defined]


def _clipping_holds() -> bool:
    results = []
    for short in (False, True):
        weight = nn.Parameter(torch.linspace(-1, 1, 8))
        optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
        for scale in (1.0, 100.0):
            weight.grad = torch.linspace(-1, 2, 8) * scale
            if short:
                clip_in_step(optimizer, [weight], 1.0)
            else:
                nn.utils.clip_grad_norm_([weight], 1.0)
            optimizer.step()
        results.append(weight.detach().clone())
    first, second = results
    return torch.allclose(first, second, rtol=0, atol=1e-6)


@functools.cache
def plain() -> bool:
    """Return whether only plain implementations may be used (HARNESS_PLAIN)."""
    return bool(os.environ.get("HARNESS_PLAIN"))
