"""Whether texts that humans rate as similar have similar features."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import harness

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase

_PAIR = "pair_"


class Similarity(harness.Task):
    """Watch pairs of texts: compare the cosine of their mean-pooled features with human scores; needs no head.

    Source: Reimers and Gurevych, 2019 (Sentence-BERT, section 4.1), with Spearman's rank correlation as recommended
    there.
    """

    name = "similarity"
    tunable = False
    headless = True
    watchable = True
    metrics = ("spearman",)

    def check(self, facts: harness.Facts, columns: Sequence[str]) -> str | None:
        """Return why the data cannot be used."""
        if "text_pair" not in columns or "label" not in columns or facts.classes is not None:
            return "needs pairs of texts with a number for each pair (for your own file, use -o file.numeric=true)"
        return super().check(facts, columns)

    def encode(
        self, rows: Mapping[str, list[Any]], tokenizer: "PreTrainedTokenizerBase", max_length: int
    ) -> dict[str, list[Any]]:
        """Return the tokens of both texts; the second text's columns have a prefix."""
        first = super().encode({"text": rows["text"], "label": rows["label"]}, tokenizer, max_length)
        second = super().encode({"text": rows["text_pair"]}, tokenizer, max_length)
        cut = [one or other for one, other in zip(first["truncated"], second.pop("truncated"), strict=True)]
        return {**first, **{f"{_PAIR}{key}": values for key, values in second.items()}, "truncated": cut}

    def collate(
        self, items: Mapping[str, list[Any]], tokenizer: "PreTrainedTokenizerBase"
    ) -> "Mapping[str, torch.Tensor]":
        """Return one batch, with each side padded to its own longest text."""
        sides = (
            ("", {key: values for key, values in items.items() if not key.startswith(_PAIR)}),
            (
                _PAIR,
                {key.removeprefix(_PAIR): values for key, values in items.items() if key.startswith(_PAIR)},
            ),
        )
        return {
            f"{prefix}{key}": tensor
            for prefix, side in sides
            for key, tensor in tokenizer.pad(side, return_tensors="pt").items()
        }

    def predict(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the cosine of each pair, `[b]`."""
        from torch.nn.functional import cosine_similarity

        first = {key: tensor for key, tensor in batch.items() if key != "labels" and not key.startswith(_PAIR)}
        second = {key.removeprefix(_PAIR): tensor for key, tensor in batch.items() if key.startswith(_PAIR)}
        return cosine_similarity(_mean(model, first), _mean(model, second))


def _mean(body: "nn.Module", inputs: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
    hidden: torch.Tensor = body(**inputs).last_hidden_state
    weights = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Register the task."""
    return [Similarity]
