"""How many floating point operations a pass takes, counted and not guessed.

Counting while training would slow training by a third (full, short sentences) to two thirds (LoRA): every operation passes
through Python. So a few single items of different lengths are counted beforehand, in a phase of their own. A batch of b
items of L tokens takes b times what one item of L tokens does, and for a transformer that is a polynomial of degree two in
L; that it is one is checked on further items. Where it is not, every length is counted. What was counted is kept for all
runs of the same structure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from harness.store import dump, write_atomically

if TYPE_CHECKING:
    from harness.engine.forward import Batches
    from harness.engine.session import Session

Compute = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]

_DEGREE = 2
_CHECKED = 2
"""Lengths beyond those that fix the polynomial, on which it is checked."""


class FlopCount:
    """The operations of one kind of pass, by the length of its items."""

    def __init__(self, counts: Mapping[int, int]) -> None:
        """Take what was counted for single items, by their number of tokens."""
        self._counts = dict(counts)
        lengths = np.array(sorted(counts), dtype=np.float64)
        degree = min(_DEGREE, len(lengths) - 1)
        self._polynomial = np.polynomial.Polynomial.fit(lengths, [counts[int(length)] for length in lengths], degree)
        # Fewer points than a polynomial can miss prove nothing.
        self.holds = len(lengths) > _DEGREE + 1 and all(
            abs(self._polynomial(length) - count) <= 1e-6 * max(count, 1) for length, count in counts.items()
        )
        """Whether the polynomial gives what was counted; if not, only counted lengths are known."""

    def __call__(self, items: int, length: int) -> int:
        """Return the operations of a batch."""
        return round(items * float(self._counts[length] if length in self._counts else self._polynomial(length)))


def count_flops(
    session: Session,
    problem: int,
    model: nn.Module,
    compute: Compute,
    batches: Batches,
    part: str,
    *,
    training: bool = False,
) -> FlopCount:
    """Return the operations of a pass of `compute` over a problem's batches, and of its gradient if `training`.

    Args:
        session: The run under way.
        problem: Which of the run's problems.
        model: What computes; its parameters and which of them are trained decide the count.
        compute: The pass; to a scalar if `training`.
        batches: Makes them.
        part: How much of the model the pass is, in a word.
        training: Whether the gradient is computed, too.
    """
    structure = [(name, list(p.shape), p.requires_grad and training) for name, p in model.named_parameters()]
    task = session.tokens[problem].task.reference().model_dump(mode="json")
    train = session.run.train
    settings = [train.attention_dropout, train.gradient_checkpointing, training, part]
    path = session.cache.place("flops", [type(model).__name__, structure, task, settings]).with_suffix(".json")
    distinct, first = np.unique(batches.lengths, return_index=True)
    known = _read(path) if session.agree(path.exists()) else {}
    count = FlopCount(known) if known else None
    wanted = list(range(len(distinct)))
    if count is None or not count.holds:
        if count is None:
            wanted = sorted({round(at) for at in np.linspace(0, len(distinct) - 1, _DEGREE + 1 + _CHECKED)})
        for at in wanted:
            if int(distinct[at]) not in known:
                known[int(distinct[at])] = _count(model, compute, batches(first[at : at + 1]), training=training)
        count = FlopCount(known)
        if session.rank == 0:
            write_atomically(path, dump(known))
        if not count.holds and len(known) < len(distinct):
            return count_flops(session, problem, model, compute, batches, part, training=training)
    return count


def _read(path: Path) -> dict[int, int]:
    try:
        return {int(length): int(count) for length, count in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, TypeError, AttributeError):
        return {}  # damaged: counted again


def _count(model: nn.Module, compute: Compute, batch: Mapping[str, torch.Tensor], *, training: bool) -> int:
    """Count one pass, leaving no trace: neither gradients nor random numbers drawn."""
    devices = [batch["input_ids"].device] if batch["input_ids"].is_cuda else []
    counter = FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION)
    with torch.random.fork_rng(devices), counter:
        result = compute(batch)
        if training:
            result.backward()  # type: ignore[no-untyped-call]
    for parameter in model.parameters():
        parameter.grad = None
    return counter.get_total_flops()


def _cpu_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _cpu_attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    # Two matrix products forward; five backward, because the fast kernel computes the scores anew. As torch counts it for
    # the same kernel on a GPU (torch.utils.flop_counter.sdpa_backward_flop_count).
    del gradient
    return int(sdpa_flop_count(query, key, value)) * 5 // 2  # type: ignore[no-untyped-call]


# torch counts the attention kernels of GPUs only.
_CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention,  # noqa: SLF001 - torch's own name
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _cpu_attention_backward,  # noqa: SLF001
}
