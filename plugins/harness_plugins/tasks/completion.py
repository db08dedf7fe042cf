"""Completions of prompts."""

import string
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, JsonValue, PositiveInt, field_validator

import harness
from harness_plugins.tasks._heads import language_model_head, published_as, without

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_IGNORED = -100
_CAUSAL = "AutoModelForCausalLM"


class Completion(harness.Task):
    """Generate the completion of a prompt, with the causal language-model head the model was published with.

    The loss covers the tokens of the completion and the end token, not those of the prompt (Ouyang et al., 2022,
    InstructGPT, section 3.5: supervised demonstrations); decoding is greedy. Prompts that are too long lose their
    beginning, because the completion follows their end: in training, if they leave no room for the completion; in
    prediction, if they exceed the maximum length, independently of the correct answer. In conversations of several
    turns, the last answer is predicted, and the loss covers every answer.
    """

    name = "completion"
    version = 2
    watchable = True
    answers = "text"
    metrics = ("exact-match",)

    prompt: str = Field(
        "{text}", description="template of the prompt, with column names in braces, such as {text_pair}"
    )
    chat: bool | None = Field(
        None, description="whether to apply the tokenizer's chat template to the prompt; default: if it has one"
    )
    max_new_tokens: PositiveInt = Field(32, description="maximum number of tokens to generate")
    unanswerable: str = Field(
        "unanswerable",
        min_length=1,
        description='the completion that means "no answer", for rows with an empty list of answers',
    )

    @field_validator("prompt")
    @classmethod
    def _form(cls, prompt: str) -> str:
        if not list(_columns(prompt)):
            message = "has no column name in braces, so every row would have the same prompt"
            raise ValueError(message)
        return prompt

    def build(self, load: harness.Loader, facts: harness.Facts) -> "PreTrainedModel":
        """Return the model with its own language-model head.

        Raises:
            UndefinedError: The model was published without a causal head.
        """
        del facts
        architectures = load.config.architectures
        if language_model_head(architectures) != _CAUSAL:
            raise harness.UndefinedError(without("causal language-model", architectures))
        return load(_CAUSAL)

    def check_model(self, model: harness.Model) -> str | None:
        """Return why the model cannot be tuned on this task."""
        architectures = published_as(model)
        if language_model_head(architectures) == _CAUSAL:
            return None
        return f"{without('causal language-model', architectures)}; choose a causal language model with -m"

    def check(self, facts: harness.Facts, columns: Sequence[str]) -> str | None:
        """Return why the data cannot be used."""
        if "completion" not in columns and "answers" not in columns:
            return f"needs a column 'completion' or 'answers', but the data has: {', '.join(columns)}"
        if lacking := set(_columns(self.prompt)) - set(columns):
            return f"the prompt names the column {min(lacking)!r}, but the data has: {', '.join(columns)}"
        return super().check(facts, columns)

    def encode(
        self, rows: Mapping[str, list[Any]], tokenizer: "PreTrainedTokenizerBase", max_length: int
    ) -> dict[str, list[Any]]:
        """Return the tokens of prompt, completion and end, the prompt's length `prompt` and the prompt to complete, `asked`.

        Without a chat template, the completion directly follows the prompt; a space between them must be part of one of
        the two.

        Raises:
            HarnessError: The tokenizer has no end token, or no chat template although `chat` is true.
        """
        end = tokenizer.eos_token_id
        if end is None:
            message = (
                "task 'completion': the model's tokenizer has no end token to mark the end of an answer; choose "
                "another model"
            )
            raise harness.HarnessError(message)
        if self.chat and not tokenizer.chat_template:
            message = "task 'completion': the model's tokenizer has no chat template; remove chat=true"
            raise harness.HarnessError(message)
        if "messages" in rows:
            prompts, learned = self._talks(rows["messages"], tokenizer)
        else:
            prompts = self._prompts(rows, tokenizer)
            learned = [[] for _ in prompts]
        completions = tokenizer([right[0] for right in self._right(rows)], add_special_tokens=False)["input_ids"]
        names = ("input_ids", "attention_mask", "prompt", "asked", "truncated")
        columns: dict[str, list[Any]] = {name: [] for name in names}
        if "messages" in rows:
            columns["learned"] = []
        for prompt, completion, places in zip(prompts, completions, learned, strict=True):
            # Keep at least one token of the prompt, which predicts the first token of the completion.
            written = [*completion, end][: max_length - 1]
            before = prompt[-(max_length - len(written)) :]
            columns["input_ids"].append(before + written)
            columns["attention_mask"].append([1] * len(before + written))
            columns["prompt"].append(len(before))
            if "messages" in rows:
                lost = len(prompt) - len(before)
                # No token precedes the first remaining one, so it cannot be predicted.
                again = {place - lost for place in places if place > lost}
                columns["learned"].append([int(place in again) for place in range(len(before + written))])
            # The length of the prompt in prediction must not depend on the correct answer.
            columns["asked"].append(prompt[-(max_length - 1) :])
            columns["truncated"].append(len(before + written) < len(prompt) + len(completion) + 1)
        return columns

    def collate(
        self, items: Mapping[str, list[Any]], tokenizer: "PreTrainedTokenizerBase"
    ) -> "Mapping[str, torch.Tensor]":
        """Return one batch, padded on the right.

        `labels`, `[b, tokens]`, are the targets of each position's logits, or -100 for none; `asked`, `[b, asked]`, are
        the prompts to complete, `prompt`, `[b]`, their numbers of tokens, and `end`, `[b]`, is the end token.
        """
        import torch

        inputs = {name: values for name, values in items.items() if name not in {"prompt", "asked", "learned"}}
        questions = tokenizer.pad({"input_ids": items["asked"]}, padding_side="right", return_tensors="pt")
        batch = dict(tokenizer.pad(inputs, padding_side="right", return_tensors="pt"))
        tokens, mask, prompt = batch["input_ids"], batch["attention_mask"], torch.tensor(items["prompt"])
        # Position t predicts token t + 1. Uses the attention mask, because the pad token may be the end token.
        places = torch.arange(1, tokens.shape[1])
        asked = (places >= prompt.unsqueeze(1)) & mask[:, 1:].bool()
        for row, learned in enumerate(items.get("learned", ())):
            asked[row, : len(learned) - 1] |= torch.tensor(learned[1:], dtype=torch.bool)
        labels = torch.full_like(tokens, _IGNORED)
        labels[:, :-1] = tokens[:, 1:].masked_fill(~asked, _IGNORED)
        return {
            **batch,
            "labels": labels,
            "asked": questions["input_ids"],
            "prompt": questions["attention_mask"].sum(1),
            "end": torch.full_like(prompt, tokenizer.eos_token_id),
        }

    def weight(self, items: Mapping[str, list[Any]]) -> int:
        """Return the number of tokens with a loss: completions, end tokens, and earlier answers in a conversation."""
        written: int = sum(len(tokens) for tokens in items["input_ids"]) - sum(items["prompt"])
        written += sum(map(sum, items.get("learned", ())))
        return max(1, written)

    def loss(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the summed cross-entropy of the tokens with a loss in nats, a scalar."""
        from torch.nn.functional import cross_entropy

        labels = batch["labels"]
        wanted = labels != _IGNORED
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        if _takes_mask(model):
            # Logits for all positions would take a third more time: completions are short, and the vocabulary is large.
            logits = model(**inputs, logits_to_keep=wanted).logits
        else:
            # Tokens that an adapter prepends also have logits, but do not belong to the text.
            logits = model(**inputs).logits[:, -labels.shape[1] :][wanted]
        return cross_entropy(logits.float(), labels[wanted], reduction="sum")

    def predict(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the generated tokens of each prompt, `[b, at most max_new_tokens]`, padded with the end token."""
        import torch

        prompt, end = batch["prompt"], batch["end"][:1]
        if not _puts_tokens_before(model):
            return self._written(model, batch["asked"], prompt, int(end)).float()
        # An adapter prepends its tokens before the padding; grouping prompts by length avoids padding.
        written = end.repeat(len(prompt), self.max_new_tokens)
        for length in torch.unique(prompt):
            rows = prompt == length
            found = self._written(model, batch["asked"][rows], prompt[rows], int(end))
            written[rows, : found.shape[1]] = found
        return written.float()

    def _written(self, model: Any, tokens: "torch.Tensor", prompt: "torch.Tensor", end: int) -> "torch.Tensor":
        """Return the tokens generated after the first `prompt` `[b]` of the tokens `[b, tokens]`."""
        import torch

        width = int(prompt.max())
        # Pad on the left: generated tokens must follow the prompt without a gap.
        places = torch.arange(width, device=prompt.device) - (width - prompt).unsqueeze(1)
        positions = getattr(model.config, "max_position_embeddings", None)
        own = model.generation_config.eos_token_id
        written: torch.Tensor = model.generate(
            input_ids=tokens.gather(1, places.clamp(min=0)).masked_fill(places < 0, end),
            attention_mask=(places >= 0).long(),
            max_new_tokens=min(self.max_new_tokens, positions - width) if positions else self.max_new_tokens,
            # Greedy decoding, regardless of the model's published settings.
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            # An untuned model uses its published end token.
            eos_token_id=[end, *([own] if isinstance(own, int) else own or [])],
            pad_token_id=end,
        )
        return written[:, width:]

    def evaluate(self, view: harness.View, split: harness.Split = "test") -> harness.Predictions:
        """Return the generated texts, `[n]`, and the correct ones, `[n]`, or `[n, k]` if the data has `answers`.

        Rows with fewer answers than others are padded with their first answer. "" means no answer.
        """
        import numpy as np

        rows = view.rows(split)[:]
        tokens = [[int(token) for token in row if not np.isnan(token)] for row in view.outputs(split)]
        texts = view.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        right = [[self._said(text) for text in texts] for texts in self._right(rows)]
        most = max(map(len, right))
        targets = np.array([[*texts, *texts[:1] * (most - len(texts))] for texts in right])
        outputs = np.array([self._said(text) for text in texts])
        return harness.Predictions(outputs, targets[:, 0] if "completion" in rows else targets, view.ids(split))

    def unlabelled(self, rows: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Return rows whose completion is empty."""
        return {**rows, "completion": ["" for _ in next(iter(rows.values()))]}

    def readable(
        self, outputs: "NDArray[Any]", rows: Mapping[str, list[Any]], facts: harness.Facts
    ) -> list[dict[str, JsonValue]]:
        """Return the completion of each prompt."""
        del rows, facts
        return [{"completion": text} for text in outputs.tolist()]

    def generation(self, tokenizer: "PreTrainedTokenizerBase") -> Mapping[str, JsonValue]:
        """Return the generation settings used in the measurement: greedy, up to the end token."""
        return {
            "do_sample": False,
            "num_beams": 1,
            "max_new_tokens": self.max_new_tokens,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.eos_token_id,
            "bos_token_id": tokenizer.bos_token_id,
        }

    def _prompts(self, rows: Mapping[str, list[Any]], tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
        """Return the prompts' tokens, at least one each."""
        names = set(_columns(self.prompt))
        texts = [
            self.prompt.format(**dict(zip(names, values, strict=True)))
            for values in zip(*(rows[name] for name in names), strict=True)
        ]
        end = tokenizer.eos_token_id
        if tokenizer.chat_template and self.chat is not False:
            talks = [[{"role": "user", "content": text}] for text in texts]
            texts = tokenizer.apply_chat_template(talks, tokenize=False, add_generation_prompt=True)
            # The template contains all special tokens.
            prompts = tokenizer(texts, add_special_tokens=False)["input_ids"]
        else:
            prompts = tokenizer(texts)["input_ids"]
            # Some tokenizers append an end token to every text, which would end the answer before it begins.
            prompts = [tokens[:-1] if tokens[-1:] == [end] else tokens for tokens in prompts]
        return [tokens or [end] for tokens in prompts]

    def _talks(
        self, talks: Sequence[Sequence[Mapping[str, str]]], tokenizer: "PreTrainedTokenizerBase"
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Return the tokens of conversations up to the last answer, and the positions of the tokens of earlier answers.

        Raises:
            HarnessError: The chat template rejects a conversation.
        """
        prompts, learned = [], []
        chat = bool(tokenizer.chat_template) and self.chat is not False
        for talk in talks:
            text, parts = _in_template(talk, tokenizer) if chat else _in_words(talk)
            encoded = tokenizer(text, add_special_tokens=not chat, return_offsets_mapping=True)
            tokens, offsets = encoded["input_ids"], encoded["offset_mapping"]
            if not chat and tokens[-1:] == [tokenizer.eos_token_id]:
                tokens, offsets = tokens[:-1], offsets[:-1]
            prompts.append(tokens or [tokenizer.eos_token_id])
            learned.append(
                [
                    place
                    for place, (start, end) in enumerate(offsets)
                    if start < end and any(first <= start and end <= last for first, last in parts)
                ]
            )
        return prompts, learned

    def _right(self, rows: Mapping[str, list[Any]]) -> list[list[str]]:
        """Return the accepted completions of each row; the first one is the training target."""
        if "completion" in rows:
            return [[text] for text in rows["completion"]]
        return [list(dict.fromkeys(texts)) or [self.unanswerable] for texts in rows["answers"]]

    def _said(self, text: str) -> str:
        """Return the answer in a generated text, "" for no answer."""
        return "" if text.strip() == self.unanswerable else text.strip()


def _in_template(
    talk: Sequence[Mapping[str, str]], tokenizer: "PreTrainedTokenizerBase"
) -> tuple[str, list[tuple[int, int]]]:
    """Return a conversation in the tokenizer's chat template, up to the next answer, and its earlier answers' ranges.

    Each range is the text that the template adds for an answer. If the template changes earlier turns, as templates
    that drop earlier reasoning do, that answer is not trained on.
    """
    from jinja2.exceptions import TemplateError

    messages = [dict(turn) for turn in talk]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        parts = []
        for at, turn in enumerate(messages):
            if at and turn["role"] == "assistant":
                before = str(tokenizer.apply_chat_template(messages[:at], tokenize=False, add_generation_prompt=True))
                after = str(tokenizer.apply_chat_template(messages[: at + 1], tokenize=False)).rstrip("\n")
                if text.startswith(before) and text.startswith(after):
                    parts.append((len(before), len(after)))
    except TemplateError as error:
        message = f"task 'completion': the model's chat template rejects the messages of a row: {error}"
        raise harness.HarnessError(message) from None
    return text, parts


def _in_words(talk: Sequence[Mapping[str, str]]) -> tuple[str, list[tuple[int, int]]]:
    """Return a conversation as text with roles, up to the next answer, and the ranges of its earlier answers."""
    text, parts = "", []
    for turn in talk:
        text += f"{turn['role'].capitalize()}: "
        start = len(text)
        text += turn["content"]
        if turn["role"] == "assistant":
            parts.append((start, len(text)))
        text += "\n\n"
    return f"{text}Assistant:", parts


def _columns(prompt: str) -> Iterator[str]:
    """Yield the column names in braces in a prompt.

    Raises:
        ValueError: A brace is not closed, or does not hold a column name.
    """
    for _, name, form, conversion in string.Formatter().parse(prompt):
        if name is not None:
            if not name.isidentifier() or form or conversion:
                message = f"{{{name}}} is not a column name; for a literal brace, write it twice"
                raise ValueError(message)
            yield name


def _takes_mask(model: "nn.Module") -> bool:
    """Return whether transformers can compute the logits of selected positions only for this model."""
    from transformers import PreTrainedModel

    network = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
    return hasattr(sys.modules[type(network).__module__], "slice_logits_to_keep") and not _puts_tokens_before(model)


def _puts_tokens_before(model: "nn.Module") -> bool:
    """Return whether an adapter prepends its own tokens to the text, as prompt tuning does."""
    return any(hasattr(module, "prompt_encoder") for module in model.modules())


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Register the task."""
    return [Completion]
