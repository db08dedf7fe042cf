"""Number of floating point operations of a pass, counted rather than estimated.

Counting during training would slow it down by a third (all weights, short sentences) to two thirds (an adapter), because every
operation passes through Python. Instead, a few single items of different lengths are counted before training, in a separate
phase. A batch of b items of L tokens takes b times the operations of one item of L tokens. For a transformer these are a
polynomial of degree two in L; if the head predicts for some tokens only, plus a constant for each term of the loss. This is
checked on further items; if it does not hold, every length is counted. Counts are cached for all runs with the same structure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from harness.engine.compat import countable, cpu_attention_counts
from harness.store import dump, write_atomically

if TYPE_CHECKING:
    from harness.engine.forward import Batches
    from harness.engine.session import Session

Compute = Callable[[Mapping[str, torch.Tensor]], torch.Tensor]

_UNKNOWN = 4
"""Unknowns of an item's operations: a polynomial of degree two in its length, and a multiple of its weight."""
_CHECKED = 2
"""Additional items used for checking."""
_ROUNDING = 1e-9
"""Relative tolerance when computing matrix ranks."""

Item = tuple[int, int]
"""Number of tokens of an item, and number of terms in its loss (its weight)."""


class FlopCount:
    """The operations of one kind of pass, by length and weight of its items."""

    def __init__(self, counts: Mapping[Item, int]) -> None:
        """Fit the counts of single items."""
        self._lengths = {length: count for (length, _), count in counts.items()}
        self._basis = _basis(counts)
        values = np.array(list(counts.values()), dtype=np.float64)
        self._scale = self._basis.max(0)
        self._shares, _, self._rank, _ = np.linalg.lstsq(self._basis / self._scale, values, rcond=_ROUNDING)
        missed = np.abs(self._basis / self._scale @ self._shares - values)
        # The check is meaningful only with more items than unknowns.
        self.holds = len(counts) > int(self._rank) and bool((missed <= 1e-6 * np.maximum(values, 1)).all())
        """Whether length and weight predict the counts; if not, only counted lengths are known."""

    def covers(self, items: Iterable[Item]) -> bool:
        """Return whether the counted items determine the operations of these items, such as different weights of equal lengths."""
        both = np.concatenate([self._basis, _basis(items)])
        return int(np.linalg.matrix_rank(both / both.max(0), rtol=_ROUNDING)) == int(self._rank)

    def __call__(self, shape: Sequence[int], weight: int) -> int:
        """Return the operations of a batch of shape `b, tokens, ...` with this total weight."""
        items, length = shape[:2]
        if not self.holds and length in self._lengths:
            return items * self._lengths[length]
        batch = np.array([items, items * length, items * length**2, weight])
        return round(float(batch / self._scale @ self._shares))


def _basis(items: Iterable[Item]) -> NDArray[np.float64]:
    """Return the basis of each item's operations, `[n, 4]`."""
    lengths, weights = np.array(list(items), dtype=np.float64).T
    return np.stack([np.ones_like(lengths), lengths, lengths**2, weights], axis=1)


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
    """Return the operations of a pass of `compute` over a problem's batches, including the gradient if `training`.

    Args:
        session: The current run.
        problem: Index of the problem in the run.
        model: The model; its parameters, and which are trained, determine the count.
        compute: The pass; returns a scalar if `training`.
        batches: The batches.
        part: The part of the model that the pass computes, in one word.
        training: Whether the gradient is also computed.
    """
    structure = [(name, list(p.shape), p.requires_grad and training) for name, p in model.named_parameters()]
    task = session.tokens[problem].task.reference().model_dump(mode="json")
    train = session.run.train
    settings = [train.attention_dropout, train.gradient_checkpointing, training, part]
    path = session.cache.place("flops", [type(model).__name__, structure, task, settings]).with_suffix(".json")
    known = _read(path) if session.agree(path.exists()) else {}

    def items(numbers: NDArray[np.int64]) -> dict[Item, NDArray[np.int64]]:
        weigh = session.tokens[problem].task.weight
        rows = [numbers[at : at + 1] for at in range(len(numbers))]
        return {(int(batches.lengths[row[0]]), weigh(batches.items(row))): row for row in rows}

    def counted(sample: Mapping[Item, NDArray[np.int64]]) -> FlopCount:
        for item, row in sample.items():
            if item not in known:
                known[item] = _count(model, compute, batches(row), training=training)
        if session.rank == 0:
            write_atomically(path, dump({f"{length} {weight}": count for (length, weight), count in known.items()}))
        return FlopCount(known)

    _, first = np.unique(batches.lengths, return_index=True)
    spread = items(first[sorted({round(at) for at in np.linspace(0, len(first) - 1, _UNKNOWN + _CHECKED)})])
    count = FlopCount(known) if known else counted(spread)
    if count.holds and not count.covers(spread):
        count = counted(spread)
    return count if count.holds else counted(items(first))


def _read(path: Path) -> dict[Item, int]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        pairs = {tuple(map(int, item.split())): int(count) for item, count in content.items()}
        return {(length, weight): count for (length, weight), count in pairs.items()}
    except (ValueError, TypeError, AttributeError):
        return {}  # damaged: counted again


def operation_counter() -> FlopCounterMode:
    """Return a context that counts the operations inside it."""
    counter = FlopCounterMode(
        display=False, custom_mapping=dict(cpu_attention_counts(_cpu_attention, _cpu_attention_backward))
    )
    counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    return counter


def _count(model: nn.Module, compute: Compute, batch: Mapping[str, torch.Tensor], *, training: bool) -> int:
    """Count one pass without side effects on gradients or random number state."""
    devices = [batch["input_ids"].device] if batch["input_ids"].is_cuda else []
    counter = operation_counter()
    # All gradients at once would take as much memory as the weights.
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hooks: list[Any] = [p.register_post_accumulate_grad_hook(_forget) for p in trained]  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices), countable(), counter:
        result = compute(batch)
        if training:
            result.backward()  # type: ignore[no-untyped-call]
    for hook in hooks:
        hook.remove()
    return counter.get_total_flops()


def _forget(parameter: torch.Tensor) -> None:
    parameter.grad = None


class _NoModules:
    """Disables counting per module: torch's tracker fails if a module receives a view created without gradients."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        """Start counting."""

    def __exit__(self, *_: object) -> None:
        """Stop counting."""


def _cpu_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _cpu_attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    # Two matrix products forward and five backward, because the fast kernel recomputes the scores. torch counts the same
    # kernel on a GPU this way (torch.utils.flop_counter.sdpa_backward_flop_count).
    del gradient
    return int(sdpa_flop_count(query, key, value)) * 5 // 2  # type: ignore[no-untyped-call]
