"""Forward passes without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from harness.engine.batches import evaluation_batches
from harness.engine.flops import count_flops
from harness.engine.session import Session
from harness.records import Split


def forward(
    session: Session,
    problem: int,
    split: Split,
    model: nn.Module,
    compute: Callable[[Mapping[str, torch.Tensor]], torch.Tensor],
) -> NDArray[Any]:
    """Return what `compute` gives for every row of a split, `[n, ...]`, in the order of the rows.

    The model is in eval mode meanwhile; each process computes a part.
    """
    tokens = session.tokens[problem]
    rows = tokens.split(split)
    lengths = tokens.lengths(split)
    batches = evaluation_batches(lengths, session.run.train.eval_batch_size)
    parts = []

    def batch_of(numbers: NDArray[Any]) -> dict[str, torch.Tensor]:
        return to_device(tokens.task.collate(inputs_of(rows[numbers]), tokens.tokenizer), session.accelerator.device)

    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    with torch.no_grad(), session.accelerator.autocast():
        with session.meter.phase("count"):
            flops = count_flops(session, problem, model, compute, lengths, batch_of, training=False)
        for step, numbers in enumerate(batches[session.rank :: session.processes]):
            batch = batch_of(numbers)
            result = compute(batch)
            session.meter.add_flops(flops(*batch["input_ids"].shape[:2]))
            parts.append((numbers, result.float().cpu().numpy()))
            session.log({"step": step + 1, "steps": -(-len(batches) // session.processes)})
    for module, training in modes:
        module.training = training
    return session.gather(parts, len(rows))


def to_device(batch: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """Return the batch on the device."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def inputs_of(rows: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the columns of encoded rows that make a batch."""
    return {name: values for name, values in rows.items() if name not in {"id", "truncated"}}
