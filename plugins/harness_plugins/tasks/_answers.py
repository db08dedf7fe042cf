"""Shared by tasks that predict one output per text. The functions need torch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn
    from transformers import PreTrainedModel


def build_classes(load: harness.Loader, facts: harness.Facts, problem_type: str) -> "PreTrainedModel":
    """Return the model with a new head for the data's classes; `problem_type` is that of transformers."""
    classes = facts.classes or ()
    return build(
        load,
        num_labels=len(classes),
        id2label=dict(enumerate(classes)),
        label2id={name: number for number, name in enumerate(classes)},
        problem_type=problem_type,
    )


def build(load: harness.Loader, **settings: Any) -> "PreTrainedModel":
    """Return the model with a new head for whole texts.

    The encoder of an encoder-decoder has no such class in transformers; it uses the class for tokens, see `logits`.
    """
    alone = any(name.endswith("EncoderModel") for name in load.config.architectures or ())
    return load("AutoModelForTokenClassification" if alone else "AutoModelForSequenceClassification", **settings)


def logits(model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
    """Return the head's logits, `[b, k]`; token logits are averaged, which equals the logits of the mean feature."""
    found: torch.Tensor = model(**{name: tensor for name, tensor in batch.items() if name != "labels"}).logits
    if found.ndim == 2:
        return found
    weights = batch["attention_mask"].unsqueeze(-1).to(found.dtype)
    return (found * weights).sum(1) / weights.sum(1).clamp(min=1)


def probabilities(scores: "NDArray[Any]") -> "NDArray[Any]":
    """Return the softmax of scores `[n, classes]`."""
    from scipy.special import softmax

    found: NDArray[Any] = softmax(scores.astype(float), axis=1)
    return found
