"""A model that the processes of a run share while it is trained: each holds a part of every weight.

Gradients and the optimizer's state are shared alike. Before a block is computed, its weights are gathered, and then
dropped again (fully sharded data parallelism: Zhao et al., 2023, PyTorch FSDP, section 3). torch's `fully_shard` is used
directly instead of by accelerate, which supports it on accelerators only and for the rest of the model's life.

Between training steps the model can be made whole, in place: what evaluates, merges or saves it need not know.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor


class Shards:
    """The shared form of a model, which takes over its weights until it is closed."""

    def __init__(self, model: nn.Module, blocks: Sequence[nn.Module], device: torch.device, processes: int) -> None:
        """Take over the weights.

        Args:
            model: The whole model; that of the first process counts. Its parameters are empty from now on.
            blocks: Its blocks: the weights of one are gathered at a time.
            device: The device of this process.
            processes: The number of processes.
        """
        tensors = [*model.parameters(), *model.buffers()]
        with torch.no_grad():
            for tensor in tensors:  # new weights are drawn differently in each process
                distributed.broadcast(tensor.detach(), src=0)
        # The same modules once more, with the same tensors: sharding replaces the parameters of modules.
        modules = {id(tensor): tensor for tensor in tensors}
        self.model: nn.Module = copy.deepcopy(model, modules)
        """Computes the passes of training."""
        mesh = init_device_mesh(device.type, (processes,))
        whole = dict(model.named_parameters())
        for part in [*(modules[id(block)] for block in blocks), self.model]:
            assert isinstance(part, nn.Module)
            fully_shard(part, mesh=mesh)
            for name, parameter in self.model.named_parameters():
                if isinstance(parameter, DTensor):
                    _empty(whole[name])
        self._pairs = [(whole[name], shard) for name, shard in self.model.named_parameters()]

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Give the model its weights temporarily; changes to them are lost."""
        self.close()
        try:
            yield
        finally:
            for parameter, _ in self._pairs:
                _empty(parameter)

    def close(self) -> None:
        """Give the model its weights."""
        with torch.no_grad():
            for parameter, shard in self._pairs:
                assert isinstance(shard, DTensor)
                parameter.data = torch.empty(shard.shape, dtype=shard.dtype, device=shard.device)
                parameter.copy_(shard.full_tensor())  # not by assignment, which nobody would notice


def _empty(parameter: nn.Parameter) -> None:
    parameter.data = parameter.data.new_empty(0)
