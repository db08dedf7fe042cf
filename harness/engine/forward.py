"""Batches of a split, and forward passes over them without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.batches import evaluation_batches
from harness.engine.flops import count_flops, operation_counter
from harness.engine.memory import ran_out
from harness.records import Split

if TYPE_CHECKING:
    from harness.engine.fast.prefix import Kept
    from harness.engine.session import Session

Batch = Mapping[str, torch.Tensor]
Compute = Callable[[Batch], torch.Tensor]

GIVEN = "prefix"
"""The batch entry with the output of the last prefix block, `[b, tokens, width]`."""


class Batches:
    """Makes batches of a problem's split."""

    def __init__(self, session: Session, problem: int, split: Split, kept: Kept | None = None) -> None:
        """Prepare the split; batches also contain the cached prefix outputs if `kept` is given."""
        self._tokens, self._device, self._kept = session.tokens[problem], session.accelerator.device, kept
        self._rows = self._tokens.split(split)
        self.lengths = self._tokens.lengths(split)
        """Tokens of each row, `[n]`."""

    def items(self, numbers: NDArray[Any]) -> dict[str, list[Any]]:
        """Return rows as the task encoded them."""
        return {name: values for name, values in self._rows[numbers].items() if name not in {"id", "truncated"}}

    def __call__(self, numbers: NDArray[Any], items: Mapping[str, list[Any]] | None = None) -> dict[str, torch.Tensor]:
        """Return rows as a batch on the device; `items` are the rows if already read."""
        batch = dict(self._tokens.task.collate(items or self.items(numbers), self._tokens.tokenizer))
        if self._kept is not None:
            batch[GIVEN] = self._kept.give(numbers, batch["attention_mask"])
        return {name: tensor.to(self._device, non_blocking=True) for name, tensor in batch.items()}


def forward(session: Session, problem: int, split: Split, model: nn.Module, compute: Compute) -> NDArray[Any]:
    """Return the result of `compute` for every row of a split, `[n, ...]`, in row order.

    The model runs in eval mode; each process computes a part.
    """
    spliced = session.splice if session.splice is not None and session.splice.serves(model, problem) else None
    kept = spliced.keep(split) if spliced else None
    batches = Batches(session, problem, split, kept)
    part = "whole"
    if spliced and kept:
        compute, part = spliced.prefix.wrap(compute), f"above {len(spliced.prefix.blocks)}"
    parts: list[tuple[NDArray[np.int64], NDArray[Any]]] = []
    passes(
        session,
        problem,
        batches,
        model,
        compute,
        lambda numbers, _, result: parts.append((numbers, result.float().cpu().numpy())),
        part,
    )
    return session.gather(parts, len(batches.lengths))


def passes(
    session: Session,
    problem: int,
    batches: Batches,
    model: nn.Module,
    compute: Compute,
    take: Callable[[NDArray[np.int64], Batch, torch.Tensor], None],
    part: str,
) -> None:
    """Compute this process's share of a split; a batch that does not fit in memory is halved until it does.

    Args:
        session: The current run.
        problem: Index of the problem in the run.
        batches: Batches of the split.
        model: The model; runs in eval mode.
        compute: The pass.
        take: Called with each batch's row numbers `[b]`, the batch, and the result of `compute`, `[b, ...]`.
        part: The part of the model computed, in one word; operations are counted separately for each part.
    """
    task = session.tokens[problem].task
    waiting = evaluation_batches(batches.lengths, session.run.train.eval_batch_tokens)
    waiting = waiting[session.rank :: session.processes]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    steps = len(waiting)
    try:
        with ExitStack() as stack, torch.no_grad(), session.accelerator.autocast():
            with session.meter.phase("count"):
                # The length of generated text is not known in advance: count operations during the pass.
                known = None if task.answers == "text" else count_flops(session, problem, model, compute, batches, part)
            stack.enter_context(session.evaluating())
            while waiting:
                numbers = waiting.pop(0)
                items = batches.items(numbers)
                batch, counter = batches(numbers, items), operation_counter()
                try:
                    with nullcontext() if known else counter:
                        result = compute(batch)
                except RuntimeError as error:
                    if not ran_out(error) or len(numbers) == 1:
                        raise
                    half = len(numbers) // 2
                    waiting[:0] = [numbers[:half], numbers[half:]]
                    continue
                shape = batch["input_ids"].shape
                session.meter.add_flops(known(shape, task.weight(items)) if known else counter.get_total_flops())
                take(numbers, batch, result)
                session.log({"step": max(1, steps - len(waiting)), "steps": steps})
    finally:
        for module, training in modes:
            module.training = training
