"""A run's model: one body, shared by the heads of all its problems.

Every head is the library's own class, so that a tuned model loads with plain transformers. Each is loaded with its own
pretrained weights, then all are given the same body; what tuning does to the body, every head sees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from harness.contracts import Facts, Model, Strategy, Task
from harness.errors import UndefinedError
from harness.records import TrainConfig

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

# What configurations call the dropout of attention weights, by model family.
_ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop", "attn_dropout")


class RunLoader:
    """Loads a base model with a run's settings."""

    def __init__(
        self, model: Model, train: TrainConfig, pad_token_id: int | None = None, strategy: Strategy | None = None
    ) -> None:
        """Remember what to load, how, and for what; `pad_token_id` is what the tokenizer pads with."""
        self._strategy = strategy
        self._pad_token_id = pad_token_id
        self.config: PretrainedConfig = model.config()
        self._model = model
        names = [name for name in _ATTENTION_DROPOUT if hasattr(self.config, name)]
        dropout = train.attention_dropout
        self._settings: dict[str, Any] = {} if dropout is None else dict.fromkeys(names, dropout)

    def __call__(self, auto_class: str, **settings: Any) -> PreTrainedModel:
        """Return the model under the head of `transformers.<auto_class>`."""
        if auto_class == "AutoModel" and any(name.endswith("EncoderModel") for name in self.config.architectures or ()):
            auto_class = "AutoModelForTextEncoding"  # the other one would make up a decoder
        wanted = {} if self._strategy is None else self._strategy.loading(auto_class, self.config)
        loaded = self._model.load(auto_class, **{**self._settings, **wanted, **settings})
        if self._pad_token_id is not None:
            # A decoder's classification head looks for it to find each text's last token: it must be what texts are padded by.
            loaded.config.pad_token_id = self._pad_token_id
        return loaded


@dataclass
class Heads:
    """The models of a run's problems, over one body."""

    body: PreTrainedModel
    models: list[PreTrainedModel | None]
    """For each problem its model; None where its task needs only the body, or has no head to measure."""
    undefined: dict[int, str] = field(default_factory=dict)
    """For a problem whose head this model does not have, why."""


def build_heads(loader: RunLoader, tasks: Sequence[Task], facts: Sequence[Facts], device: torch.device) -> Heads:
    """Return a model for each task, all sharing one body, on the device."""
    models: list[PreTrainedModel | None] = []
    undefined: dict[int, str] = {}
    for position, (task, fact) in enumerate(zip(tasks, facts, strict=True)):
        try:
            models.append(task.build(loader, fact))
        except UndefinedError as error:
            undefined[position] = str(error)
            models.append(None)
    with_head = [model for model in models if model is not None]
    # The largest, because one class may leave out a part of the body that another needs, such as a pooler.
    bodies = [model.base_model for model in with_head] or [loader("AutoModel")]
    body = max(bodies, key=_size)
    for model in with_head:
        setattr(model, model.base_model_prefix, body)
        model.tie_weights()
    # Moved once, here, and never under inference_mode: parameters first placed there could not be trained later.
    body.to(device)
    for model in with_head:
        model.to(device)
    return Heads(body, models, undefined)


def head_of(model: PreTrainedModel) -> nn.ModuleList:
    """Return the modules of a model outside its body."""
    return nn.ModuleList(child for name, child in model.named_children() if name != model.base_model_prefix)


def find_blocks(body: nn.Module) -> Sequence[nn.Module]:
    """Return a transformer's blocks, from input to output: the list of like modules that holds most of its parameters.

    Empty if there is no such list.
    """
    lists: list[nn.ModuleList] = [
        module
        for module in body.modules()
        if isinstance(module, nn.ModuleList) and len(module) and len({type(block) for block in module}) == 1
    ]
    return list(max(lists, key=_size, default=()))


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def body_digest(body: nn.Module) -> str:
    """Return a hash of the body's weights and of their names: equal only where the body computes the same."""
    total = hashlib.sha256()
    for name, tensor in body.state_dict().items():
        hash_tensor(total, name, tensor)
    return total.hexdigest()


def hash_tensor(total: hashlib._Hash, name: str, tensor: torch.Tensor) -> None:
    """Add a tensor's name, type, shape and bytes to a hash."""
    data = tensor.detach().to("cpu").contiguous()
    total.update(f"{name} {data.dtype} {tuple(data.shape)}".encode())
    data_bytes: Any = data.flatten().view(torch.uint8).numpy()
    total.update(memoryview(data_bytes))
