"""What can be known of a model before its weights are loaded. Its functions import transformers, which takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel


_TOKENS = 16
"""Of a text that is looked at."""


class _Asked(Exception):  # noqa: N818 - not an error: ends a task's `build` where the model would be loaded
    """Holds the class that a task asked for."""


class _Asking:
    """Loads nothing."""

    def __init__(self, config: PretrainedConfig) -> None:
        self.config = config

    def __call__(self, auto_class: str, **settings: Any) -> PreTrainedModel:
        del settings
        raise _Asked(auto_class)


def head_class(model: harness.Model, task: harness.Task) -> str | None:
    """Return the class of transformers that a task loads a model by; None where it does not load it, or cannot."""
    try:
        task.build(_Asking(model.config()), harness.Facts(("no", "yes")))
    except _Asked as asked:
        return str(asked)
    except (harness.HarnessError, harness.UndefinedError):
        return None
    return None


def keeps_tokens(model: harness.Model, task: harness.Task) -> bool:
    """Return whether the body that a task is tuned with gives a feature for each token of a text.

    Looked at only where the configuration names no number of layers, as those do that shorten a text on its way.
    """
    if any(name in model.published() for name in ("num_hidden_layers", "n_layer", "n_layers", "num_layers")):
        return True
    import torch

    head = head_class(model, task)
    made: Any = harness.skeleton(model, head or "AutoModel")
    tokens = torch.zeros((1, _TOKENS), dtype=torch.long, device="meta")
    try:
        with torch.no_grad():
            hidden = made.base_model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
    except Exception:  # noqa: BLE001 - what cannot be run without weights is left to the run
        return True
    return int(hidden.shape[1]) == _TOKENS


def scores_last_token(model: harness.Model, head: str) -> bool:
    """Return whether the class that transformers loads for `head` looks for the last token of a text that is no padding."""
    import inspect

    import transformers

    loads = getattr(transformers, head)._model_mapping.get(type(model.config()), None)  # noqa: SLF001 - it has no other name
    return loads is not None and "last_non_pad_token" in inspect.getsource(loads.forward)
