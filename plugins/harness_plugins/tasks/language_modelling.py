"""Language modelling on unlabelled prose."""

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
    """Predict the tokens of unlabelled prose, with the published language-model head, causal or masked.

    If watched before and after tuning, the loss in nats per token shows how much of the pretraining is lost. If tuned
    on, it continues the pretraining; for masked models, the same tokens are masked in every epoch.
    """

    name = "language-modelling"
    watchable = True
    answers = "text"
    metrics = ("nats-per-token",)

    masked_share: float = Field(
        0.15, gt=0, lt=1, description="share of tokens masked for a masked language model, always the same ones"
    )

    def build(self, load: harness.Loader, facts: harness.Facts) -> "PreTrainedModel":
        """Return the model with its own language-model head.

        Raises:
            UndefinedError: The model was published without one.
        """
        del facts
        architectures = load.config.architectures
        head = language_model_head(architectures)
        if head is None:
            raise harness.UndefinedError(without("language-model", architectures))
        return load(head)

    def check_model(self, model: harness.Model) -> str | None:
        """Return why the model cannot be tuned on this task."""
        architectures = published_as(model)
        if language_model_head(architectures):
            return None
        return (
            "tuning on texts without labels needs a language-model head, but "
            f"{without('language-model', architectures)}"
        )

    def encode(
        self, rows: Mapping[str, list[Any]], tokenizer: "PreTrainedTokenizerBase", max_length: int
    ) -> dict[str, list[Any]]:
        """Return the tokens and, if there is a mask token, which of them are masked, chosen only by the text."""
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
        """Return one batch with `labels` `[b, tokens]`: the targets of each position's logits, or -100 for none."""
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
            # Position t predicts token t + 1. Uses the attention mask, because the pad token may be the end token.
            labels = torch.full_like(tokens, _IGNORED)
            real = mask[:, 1:].bool() & mask[:, :-1].bool()
            labels[:, :-1] = tokens[:, 1:].masked_fill(~real, _IGNORED)
            batch["labels"] = labels
        return batch

    def weight(self, items: Mapping[str, list[Any]]) -> int:
        """Return the number of predicted tokens."""
        if "hidden" in items:
            return max(1, sum(sum(flags) for flags in items["hidden"]))
        return max(1, sum(len(tokens) - 1 for tokens in items["input_ids"]))

    def loss(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the summed cross-entropy of the predicted tokens in nats, a scalar."""
        return self.predict(model, batch)[:, 0].sum()

    def predict(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return for each text the summed cross-entropy in nats and the number of predicted tokens, `[b, 2]`."""
        import torch
        from torch.nn.functional import cross_entropy

        labels = batch["labels"]
        # Tokens that an adapter prepends also have logits, but do not belong to the text.
        logits = model(**{name: tensor for name, tensor in batch.items() if name != "labels"}).logits[
            :, -labels.shape[1] :
        ]
        losses = cross_entropy(logits.transpose(1, 2).float(), labels, ignore_index=_IGNORED, reduction="none")
        return torch.stack([losses.sum(1), (labels != _IGNORED).sum(1).to(losses.dtype)], dim=1)

    def evaluate(self, view: harness.View, split: harness.Split = "test") -> harness.Predictions:
        """Return the outputs of `predict` for a split, `[n, 2]`; the tokens themselves are the targets."""
        outputs = view.outputs(split)
        return harness.Predictions(outputs, outputs[:, 1], view.ids(split))

    def readable(
        self, outputs: "NDArray[Any]", rows: Mapping[str, list[Any]], facts: harness.Facts
    ) -> list[dict[str, JsonValue]]:
        """Return each text's loss per token and its number of predicted tokens."""
        del rows, facts
        return [
            {"nats_per_token": float(total / count) if count else None, "tokens": int(count)}
            for total, count in outputs.tolist()
        ]


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Register the task."""
    return [LanguageModelling]
