"""The prefix: the blocks below all trained parameters. They run once per text, and their outputs are cached.

    tokens ─► embeddings ─► block 0 ─► … ─► block k-1 ─┬─► block k ─► … ─► head
              └────── cannot change: runs once ───────┘ cached on disk, memory-mapped, for every epoch and seed

Blocks that cannot change are detected: their output needs no gradient. They run in eval mode, cached or not. The library's
forward pass runs unchanged, so masks and positions are its own; only the lower blocks are replaced by their cached outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.architecture import find_blocks
from harness.engine.fast.forwards import replaced_forward
from harness.engine.forward import GIVEN
from harness.engine.models import hash_tensor
from harness.records import Shared
from harness.store import dump

Batch = Mapping[str, torch.Tensor]
Compute = Callable[[Batch], torch.Tensor]

_ARRAY, _COST = "hidden.npy", "cost.json"


class _Reached(Exception):  # noqa: N818 - not an error: ends a forward pass early
    """Contains the output of a block."""

    def __init__(self, hidden: torch.Tensor) -> None:
        super().__init__()
        self.hidden = hidden


@dataclass(frozen=True)
class Prefix:
    """The leading blocks of a body that cannot change, and the modules before them."""

    blocks: Sequence[nn.Module]
    """At least one."""
    before: Sequence[nn.Module]
    """Modules before the first block: embeddings."""
    digest: str
    """Digest of all weights that can affect the outputs of the blocks."""

    def settle(self) -> None:
        """Set the fixed modules to eval mode."""
        for module in (*self.before, *self.blocks):
            module.eval()

    def run(self, compute: Compute, batch: Batch) -> torch.Tensor:
        """Return the output of the last block for a batch, `[b, tokens, width]`, without computing anything above it."""

        def stop(_: nn.Module, __: Any, output: Any) -> None:
            raise _Reached(output if isinstance(output, torch.Tensor) else output[0])

        hook = self.blocks[-1].register_forward_hook(stop)
        try:
            compute(batch)
        except _Reached as reached:
            return reached.hidden
        finally:
            hook.remove()
        message = "the pass did not reach the blocks"
        raise RuntimeError(message)

    def wrap(self, compute: Compute) -> Compute:
        """Return the same computation with the blocks replaced by their outputs from the batch."""

        def spliced(batch: Batch) -> torch.Tensor:
            with self._given(batch[GIVEN]):
                return compute({name: tensor for name, tensor in batch.items() if name != GIVEN})

        return spliced

    @contextmanager
    def _given(self, hidden: torch.Tensor) -> Iterator[None]:
        with ExitStack() as stack:
            for block in self.blocks[:-1]:
                stack.enter_context(replaced_forward(block, _pass_on))
            stack.enter_context(replaced_forward(self.blocks[-1], lambda *_, **__: hidden))
            yield


def find_prefix(body: nn.Module, compute: Compute, batch: Batch) -> Prefix | None:
    """Return the blocks that cannot change when training with `compute`; None if there are none.

    Args:
        body: The run's body.
        compute: A pass through a model with the body.
        batch: Any batch.
    """
    blocks = find_blocks(body)
    if not blocks:
        return None
    fixed: list[nn.Module] = []
    before: list[nn.Module] = []
    holders = [module for module in body.modules() if blocks[0] in list(module.modules())]

    def started(module: nn.Module, _: Any) -> None:
        before.append(module)

    def ended(block: nn.Module, _: Any, output: Any) -> None:
        still = isinstance(output, torch.Tensor) and not output.requires_grad
        if still and len(fixed) < len(blocks) and block is blocks[len(fixed)]:
            fixed.append(block)

    hooks = [block.register_forward_hook(ended) for block in blocks]
    inside = {id(module) for block in blocks for module in block.modules()} | {id(module) for module in holders}
    early = [module for module in body.modules() if id(module) not in inside]
    hooks += [module.register_forward_pre_hook(started) for module in early]
    hooks.append(blocks[0].register_forward_pre_hook(lambda *_: before.append(blocks[0])))
    modes = [(module, module.training) for module in body.modules()]
    body.eval()  # draws no random numbers
    try:
        with torch.enable_grad():
            compute(batch)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training
    if not fixed:
        return None
    return Prefix(fixed, before[: before.index(blocks[0])], _digest(body, blocks[len(fixed) :]))


def _pass_on(hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return hidden_states


def _digest(body: nn.Module, above: Sequence[nn.Module]) -> str:
    """Return a hash of the fixed tensors in the body outside the blocks above."""
    apart = {id(tensor) for block in above for tensor in (*block.parameters(), *block.buffers())}
    total = hashlib.sha256()
    for name, tensor in (*body.named_parameters(), *body.named_buffers()):
        if id(tensor) not in apart and not tensor.requires_grad:
            hash_tensor(total, name, tensor)
    return total.hexdigest()


class Kept:
    """The outputs of a prefix for one split, memory-mapped."""

    def __init__(self, folder: Path, lengths: NDArray[np.int64]) -> None:
        """Open the files of a `Writer`; `lengths` are the token counts of the rows, `[n]`."""
        self._tokens = np.load(folder / _ARRAY, mmap_mode="r", allow_pickle=False)
        self._ends = np.cumsum(lengths)
        self._starts = self._ends - lengths
        self.cost = Shared.model_validate_json((folder / _COST).read_text(encoding="utf-8"))
        """Cost of computing the outputs."""

    def give(self, numbers: NDArray[np.int64], mask: torch.Tensor) -> torch.Tensor:
        """Return rows of the split, `[b, tokens, width]`, padded according to `mask`, `[b, tokens]`."""
        found = np.concatenate([self._tokens[self._starts[number] : self._ends[number]] for number in numbers])
        hidden = torch.zeros(*mask.shape, found.shape[1])
        hidden[mask.bool()] = torch.from_numpy(found)
        return hidden


class Writer:
    """Writes the outputs of a prefix for a split, batch by batch, so that memory does not grow with the data."""

    def __init__(self, folder: Path, lengths: NDArray[np.int64], width: int) -> None:
        """Create the file; `lengths` are the token counts of the rows, `[n]`, `width` is the size of one token's output."""
        self._folder, self._ends, self._lengths = folder, np.cumsum(lengths), lengths
        shape = (int(lengths.sum()), width)
        self._tokens = np.lib.format.open_memmap(folder / _ARRAY, "w+", dtype=np.float32, shape=shape)

    def put(self, numbers: NDArray[np.int64], mask: torch.Tensor, hidden: torch.Tensor) -> None:
        """Write the hidden states `[b, tokens, width]` of rows `[b]`; `mask`, `[b, tokens]`, marks padding with 0."""
        for number, row, real in zip(numbers, hidden, mask.bool(), strict=True):
            end = self._ends[number]
            self._tokens[end - self._lengths[number] : end] = row[real].float().cpu().numpy()

    def close(self, cost: Shared) -> None:
        """Finish the file and write its cost."""
        self._tokens.flush()
        (self._folder / _COST).write_text(dump(cost.model_dump()), encoding="utf-8")
