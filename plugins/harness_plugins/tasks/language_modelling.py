"""How well a model still predicts plain prose."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field, JsonValue

import harness
from harness_plugins.tasks._heads import language_model_head, published_as, without

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_IGNORED = -100


class LanguageModelling(harness.Task):
    """Predict plain prose with the language-model head the model was published with, causal or masked.

    Watched before and after tuning, its loss in nats per token tells what of the pretraining is lost. Tuned on, it goes on
    with the pretraining; a masked model then has the same tokens hidden in every epoch.
    """

    name = "language-modelling"
    watchable = True
    answers = "text"
    metrics = ("nats-per-token",)

    masked_share: float = Field(0.15, gt=0, lt=1, description="tokens hidden from a masked model, the same each time")

    def build(self, load: harness.Loader, facts: harness.Facts) -> "PreTrainedModel":
        """Return the model under its own language-model head.

        Raises:
            UndefinedError: It was published without one.
        """
        del facts
        architectures = load.config.architectures
        head = language_model_head(architectures)
        if head is None:
            raise harness.UndefinedError(without("language-model", architectures))
        return load(head)

    def check_model(self, model: harness.Model) -> str | None:
        """Return why it cannot be tuned on with this model."""
        architectures = published_as(model)
        if language_model_head(architectures):
            return None
        return f"texts without labels are tuned on by a language-model head, and {without('language-model', architectures)}"

    def encode(
        self, rows: Mapping[str, list[Any]], tokenizer: "PreTrainedTokenizerBase", max_length: int
    ) -> dict[str, list[Any]]:
        """Return the tokens and, for a model with a mask token, which of them are hidden, chosen by their text alone."""
        import hashlib

        import numpy as np

        columns = super().encode({"text": rows["text"]}, tokenizer, max_length)
        if tokenizer.mask_token_id is None:
            return columns
        special = set(tokenizer.all_special_ids)
        columns["hidden"] = []
        for text, tokens in zip(rows["text"], columns["input_ids"], strict=True):
            seed = int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)
            drawn = np.random.default_rng(seed).random(len(tokens)) < self.masked_share
            free = [token not in special for token in tokens]
            if not any(drawn & free) and any(free):
                drawn[free.index(True)] = True
            columns["hidden"].append([int(hide) for hide in drawn & free])
        return columns

    def collate(
        self, items: Mapping[str, list[Any]], tokenizer: "PreTrainedTokenizerBase"
    ) -> "Mapping[str, torch.Tensor]":
        """Return one batch with `labels` `[b, tokens]`: what each position's logits must predict, -100 for nothing."""
        import torch

        batch = dict(
            tokenizer.pad({key: value for key, value in items.items() if key != "hidden"}, return_tensors="pt")
        )
        tokens, mask = batch["input_ids"], batch["attention_mask"]
        if "hidden" in items:
            hidden = torch.zeros_like(tokens, dtype=torch.bool)
            for row, flags in enumerate(items["hidden"]):
                start = int(mask[row].argmax())
                hidden[row, start : start + len(flags)] = torch.tensor(flags, dtype=torch.bool)
            batch["labels"] = tokens.masked_fill(~hidden, _IGNORED)
            batch["input_ids"] = tokens.masked_fill(hidden, int(tokenizer.mask_token_id or 0))
        else:
            # Position t predicts token t + 1. By the attention mask and not by the pad token, which may be the end token.
            labels = torch.full_like(tokens, _IGNORED)
            real = mask[:, 1:].bool() & mask[:, :-1].bool()
            labels[:, :-1] = tokens[:, 1:].masked_fill(~real, _IGNORED)
            batch["labels"] = labels
        return batch

    def weight(self, items: Mapping[str, list[Any]]) -> int:
        """Return how many tokens are predicted."""
        if "hidden" in items:
            return max(1, sum(sum(flags) for flags in items["hidden"]))
        return max(1, sum(len(tokens) - 1 for tokens in items["input_ids"]))

    def loss(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the summed cross-entropy of the predicted tokens in nats, a scalar."""
        return self.predict(model, batch)[:, 0].sum()

    def predict(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return for each text its summed cross-entropy in nats and how many tokens that is, `[b, 2]`."""
        import torch
        from torch.nn.functional import cross_entropy

        labels = batch["labels"]
        # What an adapter puts before the text has logits, too, and is no token of it.
        logits = model(**{name: tensor for name, tensor in batch.items() if name != "labels"}).logits[
            :, -labels.shape[1] :
        ]
        losses = cross_entropy(logits.transpose(1, 2).float(), labels, ignore_index=_IGNORED, reduction="none")
        return torch.stack([losses.sum(1), (labels != _IGNORED).sum(1).to(losses.dtype)], dim=1)

    def evaluate(self, view: harness.View, split: harness.Split = "test") -> harness.Predictions:
        """Return what `predict` gives for a split, `[n, 2]`; the tokens themselves are the targets."""
        outputs = view.outputs(split)
        return harness.Predictions(outputs, outputs[:, 1], view.ids(split))

    def readable(
        self, outputs: "NDArray[Any]", rows: Mapping[str, list[Any]], facts: harness.Facts
    ) -> list[dict[str, JsonValue]]:
        """Return how well each text is predicted, and how many of its tokens are."""
        del rows, facts
        return [
            {"nats_per_token": float(total / count) if count else None, "tokens": int(count)}
            for total, count in outputs.tolist()
        ]


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Offer the task."""
    return [LanguageModelling]
