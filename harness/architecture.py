"""Properties of a model that do not need its weights: shape, blocks, and maximum text length.

Importing this module does not import torch; calling its functions does.
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
"""Names of the attention dropout in configurations, by model family."""
_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length")
_SPARE = 8
"""Maximum number of reserved positions: lengths closer to the limit than this are checked in detail."""
_TOKENS = 16
"""Number of tokens of a test text."""
_UNLIMITED = 10**9
"""Tokenizers without a limit report a number above this one."""


def skeleton(model: Model, auto_class: str = "AutoModel") -> nn.Module:
    """Return a model of `transformers.<auto_class>` without weights; default: the body only."""
    import torch
    import transformers

    with torch.device("meta"):
        made: nn.Module = getattr(transformers, auto_class).from_config(model.config())
    return made


def find_blocks(body: nn.Module) -> Sequence[nn.Module]:
    """Return a transformer's blocks, from input to output: the list of equal modules with the most parameters.

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
    """Return the number of blocks of a model's body; the configuration may count several layers per block."""
    return len(find_blocks(skeleton(model)))


def size(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def most_tokens(model: Model, wanted: int) -> int | None:
    """Return the maximum number of tokens of a text, including special ones; None if `wanted` is certainly within it.

    Some models reserve positions: if positions start after the padding token's number, 514 positions hold 512 tokens.
    """
    limits = [limit for limit in (_tokenizer_limit(model),) if limit is not None]
    positions = _positions(model.published())
    if positions is not None:
        # Which positions are reserved is only known from the model's code, which takes seconds to import.
        if min([wanted, *limits]) > positions - _SPARE:
            limits.append(positions - _kept_positions(model))
        limits.append(positions)
    return min(limits, default=None)


def _positions(published: Mapping[str, Any]) -> int | None:
    """Return the number of positions of a model; None without a limit, which some configurations write as -1."""
    found = next((published[name] for name in _POSITIONS if isinstance(published.get(name), int)), None)
    return found if found is not None and found > 0 else None


def _tokenizer_limit(model: Model) -> int | None:
    """Return the tokenizer's length limit; None if it has none, or if the model would have to be created first."""
    if model.on_demand:
        return None
    path = Path(model.locate().path) / "tokenizer_config.json"
    try:
        limit = json.loads(path.read_text(encoding="utf-8")).get("model_max_length")
    except (OSError, ValueError, AttributeError):
        return None
    return int(limit) if isinstance(limit, int | float) and 0 < limit < _UNLIMITED else None


def _kept_positions(model: Model) -> int:
    """Return the number of positions that no token can have: those up to the padding position."""
    from torch import nn

    for name, module in skeleton(model).named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None:
            return module.padding_idx + 1
    return 0


class _Asked(Exception):  # noqa: N818 - not an error: ends a task's `build` before the model is loaded
    """Contains the class requested by a task."""


class _Asking:
    """A loader that loads nothing and raises the requested class."""

    def __init__(self, config: PretrainedConfig) -> None:
        self.config = config

    def __call__(self, auto_class: str, **settings: Any) -> PreTrainedModel:
        del settings
        raise _Asked(auto_class)


def head_class(model: Model, task: Task) -> str | None:
    """Return the transformers class with which a task loads a model; None if it does not or cannot load it."""
    try:
        task.build(_Asking(model.config()), Facts(("no", "yes")))
    except _Asked as asked:
        return str(asked)
    except (HarnessError, UndefinedError):
        return None
    return None


def keeps_tokens(model: Model, task: Task) -> bool:
    """Return whether the body used for a task returns one feature per token.

    Checked only if the configuration has no number of layers, as for models that shorten the sequence.
    """
    if any(name in model.published() for name in ("num_hidden_layers", "n_layer", "n_layers", "num_layers")):
        return True
    import torch

    made: Any = skeleton(model, head_class(model, task) or "AutoModel")
    tokens = torch.zeros((1, _TOKENS), dtype=torch.long, device="meta")
    try:
        with torch.no_grad():
            hidden = made.base_model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
    except Exception:  # noqa: BLE001 - models that cannot run without weights are checked by the run
        return True
    return int(hidden.shape[1]) == _TOKENS


def scores_last_token(model: Model, head: str) -> bool:
    """Return whether the transformers class for `head` uses the last non-padding token of a text."""
    import inspect

    try:
        return "last_non_pad_token" in inspect.getsource(type(skeleton(model, head)).forward)
    except (OSError, ValueError):
        return False  # no source code, or no such head
