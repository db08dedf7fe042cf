"""Extractive question answering."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, JsonValue, NonNegativeInt, PositiveInt

import harness

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_CHARACTERS = ("char_starts", "char_ends")
_OWN = frozenset({"labels", *_CHARACTERS})
"""The columns of a batch that are not model inputs."""
_NONE = -1
"""The character position of tokens at which no answer can begin or end."""
_FEWEST = 4
"""Minimum number of tokens of a question and a passage, without special tokens."""


class QuestionAnswering(harness.Task):
    """Extract the answer to a question from a passage, or predict that it has none.

    A passage that is too long for the model is read in overlapping windows, and the best answer of all windows counts.
    The first token of a window stands for "no answer here": BERT's class token; for decoders, which have none, any
    first token. If every question in the train split has an answer, one is always given.

    Source: Devlin et al., 2019 (BERT, https://arxiv.org/abs/1810.04805), sections 4.2 and 4.3.
    """

    name = "question-answering"
    grouped_by = ("text_pair",)
    metrics = ("squad-f1", "squad-em", "no-answer-accuracy")

    stride: NonNegativeInt = Field(
        64,
        description="overlap of adjacent windows of a long passage, in tokens; at most half of the room left by "
        "max_length",
    )
    longest_question: PositiveInt = Field(
        64,
        description="maximum length of a question in tokens; longer ones are cut and counted; at most half of the "
        "room left by "
        "max_length",
    )
    longest_answer: PositiveInt = Field(30, description="maximum length of an answer in tokens")
    n_best: PositiveInt = Field(5, description="number of candidate answers per window")
    null_threshold: float = Field(
        0.0,
        description="margin by which the score of no answer must exceed that of the best answer; higher gives more "
        "answers",
    )
    always_answer: bool | None = Field(
        None,
        json_schema_extra=harness.ADDED,
        description="whether to always give an answer; default: if every question in the train split has one",
    )

    def build(self, load: harness.Loader, facts: harness.Facts) -> "PreTrainedModel":
        """Return the model with a head that scores each token as an answer's start and end.

        If transformers has no class for that, the class for token classification with two labels is used, which is the
        same head. It is also used for encoder-decoders, with the encoder only.

        Raises:
            HarnessError: Transformers has neither class for models of this type.
        """
        import transformers

        del facts
        kind, published = type(load.config), " ".join(load.config.architectures or ())
        tokens = kind in transformers.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
        # Possibly only the encoder was published; a new decoder would be untrained.
        parted = load.config.is_encoder_decoder or "EncoderModel" in published
        if kind in transformers.MODEL_FOR_QUESTION_ANSWERING_MAPPING and not (parted and tokens):
            return load("AutoModelForQuestionAnswering", num_labels=2)
        if tokens:
            return load("AutoModelForTokenClassification", num_labels=2)
        message = (
            f"transformers has no question-answering head for models of type {load.config.model_type!r}; use another "
            "model"
        )
        raise harness.HarnessError(message)

    def baseline(self, targets: "Callable[[], NDArray[Any]]", facts: harness.Facts) -> "nn.Module":
        """Return a model that predicts no answer; if it must give one, it gives the first token of the passage."""
        from harness_plugins.tasks._first import First

        del targets, facts
        return First()

    def check(self, facts: harness.Facts, columns: Sequence[str]) -> str | None:
        """Return why the data cannot be used."""
        for column in ("text_pair", "answers", "answer_start"):
            if column not in columns:
                return f"needs a column {column!r}, but the data has: {', '.join(columns)}"
        return super().check(facts, columns)

    def encode(
        self, rows: Mapping[str, list[Any]], tokenizer: "PreTrainedTokenizerBase", max_length: int
    ) -> dict[str, list[Any]]:
        """Return the windows of every row, each with the question.

        `labels` are the positions of the first and last token of the row's first answer, or twice 0, the first token,
        if the answer is not entirely in the window. `char_starts` and `char_ends` are the character range of each token
        in the passage, or -1 if no answer can begin or end there: question, special tokens, tokens without characters.
        In `truncated`, a row with a truncated question counts once.

        Raises:
            HarnessError: The tokenizer has no character offsets, or `max_length` leaves no room.
        """
        room = max_length - tokenizer.num_special_tokens_to_add(pair=True)
        if not tokenizer.is_fast:
            message = (
                f"{type(tokenizer).__name__} does not give character offsets of tokens; use a model with a fast "
                "tokenizer"
            )
            raise harness.HarnessError(message)
        if room < _FEWEST:
            message = (
                f"train.max_length is {max_length}, but a question and a passage need at least "
                f"{max_length - room + _FEWEST}"
            )
            raise harness.HarnessError(message)
        longest = min(self.longest_question, room // 2)
        questions, cut = _cut(rows["text"], tokenizer, longest)
        encoded = tokenizer(
            questions,
            rows["text_pair"],
            truncation="only_second",
            max_length=max_length,
            # The same for every row, chosen for the longest question.
            stride=min(self.stride, (room - longest) // 2),
            return_overflowing_tokens=True,
        )
        of = list(encoded.pop("overflow_to_sample_mapping"))
        columns = {key: list(encoded[key]) for key in encoded}
        characters = [_characters(encoding) for encoding in encoded.encodings or ()]
        for name, values in zip(_CHARACTERS, zip(*characters, strict=True), strict=True):
            columns[name] = list(values)
        columns["labels"] = [
            _label(*window, rows["answers"][row], rows["answer_start"][row])
            for window, row in zip(characters, of, strict=True)
        ]
        columns["row"] = of
        columns["truncated"] = [cut[row] and row != before for before, row in zip([None, *of], of, strict=False)]
        return columns

    def collate(
        self, items: Mapping[str, list[Any]], tokenizer: "PreTrainedTokenizerBase"
    ) -> "Mapping[str, torch.Tensor]":
        """Return one batch; with left padding, positions and characters are shifted with the tokens."""
        import torch

        inputs = {name: values for name, values in items.items() if name not in _OWN}
        batch = dict(tokenizer.pad(inputs, return_tensors="pt"))
        mask = batch["attention_mask"]
        for name in _CHARACTERS:
            batch[name] = torch.full_like(mask, _NONE)
            batch[name][mask.bool()] = torch.tensor([place for places in items[name] for place in places])
        batch["labels"] = torch.tensor(items["labels"]) + _first(mask)
        return batch

    def loss(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the mean of the cross-entropies of start and end in nats, summed over the windows, a scalar.

        Only the passage's tokens and the first token compete, so padding and question do not affect the loss.
        """
        from torch.nn.functional import cross_entropy

        mask = batch["attention_mask"]
        allowed = (batch["char_starts"] != _NONE).scatter(1, _first(mask), value=True)
        starts, ends = (scores.masked_fill(~allowed, -float("inf")) for scores in _scores(model, batch))
        first, last = batch["labels"].unbind(1)
        return (cross_entropy(starts, first, reduction="sum") + cross_entropy(ends, last, reduction="sum")) / 2

    def predict(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the candidate answers of each window, `[b, 1 + n_best, 3]`: first character, end, score.

        The first candidate is no answer, with characters 0 to 0 and the score `S_null = S_first + E_first`; then come
        the best spans, by descending score `S_i + E_j` with `i <= j`. If there are fewer spans, no answer is repeated.
        """
        import torch
        from torch.nn.functional import pad

        starts, ends = _scores(model, batch)
        first, reach = _first(batch["attention_mask"]), self.longest_answer
        nothing = (starts.gather(1, first) + ends.gather(1, first)).unsqueeze(-1)
        nothing = pad(nothing, (2, 0))
        outside = batch["char_starts"] == _NONE
        starts, ends = (scores.masked_fill(outside, -float("inf")) for scores in (starts, ends))
        # [b, tokens, reach]: the span at (i, d) begins with token i and ends with token i + d.
        ending = pad(ends, (0, reach - 1), value=-float("inf")).unfold(1, reach, 1)
        spans = pad((starts.unsqueeze(-1) + ending).flatten(1), (0, self.n_best), value=-float("inf"))
        scores, at = spans.topk(self.n_best, dim=1)
        begin = (at // reach).clamp(max=starts.shape[1] - 1)
        end = (begin + at % reach).clamp(max=starts.shape[1] - 1)
        found = torch.stack(
            [batch["char_starts"].gather(1, begin).float(), batch["char_ends"].gather(1, end).float(), scores], dim=-1
        )
        found = torch.where(scores.isfinite().unsqueeze(-1), found, nothing)
        return torch.cat([nothing, found], dim=1)

    def evaluate(self, view: harness.View, split: harness.Split = "test") -> harness.Predictions:
        """Return each row's answer as text, `[n]`, "" for none, and the correct ones, `[n, maximum per row]`.

        Rows with fewer correct answers repeat their first; rows without any have only "".
        """
        import numpy as np

        rows = view.rows(split)
        must = self._must(view)
        windows = defaultdict(list)
        for number, window in zip(view.ids(split).tolist(), view.outputs(split), strict=True):
            windows[number].append(window)
        outputs = [
            self._answer(passage, np.stack(windows[number]), must=must)
            for number, passage in zip(rows["id"], rows["text_pair"], strict=True)
        ]
        right = [list(dict.fromkeys(answers)) or [""] for answers in rows["answers"]]
        most = max(map(len, right))
        targets = [[*answers, *answers[:1] * (most - len(answers))] for answers in right]
        return harness.Predictions(np.array(outputs), np.array(targets), np.asarray(rows["id"][:]))

    def settled(self, view: harness.View) -> "QuestionAnswering":
        """Return the task with `always_answer` set."""
        return self.model_copy(update={"always_answer": self._must(view)})

    def unlabelled(self, rows: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Return rows without answers."""
        count = len(rows["text"])
        return {**rows, "answers": [[] for _ in range(count)], "answer_start": [[] for _ in range(count)]}

    def readable(
        self, outputs: "NDArray[Any]", rows: Mapping[str, list[Any]], facts: harness.Facts
    ) -> list[dict[str, JsonValue]]:
        """Return each question's answer, empty if the passage has none."""
        del rows, facts
        return [{"answer": answer} for answer in outputs.tolist()]

    def _must(self, view: harness.View) -> bool:
        """Return whether an answer is always given."""
        return all(view.rows("train")["answers"]) if self.always_answer is None else self.always_answer

    def _answer(self, passage: str, windows: "NDArray[Any]", *, must: bool) -> str:
        """Return the answer from the windows of one passage, `[w, 1 + n_best, 3]`.

        No answer requires agreement of all windows: its lowest score counts.
        """
        spans = windows[:, 1]
        spans = spans[spans[:, 1] > 0]
        if not len(spans):
            return ""
        start, end, score = spans[spans[:, 2].argmax()].tolist()
        if not must and windows[:, 0, 2].min() > score + self.null_threshold:
            return ""
        return passage[int(start) : int(end)].strip()


def _cut(questions: Sequence[str], tokenizer: "PreTrainedTokenizerBase", longest: int) -> tuple[list[str], list[bool]]:
    """Return the questions cut to at most `longest` tokens, and which of them were cut."""
    encodings = (
        tokenizer(list(questions), add_special_tokens=False, truncation=True, max_length=longest).encodings or ()
    )
    cut = [bool(encoding.overflowing) for encoding in encodings]
    kept = [
        question[: encoding.offsets[-1][1]] if over else question
        for question, encoding, over in zip(questions, encodings, cut, strict=True)
    ]
    return kept, cut


def _characters(encoding: Any) -> tuple[list[int], list[int]]:
    """Return where each token of a window starts and ends in the passage, -1 for other tokens, `[tokens]` each."""
    inside = [
        (start, end) if sequence == 1 and start < end else (_NONE, _NONE)
        for sequence, (start, end) in zip(encoding.sequence_ids, encoding.offsets, strict=True)
    ]
    return [start for start, _ in inside], [end for _, end in inside]


def _label(starts: list[int], ends: list[int], answers: list[str], answer_starts: list[int]) -> list[int]:
    """Return the first and last token of the first answer, or twice 0 if it is not entirely in the window."""
    held = [token for token, start in enumerate(starts) if start != _NONE]
    if not answers or not held:
        return [0, 0]
    # Whitespace around an answer may not belong to any token.
    start = answer_starts[0] + len(answers[0]) - len(answers[0].lstrip())
    end = answer_starts[0] + len(answers[0].rstrip())
    if start < starts[held[0]] or end > ends[held[-1]]:
        return [0, 0]
    first = next(token for token in held if ends[token] > start)
    last = next(token for token in reversed(held) if starts[token] < end)
    return [first, last] if first <= last else [0, 0]


def _first(mask: "torch.Tensor") -> "torch.Tensor":
    """Return the position of each text's first token, `[b, 1]`, given the attention mask, `[b, tokens]`."""
    return mask.argmax(1, keepdim=True)


def _scores(model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "tuple[torch.Tensor, torch.Tensor]":
    """Return the scores of each token as an answer's start and end, `[b, tokens]` each, in single precision."""
    output = model(**{name: tensor for name, tensor in batch.items() if name not in _OWN})
    if "logits" in output:
        starts, ends = output.logits.float().unbind(-1)
        return starts, ends
    return output.start_logits.float(), output.end_logits.float()


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Register the task."""
    return [QuestionAnswering]
