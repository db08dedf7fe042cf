"""Entity tags for the words of a text."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import JsonValue

import harness

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_OUTSIDE = "O"
_BIO = re.compile(r"O|[BI]-.+")
_NO_PIECE = -1
_IGNORED = -100
_WORD = re.compile(r"\w+|[^\w\s]")
_OWN = ("first", "labels")
"""Columns that are not model inputs."""


class TokenClassification(harness.Task):
    """Tag each word of a text with entity tags: B-person begins an entity, I-person continues it, O is outside.

    A word is tagged at its first token; the loss ignores its other tokens. Words cut off at the end of a long text, and
    words without any token, are tagged O.

    Source: Devlin et al., 2019 (BERT, section 5.3).
    """

    name = "token-classification"
    metrics: ClassVar[tuple[str, ...]] = ("entity-f1", "entity-precision", "entity-recall")
    shaping = frozenset({"class_weights", "label_smoothing"})

    outside: ClassVar[str] = _OUTSIDE
    """The prediction for a word without a token."""

    def build(self, load: harness.Loader, facts: harness.Facts) -> "PreTrainedModel":
        """Return the model with a new head that scores every token."""
        classes = facts.classes or ()
        return load(
            "AutoModelForTokenClassification",
            num_labels=len(classes),
            id2label=dict(enumerate(classes)),
            label2id={name: number for number, name in enumerate(classes)},
        )

    def baseline(self, targets: "Callable[[], NDArray[Any]]", facts: harness.Facts) -> "nn.Module":
        """Return a model whose tag scores are the log frequencies of the tags, for any text, so that it predicts O.

        Args: targets: Returns the tag numbers of each text's words, `[n]` of `[words]`, or `[n, words]` if all have the
            same length. facts: The facts of the data.
        """
        import numpy as np

        from harness_plugins.tasks._constant_tag import ConstantTag

        counts = np.bincount(np.concatenate(list(targets())), minlength=len(facts.classes or ()))
        return ConstantTag(np.log(np.maximum(counts, 0.5) / counts.sum()))

    def check(self, facts: harness.Facts, columns: Sequence[str]) -> str | None:
        """Return why the data cannot be used."""
        if "words" not in columns or "tags" not in columns:
            return f"needs the words of each text and their tags, as in a CoNLL file, but the data has: {', '.join(columns)}"
        tags = facts.classes or ()
        strange = next((tag for tag in tags if not _BIO.fullmatch(tag)), None)
        if strange is not None:
            return f"needs the tags O, B-TYPE and I-TYPE, but the data has {strange!r}"
        if _OUTSIDE not in tags or set(tags) == {_OUTSIDE}:
            return (
                f"needs the tag O and at least one other, but the data has only {', '.join(map(repr, tags)) or 'none'}"
            )
        return super().check(facts, columns)

    def encode(
        self, rows: Mapping[str, list[Any]], tokenizer: "PreTrainedTokenizerBase", max_length: int
    ) -> dict[str, list[Any]]:
        """Return the tokens, `first` (position of each word's first token, or -1) and `labels` (each word's tag number).

        Raises:
            HarnessError: The tokenizer has no character offsets.
        """
        if not tokenizer.is_fast:
            message = (
                f"task {self.name!r}: the tokenizer {type(tokenizer).__name__} does not give character offsets of "
                "tokens; "
                "use a model with a fast tokenizer"
            )
            raise harness.HarnessError(message)
        # Tokenize the text as a whole, not word by word: some tokenizers include the preceding space in a token.
        texts = [" ".join(words) for words in rows["words"]]
        encoded = tokenizer(texts, truncation=True, max_length=max_length, return_offsets_mapping=True)
        columns = {key: list(encoded[key]) for key in encoded if key != "offset_mapping"}
        pairs = zip(encoded["offset_mapping"], rows["words"], strict=True)
        columns["first"] = [_first_pieces(pieces, words) for pieces, words in pairs]
        columns["labels"] = [list(tags) for tags in rows["tags"]]
        columns["truncated"] = [bool(encoding.overflowing) for encoding in encoded.encodings or ()]
        return columns

    def collate(
        self, items: Mapping[str, list[Any]], tokenizer: "PreTrainedTokenizerBase"
    ) -> "Mapping[str, torch.Tensor]":
        """Return one batch: the padded tokens, `first` and `labels`, `[b, words]`; -1 and -100 for words without a token."""
        import torch

        inputs = {key: values for key, values in items.items() if key not in _OWN}
        batch = dict(tokenizer.pad(inputs, return_tensors="pt"))
        shape = (len(items["first"]), max(len(first) for first in items["first"]))
        batch["first"] = torch.full(shape, _NO_PIECE)
        batch["labels"] = torch.full(shape, _IGNORED)
        # With left padding, the tokens start later.
        starts = batch["attention_mask"].argmax(1)
        for row, (first, labels) in enumerate(zip(items["first"], items["labels"], strict=True)):
            at = torch.tensor(first, dtype=torch.long)
            there = at != _NO_PIECE
            batch["first"][row, : len(first)] = torch.where(there, at + starts[row], _NO_PIECE)
            batch["labels"][row, : len(first)] = torch.tensor(labels, dtype=torch.long).masked_fill(~there, _IGNORED)
        return batch

    def weight(self, items: Mapping[str, list[Any]]) -> int:
        """Return the number of words with a token."""
        return max(1, sum(1 for first in items["first"] for position in first if position != _NO_PIECE))

    def loss(
        self,
        model: "nn.Module",
        batch: "Mapping[str, torch.Tensor]",
        *,
        class_weights: "torch.Tensor | None" = None,
        label_smoothing: float = 0.0,
    ) -> "torch.Tensor":
        """Return the summed cross-entropy of the words in nats, a scalar."""
        from torch.nn.functional import cross_entropy

        scores = _word_scores(model, batch).float().flatten(0, 1)
        return cross_entropy(
            scores,
            batch["labels"].flatten(),
            weight=class_weights,
            label_smoothing=label_smoothing,
            ignore_index=_IGNORED,
            reduction="sum",
        )

    def predict(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the tag number of each word, `[b, words]`; -1 for words without a token."""
        answers = _word_scores(model, batch).argmax(-1)
        return answers.masked_fill(batch["first"] == _NO_PIECE, _NO_PIECE).float()

    def evaluate(self, view: harness.View, split: harness.Split = "test") -> harness.Predictions:
        """Return the predicted and the correct tag names, `[n, most words]`; empty strings beyond a text's words."""
        import numpy as np

        tags = view.rows(split)["tags"][:]
        # Words without a token have -1, which selects the last name.
        names = np.array([*(view.facts.classes or ()), self.outside])
        answers = names[np.nan_to_num(view.outputs(split), nan=_NO_PIECE).astype(int)]
        words = np.arange(answers.shape[1]) < np.array([len(row) for row in tags])[:, None]
        targets = np.zeros_like(answers)
        targets[words] = names[np.concatenate([np.asarray(row, dtype=int) for row in tags])]
        return harness.Predictions(np.where(words, answers, ""), targets, view.ids(split))

    def unlabelled(self, rows: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Return rows with placeholder tags; a text without words is split into words and punctuation."""
        words = rows.get("words") or [_WORD.findall(text) for text in rows["text"]]
        return {
            **rows,
            "words": words,
            "text": [" ".join(row) for row in words],
            "tags": [[0] * len(row) for row in words],
        }

    def readable(
        self, outputs: "NDArray[Any]", rows: Mapping[str, list[Any]], facts: harness.Facts
    ) -> list[dict[str, JsonValue]]:
        """Return each text's words and tags, and its entities if the tags mark entities."""
        found: list[dict[str, JsonValue]] = []
        for tags, words in zip(outputs.tolist(), rows["words"], strict=True):
            said: dict[str, JsonValue] = {"words": list(words), "tags": tags[: len(words)]}
            if self.outside in (facts.classes or ()):
                said["entities"] = _entities(words, tags[: len(words)])
            found.append(said)
        return found


def _entities(words: Sequence[str], tags: Sequence[str]) -> list[JsonValue]:
    """Return the entities marked by IOB2 tags, each with its words and type; an I without a B begins an entity."""
    found: list[tuple[str, list[str]]] = []
    before = _OUTSIDE
    for word, tag in zip(words, tags, strict=True):
        mark, _, kind = tag.partition("-")
        if mark == "B" or (mark == "I" and before not in (f"B-{kind}", f"I-{kind}")):
            found.append((kind, [word]))
        elif mark == "I":
            found[-1][1].append(word)
        before = tag
    return [{"text": " ".join(parts), "type": kind} for kind, parts in found]


def _first_pieces(pieces: Sequence[tuple[int, int]], words: Sequence[str]) -> list[int]:
    """Return the position of the first token that has a character of each word, `[words]`; -1 if there is none.

    Args:
        pieces: The start and end of each token in the words joined by spaces.
        words: The words.
    """
    owners = [owner for number, word in enumerate(words) for owner in (*[number] * len(word), _NO_PIECE)]
    first = [_NO_PIECE] * len(words)
    for position, (start, end) in enumerate(pieces):
        for owner in set(owners[start:end]) - {_NO_PIECE}:
            if first[owner] == _NO_PIECE:
                first[owner] = position
    return first


def _word_scores(model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
    """Return the scores of each word's first token, `[b, words, classes]`; arbitrary for words without a token."""
    logits: torch.Tensor = model(**{name: tensor for name, tensor in batch.items() if name not in _OWN}).logits
    at = batch["first"].clamp(min=0)
    return logits.take_along_dim(at.unsqueeze(-1), dim=1)


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Register the task."""
    return [TokenClassification]
