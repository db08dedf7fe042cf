"""What is to be written after a prompt."""

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
    """Write what comes after a prompt, with the causal language-model head the model was published with.

    Trained on the completion's tokens and the end token, not on the prompt's (Ouyang et al., 2022, InstructGPT, section 3.5:
    supervised demonstrations); answered greedily, token by token. A prompt that is too long loses its beginning, because its
    end is what is answered: one that is learned from, where it leaves its completion no room; one that is answered, where it is
    longer than a text may be, whatever the right answer is. Of a talk of several turns the last answer is asked for, and the loss
    is taken on every answer.
    """

    name = "completion"
    version = 2
    watchable = True
    answers = "text"
    metrics = ("exact-match",)

    prompt: str = Field("{text}", description="the prompt, with the data's columns in braces, such as {text_pair}")
    chat: bool | None = Field(
        None, description="whether the prompt is put into the tokenizer's chat template; blank: where it has one"
    )
    max_new_tokens: PositiveInt = Field(32, description="tokens that are written at most")
    unanswerable: str = Field(
        "unanswerable",
        min_length=1,
        description='what is written for "no answer", where a row has an empty list of answers',
    )

    @field_validator("prompt")
    @classmethod
    def _form(cls, prompt: str) -> str:
        if not list(_columns(prompt)):
            message = "names no column in braces, so that every row would be asked the same"
            raise ValueError(message)
        return prompt

    def build(self, load: harness.Loader, facts: harness.Facts) -> "PreTrainedModel":
        """Return the model under its own language-model head.

        Raises:
            UndefinedError: It was published without one that reads from left to right.
        """
        del facts
        architectures = load.config.architectures
        if language_model_head(architectures) != _CAUSAL:
            raise harness.UndefinedError(without("causal language-model", architectures))
        return load(_CAUSAL)

    def check_model(self, model: harness.Model) -> str | None:
        """Return why it cannot be tuned on with this model."""
        architectures = published_as(model)
        if language_model_head(architectures) == _CAUSAL:
            return None
        return f"{without('causal language-model', architectures)}; name one that writes, with -m"

    def check(self, facts: harness.Facts, columns: Sequence[str]) -> str | None:
        """Return why the data cannot be used."""
        if "completion" not in columns and "answers" not in columns:
            return f"needs a column 'completion' or 'answers', but the data has: {', '.join(columns)}"
        if lacking := set(_columns(self.prompt)) - set(columns):
            return f"the prompt names {min(lacking)!r}, but the data has: {', '.join(columns)}"
        return super().check(facts, columns)

    def encode(
        self, rows: Mapping[str, list[Any]], tokenizer: "PreTrainedTokenizerBase", max_length: int
    ) -> dict[str, list[Any]]:
        """Return the tokens of prompt, completion and end, in `prompt` how many are the prompt's, and in `asked` what is answered.

        Without a chat template the completion follows the prompt as it is: where a space belongs between them, one of the two
        must have it.

        Raises:
            HarnessError: The tokenizer has no end token, or no chat template where one is asked for.
        """
        end = tokenizer.eos_token_id
        if end is None:
            message = (
                "task 'completion': the model's tokenizer has no end token, so nothing would tell where an answer ends"
            )
            raise harness.HarnessError(message)
        if self.chat and not tokenizer.chat_template:
            message = "task 'completion': the model's tokenizer has no chat template: leave out chat=true"
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
            # At least one token of the prompt is left: what predicts the first of the completion.
            written = [*completion, end][: max_length - 1]
            before = prompt[-(max_length - len(written)) :]
            columns["input_ids"].append(before + written)
            columns["attention_mask"].append([1] * len(before + written))
            columns["prompt"].append(len(before))
            if "messages" in rows:
                lost = len(prompt) - len(before)
                # The first token that is left has none before it to predict it.
                again = {place - lost for place in places if place > lost}
                columns["learned"].append([int(place in again) for place in range(len(before + written))])
            # The right answer must not tell how much of the question is seen.
            columns["asked"].append(prompt[-(max_length - 1) :])
            columns["truncated"].append(len(before + written) < len(prompt) + len(completion) + 1)
        return columns

    def collate(
        self, items: Mapping[str, list[Any]], tokenizer: "PreTrainedTokenizerBase"
    ) -> "Mapping[str, torch.Tensor]":
        """Return one batch, padded on the right.

        `labels`, `[b, tokens]`, are what each position's logits must predict, -100 for nothing; `asked`, `[b, asked]`, are the
        prompts that are answered, `prompt`, `[b]`, how many tokens each has, and `end`, `[b]`, is the end token.
        """
        import torch

        inputs = {name: values for name, values in items.items() if name not in {"prompt", "asked", "learned"}}
        questions = tokenizer.pad({"input_ids": items["asked"]}, padding_side="right", return_tensors="pt")
        batch = dict(tokenizer.pad(inputs, padding_side="right", return_tensors="pt"))
        tokens, mask, prompt = batch["input_ids"], batch["attention_mask"], torch.tensor(items["prompt"])
        # Position t predicts token t + 1. By the attention mask and not by the pad token, which may be the end token.
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
        """Return how many tokens are to be written, ends included, and those of earlier answers in a talk."""
        written: int = sum(len(tokens) for tokens in items["input_ids"]) - sum(items["prompt"])
        written += sum(map(sum, items.get("learned", ())))
        return max(1, written)

    def loss(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the summed cross-entropy of the completions' tokens in nats, a scalar."""
        from torch.nn.functional import cross_entropy

        labels = batch["labels"]
        wanted = labels != _IGNORED
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        if _takes_mask(model):
            # Logits for every position would take a third more time: few belong to a completion, and the vocabulary is large.
            logits = model(**inputs, logits_to_keep=wanted).logits
        else:
            # What an adapter puts before the text has logits, too, and is no token of it.
            logits = model(**inputs).logits[:, -labels.shape[1] :][wanted]
        return cross_entropy(logits.float(), labels[wanted], reduction="sum")

    def predict(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the tokens that are written after each prompt, `[b, at most max_new_tokens]`; after its end, the end token."""
        import torch

        prompt, end = batch["prompt"], batch["end"][:1]
        if not _puts_tokens_before(model):
            return self._written(model, batch["asked"], prompt, int(end)).float()
        # What an adapter puts before the text it puts before the padding: prompts of one length need none.
        written = end.repeat(len(prompt), self.max_new_tokens)
        for length in torch.unique(prompt):
            rows = prompt == length
            found = self._written(model, batch["asked"][rows], prompt[rows], int(end))
            written[rows, : found.shape[1]] = found
        return written.float()

    def _written(self, model: Any, tokens: "torch.Tensor", prompt: "torch.Tensor", end: int) -> "torch.Tensor":
        """Return what is written after the first `prompt` `[b]` of these tokens `[b, tokens]`."""
        import torch

        width = int(prompt.max())
        # On the left: what is written must follow the prompt without a gap.
        places = torch.arange(width, device=prompt.device) - (width - prompt).unsqueeze(1)
        positions = getattr(model.config, "max_position_embeddings", None)
        own = model.generation_config.eos_token_id
        written: torch.Tensor = model.generate(
            input_ids=tokens.gather(1, places.clamp(min=0)).masked_fill(places < 0, end),
            attention_mask=(places >= 0).long(),
            max_new_tokens=min(self.max_new_tokens, positions - width) if positions else self.max_new_tokens,
            # Greedily, whatever the model was published with.
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            # A model that has not been tuned ends as it was taught.
            eos_token_id=[end, *([own] if isinstance(own, int) else own or [])],
            pad_token_id=end,
        )
        return written[:, width:]

    def evaluate(self, view: harness.View, split: harness.Split = "test") -> harness.Predictions:
        """Return the texts that are written, `[n]`, and the right ones, `[n]`, or `[n, k]` where the data has `answers`.

        Answers that a row has fewer of than another are filled up with its first. "" is no answer.
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
        """Return what is written after each prompt."""
        del rows, facts
        return [{"completion": text} for text in outputs.tolist()]

    def generation(self, tokenizer: "PreTrainedTokenizerBase") -> Mapping[str, JsonValue]:
        """Return settings under which the library writes what was measured: greedily, up to the end token."""
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
            # The template has all special tokens in it.
            prompts = tokenizer(texts, add_special_tokens=False)["input_ids"]
        else:
            prompts = tokenizer(texts)["input_ids"]
            # An end token that a tokenizer puts after every text would end the answer before it begins.
            prompts = [tokens[:-1] if tokens[-1:] == [end] else tokens for tokens in prompts]
        return [tokens or [end] for tokens in prompts]

    def _talks(
        self, talks: Sequence[Sequence[Mapping[str, str]]], tokenizer: "PreTrainedTokenizerBase"
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Return the tokens of talks up to their last answer, and the positions of those that are earlier answers'.

        Raises:
            HarnessError: The chat template refuses a talk.
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
        """Return what may be written for each row; the first is what is learned."""
        if "completion" in rows:
            return [[text] for text in rows["completion"]]
        return [list(dict.fromkeys(texts)) or [self.unanswerable] for texts in rows["answers"]]

    def _said(self, text: str) -> str:
        """Return what a written text says, "" for no answer."""
        return "" if text.strip() == self.unanswerable else text.strip()


def _in_template(
    talk: Sequence[Mapping[str, str]], tokenizer: "PreTrainedTokenizerBase"
) -> tuple[str, list[tuple[int, int]]]:
    """Return a talk in the tokenizer's chat template, ready for an answer, and from where to where its earlier answers stand.

    Found by the template itself, as what it adds by each answer; where it writes the turns before otherwise by then, as some do
    that leave out earlier reasoning, that answer is not learned.
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
        message = f"task 'completion': the model's chat template refuses the messages of a row: {error}"
        raise harness.HarnessError(message) from None
    return text, parts


def _in_words(talk: Sequence[Mapping[str, str]]) -> tuple[str, list[tuple[int, int]]]:
    """Return a talk as text, each turn after its role, ready for an answer, and from where to where its earlier answers stand."""
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
    """Yield the columns that a prompt names in braces.

    Raises:
        ValueError: A brace is not closed, or names no column.
    """
    for _, name, form, conversion in string.Formatter().parse(prompt):
        if name is not None:
            if not name.isidentifier() or form or conversion:
                message = f"{{{name}}} names no column; a brace that is meant as one is written twice"
                raise ValueError(message)
            yield name


def _takes_mask(model: "nn.Module") -> bool:
    """Return whether the model can be asked for the logits of chosen positions only: whether the library has that for it."""
    from transformers import PreTrainedModel

    network = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
    return hasattr(sys.modules[type(network).__module__], "slice_logits_to_keep") and not _puts_tokens_before(model)


def _puts_tokens_before(model: "nn.Module") -> bool:
    """Return whether an adapter puts tokens of its own before the text, as prompt tuning does."""
    return any(hasattr(module, "prompt_encoder") for module in model.modules())


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Offer the task."""
    return [Completion]
