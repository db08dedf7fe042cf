"""What can be known of a model without its weights: its shape, its blocks, and how long a text may be.

Importing this module imports no torch; calling its functions does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import Facts, Model, Task
from harness.errors import HarnessError, UndefinedError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop", "attn_dropout")
"""What configurations call the dropout of attention weights, by model family."""
_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length")
_SPARE = 8
"""Positions that a model may keep for itself, at most: those closer to its limit than this are looked at in detail."""
_TOKENS = 16
"""Of a text that is looked at."""
_UNLIMITED = 10**9
"""Tokenizers that know no limit give a number beyond this one."""


def skeleton(model: Model, auto_class: str = "AutoModel") -> nn.Module:
    """Return a model under `transformers.<auto_class>` without its weights: its body, unless a head is named."""
    import torch
    import transformers

    with torch.device("meta"):
        made: nn.Module = getattr(transformers, auto_class).from_config(model.config())
    return made


def find_blocks(body: nn.Module) -> Sequence[nn.Module]:
    """Return a transformer's blocks, from input to output: the list of like modules that holds most of its parameters.

    Empty if there is no such list.
    """
    from torch import nn

    lists: list[nn.ModuleList] = [
        module
        for module in body.modules()
        if isinstance(module, nn.ModuleList) and len(module) and len({type(block) for block in module}) == 1
    ]
    return list(max(lists, key=size, default=()))


def block_count(model: Model) -> int:
    """Return how many blocks a model's body has: not what its configuration says, for the layers of some are one block."""
    return len(find_blocks(skeleton(model)))


def size(module: nn.Module) -> int:
    """Return how many parameters a module has."""
    return sum(parameter.numel() for parameter in module.parameters())


def most_tokens(model: Model, wanted: int) -> int | None:
    """Return how many tokens a text may have at most, special ones included; None where `wanted` are certainly not too many.

    Some models keep positions for themselves: where they begin after the padding token's number, 514 hold 512 tokens.
    """
    limits = [limit for limit in (_tokenizer_limit(model),) if limit is not None]
    positions = _positions(model.published())
    if positions is not None:
        limits.append(positions)
        if wanted > positions - _SPARE:
            limits.append(positions - _kept_positions(model))
    return min(limits, default=None)


def _positions(published: Mapping[str, Any]) -> int | None:
    """Return how many positions a model has; None where it has no limit, which some write as -1."""
    found = next((published[name] for name in _POSITIONS if isinstance(published.get(name), int)), None)
    return found if found is not None and found > 0 else None


def _tokenizer_limit(model: Model) -> int | None:
    """Return the limit that a model's tokenizer names; None where it names none, or the model would have to be made to look."""
    if model.on_demand:
        return None
    path = Path(model.locate().path) / "tokenizer_config.json"
    try:
        limit = json.loads(path.read_text(encoding="utf-8")).get("model_max_length")
    except (OSError, ValueError, AttributeError):
        return None
    return int(limit) if isinstance(limit, int | float) and 0 < limit < _UNLIMITED else None


def _kept_positions(model: Model) -> int:
    """Return how many positions no token of a text can have: those up to that of padding."""
    from torch import nn

    for name, module in skeleton(model).named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return module.padding_idx + 1
    return 0


class _Asked(Exception):  # noqa: N818 - not an error: ends a task's `build` where the model would be loaded
    """Holds the class that a task asked for."""


class _Asking:
    """Loads nothing."""

    def __init__(self, config: PretrainedConfig) -> None:
        self.config = config

    def __call__(self, auto_class: str, **settings: Any) -> PreTrainedModel:
        del settings
        raise _Asked(auto_class)


def head_class(model: Model, task: Task) -> str | None:
    """Return the class of transformers that a task loads a model by; None where it does not load it, or cannot."""
    try:
        task.build(_Asking(model.config()), Facts(("no", "yes")))
    except _Asked as asked:
        return str(asked)
    except (HarnessError, UndefinedError):
        return None
    return None


def keeps_tokens(model: Model, task: Task) -> bool:
    """Return whether the body that a task is tuned with gives a feature for each token of a text.

    Looked at only where the configuration names no number of layers, as those do that shorten a text on its way.
    """
    if any(name in model.published() for name in ("num_hidden_layers", "n_layer", "n_layers", "num_layers")):
        return True
    import torch

    made: Any = skeleton(model, head_class(model, task) or "AutoModel")
    tokens = torch.zeros((1, _TOKENS), dtype=torch.long, device="meta")
    try:
        with torch.no_grad():
            hidden = made.base_model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
    except Exception:  # noqa: BLE001 - what cannot be run without weights is left to the run
        return True
    return int(hidden.shape[1]) == _TOKENS


def scores_last_token(model: Model, head: str) -> bool:
    """Return whether the class that transformers loads for `head` looks for the last token of a text that is no padding."""
    import inspect

    try:
        return "last_non_pad_token" in inspect.getsource(type(skeleton(model, head)).forward)
    except (OSError, ValueError):
        return False  # without its source, or without such a head
