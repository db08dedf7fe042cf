import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from pydantic import ValidationError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutput

from harness import Facts, HarnessError, Predictions, UndefinedError
from harness.contracts import Dataset, Strategy
from harness.engine.fast import splice
from harness.engine.models import RunLoader
from harness.records import Outcome, Run, TaskData, TrainConfig
from harness.store import Store
from harness.testing import TinyModel, ToyDataset, check_component, compute, toy_catalog, write_tiny_model
from harness_plugins.tasks import completion
from harness_plugins.tasks.completion import Completion

TASK = Completion()
CHAT = "{% for message in messages %}the {{ message.content }} {% endfor %}{% if add_generation_prompt %}a{% endif %}"
ROWS = {"text": ["the a film", "plot actor scene is was"], "completion": ["plot actor", "very"]}


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    """A tiny causal model whose head is its embedding, as is usual for small ones, with an end token, 3."""
    shape = {"num_key_value_heads": 2, "num_hidden_layers": 3, "tie_word_embeddings": True}
    folder = write_tiny_model(tmp_path_factory.mktemp("llama"), "LlamaForCausalLM", **shape)
    tokenizer = AutoTokenizer.from_pretrained(folder, eos_token="[SEP]")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(llama) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(llama)


@pytest.fixture
def model(llama) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(llama).eval()


class Successor(nn.Module):
    """A model that is all but certain that each token is followed by the next number."""

    def forward(self, input_ids: torch.Tensor, **_: torch.Tensor) -> CausalLMOutput:
        return CausalLMOutput(logits=50 * nn.functional.one_hot(input_ids + 1, num_classes=30).float())


def encoded(
    tokenizer: PreTrainedTokenizerBase, rows: dict[str, Any] = ROWS, max_length: int = 32, **params: Any
) -> dict[str, Any]:
    columns = Completion(**params).encode(rows, tokenizer, max_length)
    columns.pop("truncated")
    return columns


def test_only_the_completion_and_its_end_are_targets_moved_by_one_place(tokenizer):
    items = encoded(tokenizer)
    batch = TASK.collate(items, tokenizer)
    # the a film | plot actor [SEP]; plot actor scene is was | very [SEP]
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 3, 0], [8, 9, 10, 11, 12, 13, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 1, 0], [1] * 7]
    assert batch["labels"].tolist() == [[-100, -100, 8, 9, 3, -100, -100], [-100] * 4 + [13, 3, -100]]
    assert batch["prompt"].tolist() == [3, 5]
    assert TASK.weight(items) == 5


def test_the_end_is_a_target_where_it_is_also_what_pads(tokenizer, llama):
    same = AutoTokenizer.from_pretrained(llama, pad_token="[SEP]", padding_side="left")
    batch = TASK.collate(encoded(same), same)
    assert batch["input_ids"].tolist()[0] == [5, 6, 7, 8, 9, 3, 3]
    assert batch["labels"].tolist() == TASK.collate(encoded(tokenizer), tokenizer)["labels"].tolist()


def test_the_loss_is_that_of_each_next_token_of_the_completions(model, tokenizer):
    items = encoded(tokenizer)
    expected = 0.0
    for tokens, prompt in zip(items["input_ids"], items["prompt"], strict=True):
        logits = model(torch.tensor([tokens])).logits[0].detach()
        expected -= sum(logits[at - 1].log_softmax(0)[tokens[at]].item() for at in range(prompt, len(tokens)))
    assert TASK.loss(model, TASK.collate(items, tokenizer)).item() == pytest.approx(expected, rel=1e-5)


def test_a_model_that_knows_every_next_token_loses_nothing(tokenizer, monkeypatch):
    monkeypatch.setattr(completion, "_takes_mask", lambda _: False)  # what stands in here is no model of the library's
    rows = {"text": ["the a film", "is"], "completion": ["plot actor scene", "was very"]}
    # Neighbours in the vocabulary: only targets moved by one, and in the right direction, are foreseen; the end is not.
    batch = TASK.collate(encoded(tokenizer, rows), tokenizer)
    batch["labels"][batch["labels"] == 3] = -100
    assert TASK.loss(Successor(), batch).item() == 0.0
    unshifted = {**batch, "labels": batch["input_ids"].masked_fill(batch["labels"] == -100, -100)}
    assert TASK.loss(Successor(), unshifted).item() > 100


LORA = LoraConfig(task_type="CAUSAL_LM")
PROMPT = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)


@pytest.mark.parametrize("adapter", [None, LORA, PROMPT], ids=["plain", "lora", "prompt"])
def test_logits_of_the_completions_alone_are_those_of_all(model, tokenizer, monkeypatch, adapter):
    adapted = model if adapter is None else get_peft_model(model, adapter).eval()
    batch = TASK.collate(encoded(tokenizer), tokenizer)
    found = TASK.loss(adapted, batch).item()
    if adapter is PROMPT:  # others take a mask, but not with transformers 5.20
        assert not completion._takes_mask(adapted)
    monkeypatch.setattr(completion, "_takes_mask", lambda _: False)
    assert found == pytest.approx(TASK.loss(adapted, batch).item(), rel=1e-5)


def test_a_prompt_that_is_too_long_loses_its_beginning_and_is_counted(tokenizer):
    columns = TASK.encode(ROWS, tokenizer, max_length=6)
    assert columns["input_ids"] == [[5, 6, 7, 8, 9, 3], [9, 10, 11, 12, 13, 3]]
    assert columns["prompt"] == [3, 4]
    assert columns["truncated"] == [False, True]


def test_a_completion_that_is_too_long_loses_its_end_and_is_counted(tokenizer):
    rows = {"text": ["the a film", "the"], "completion": ["plot actor scene is was", "plot"]}
    columns = TASK.encode(rows, tokenizer, max_length=4)
    assert columns["input_ids"] == [[7, 8, 9, 10], [5, 8, 3]]
    assert columns["prompt"] == [1, 1]
    assert columns["truncated"] == [True, False]


def test_the_prompt_goes_into_the_chat_template_where_there_is_one(tokenizer, llama):
    talking = AutoTokenizer.from_pretrained(llama)
    talking.chat_template = CHAT
    rows = {"text": ["film"], "completion": ["plot"]}
    assert encoded(talking, rows)["input_ids"] == [[5, 7, 6, 8, 3]]
    assert encoded(talking, rows)["prompt"] == [3]
    assert encoded(talking, rows, chat=False)["input_ids"] == encoded(tokenizer, rows)["input_ids"] == [[7, 8, 3]]
    with pytest.raises(HarnessError, match=r"has no chat template; remove chat=true$"):
        encoded(tokenizer, rows, chat=True)


def test_a_prompt_may_have_several_columns_in_it(tokenizer):
    rows = {"text": ["film"], "text_pair": ["{plot}"], "completion": ["very"]}
    items = encoded(tokenizer, rows, prompt="the {text_pair} a {{}} {text}")
    assert items["input_ids"] == [[5, 1, 8, 1, 6, 1, 7, 13, 3]]  # a brace is a word the tokenizer does not know


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("say something", "no column name in braces"),
        ("a {text", "expected '}' before end of string"),
        ("a {}", "is not a column name; for a literal brace, write it twice"),
        ("a {text.title}", "is not a column name"),
    ],
)
def test_a_prompt_that_is_malformed_is_refused(prompt, message):
    with pytest.raises(ValidationError) as error:
        Completion(prompt=prompt)
    assert message in str(error.value)


def test_data_without_what_is_to_be_written_is_refused():
    assert TASK.check(Facts(), ["text", "completion"]) is None
    assert TASK.check(Facts(), ["text", "answers"]) is None
    assert TASK.check(Facts(), ["text"]) == "needs a column 'completion' or 'answers', but the data has: text"
    task = Completion(prompt="{text_pair}: {text}")
    assert (
        task.check(Facts(), ["text", "completion"])
        == "the prompt names the column 'text_pair', but the data has: text, completion"
    )


def test_a_tokenizer_without_an_end_token_is_refused(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(write_tiny_model(tmp_path, "LlamaForCausalLM", num_key_value_heads=2))
    with pytest.raises(HarnessError, match=r"has no end token to mark the end of an answer; choose another model$"):
        encoded(tokenizer)


@pytest.mark.parametrize("architecture", ["BertModel", "BertForMaskedLM"])
def test_a_model_without_a_causal_head_cannot_be_tuned_and_is_undefined_when_watched(tmp_path, architecture):
    source = TinyModel(path=str(write_tiny_model(tmp_path, architecture)))
    reason = f"the model was published without a causal language-model head (as {architecture})"
    assert TASK.check_model(source) == f"{reason}; choose a causal language model with -m"
    with pytest.raises(UndefinedError) as error:
        TASK.build(RunLoader(source, TrainConfig()), Facts())
    assert str(error.value) == reason


def test_a_model_with_a_causal_head_is_built_under_it(llama):
    source = TinyModel(path=str(llama))
    assert TASK.check_model(source) is None
    assert type(TASK.build(RunLoader(source, TrainConfig()), Facts())).__name__ == "LlamaForCausalLM"


@pytest.mark.filterwarnings("ignore:Position ids are not supported")
@pytest.mark.parametrize(
    "adapter", [None, LORA, LoraConfig(), PROMPT], ids=["plain", "lora", "lora of no kind", "prompt"]
)
def test_prompts_of_different_lengths_are_answered_as_each_alone(model, tokenizer, adapter):
    adapted = model if adapter is None else get_peft_model(model, adapter)
    texts = ["film", "the a film plot actor scene", "good bad dull", "is was very and of it the a film"]
    items = encoded(tokenizer, {"text": texts, "completion": ["plot", "a", "was very and of it", "bright"]})
    task = Completion(max_new_tokens=6)

    def written(rows: list[int]) -> list[list[int]]:
        part = {name: [values[row] for row in rows] for name, values in items.items()}
        with torch.no_grad():
            found = task.predict(adapted.eval(), task.collate(part, tokenizer)).int().tolist()
        return [tokens[: tokens.index(3)] if 3 in tokens else tokens for tokens in found]

    together = written([0, 1, 2, 3])
    assert together == [written([row])[0] for row in range(4)]
    assert len({tuple(tokens) for tokens in together}) > 1


def test_no_more_is_written_than_asked_or_than_there_are_positions(model, tokenizer):
    model.generation_config.eos_token_id = None
    batch = TASK.collate(encoded(tokenizer, {"text": ["film " * 60], "completion": ["plot"]}, max_length=64), tokenizer)
    batch["end"][:] = 29  # which this model cannot write
    assert TASK.predict(model, batch).shape == (1, 4)
    batch = TASK.collate(encoded(tokenizer, {"text": ["film"], "completion": ["plot"]}), tokenizer)
    assert Completion(max_new_tokens=3).predict(model, {**batch, "end": torch.tensor([29])}).shape == (1, 3)


def view(tokenizer: PreTrainedTokenizerBase, rows: dict[str, list[Any]], tokens: list[list[float]]) -> Any:
    table = datasets.Dataset.from_dict({**rows, "id": list(range(10, 10 + len(tokens)))})
    return SimpleNamespace(
        tokenizer=tokenizer,
        rows=lambda _: table,
        outputs=lambda _: np.array(tokens),
        ids=lambda _: np.array(table["id"]),
    )


def told(found: Predictions) -> tuple[list[Any], list[Any], list[int]]:
    assert found.outputs.dtype.kind == found.targets.dtype.kind == "U"
    return found.outputs.tolist(), found.targets.tolist(), found.ids.tolist()


def test_what_is_written_becomes_text(tokenizer):
    rows = {"text": ["a", "b", "c"], "completion": [" plot actor ", "very", "is"]}
    seen = view(tokenizer, rows, [[8, 9, 3], [13, 3, np.nan], [3, 3, 3]])
    assert told(TASK.evaluate(seen)) == (["plot actor", "very", ""], ["plot actor", "very", "is"], [10, 11, 12])


def test_one_of_several_answers_or_none_may_be_right(tokenizer):
    rows = {"text": ["a", "b", "c"], "answers": [["film", "plot", "film"], ["very"], []]}
    task = Completion(unanswerable="dull")
    assert encoded(tokenizer, rows, unanswerable="dull", prompt="{text} was")["input_ids"] == [
        [6, 12, 7, 3],
        [1, 12, 13, 3],
        [1, 12, 19, 3],
    ]
    seen = view(tokenizer, rows, [[8, 3], [19, 3], [19, 3]])
    expected = [["film", "plot"], ["very", "very"], ["", ""]]
    assert told(task.evaluate(seen)) == (["plot", "", ""], expected, [10, 11, 12])


@pytest.fixture(scope="module")
def toys() -> Any:
    return toy_catalog()


def tuned(toys: Any, llama: Path, folder: Path, name: str, **params: Any) -> tuple[Outcome, Predictions]:
    """Return what a strategy makes of writing down which word of a toy sentence tells its class."""
    rows = ToyDataset(rows=120).read().splits["train"]
    lines = [{"text": row["text"], "completion": ["good film", "bad plot"][row["label"]]} for row in rows]
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data = toys.make(Dataset, "file", {"path": str(folder / "data.jsonl"), "completion": "completion"})
    strategy = toys.make(Strategy, name, params)
    run = Run(
        model=TinyModel(path=str(llama)).reference(),
        stages=(TaskData(dataset=data.reference(), task=Completion(max_new_tokens=4).reference()),),
        strategy=strategy.reference(),
        train=TrainConfig(**{**strategy.training([TASK]), "epochs": 10, "learning_rate": 1e-2, "max_length": 32}),
        seed=0,
    )
    return compute(run, toys, folder / "results"), Store(folder / "results").predictions(run, 1, 0)


def share_right(found: Predictions) -> float:
    return float(np.mean(found.outputs == found.targets))


def test_the_floor_is_the_model_as_it_is(toys, llama, tmp_path):
    outcome, found = tuned(toys, llama, tmp_path, "untuned")
    assert outcome.parameters_trained == 0
    assert share_right(found) == 0


@pytest.mark.slow
# Additions to frozen random embeddings cannot do all that training everything can.
@pytest.mark.parametrize(("name", "least"), [("full", 0.9), ("lora", 0.3)])
def test_strategies_learn_to_write_what_is_right(toys, llama, tmp_path, name, least):
    outcome, found = tuned(toys, llama, tmp_path, name)
    assert share_right(found) > least
    assert outcome.notes == ()


@pytest.mark.slow
def test_what_lies_below_the_trained_blocks_is_kept_for_learning_and_not_for_writing(
    toys, llama, tmp_path, monkeypatch
):
    (tmp_path / "kept").mkdir()
    kept, found = tuned(toys, llama, tmp_path / "kept", "last-layers", layers=1)
    assert kept.notes == ()
    assert share_right(found) > 0.7
    monkeypatch.setattr(splice, "_SHARE_OF_DISK", 0.0)
    (tmp_path / "plain").mkdir()
    plain, expected = tuned(toys, llama, tmp_path / "plain", "last-layers", layers=1)
    assert len(plain.notes) == 1
    assert kept.phases["tune"].flops < plain.phases["tune"].flops
    assert found.outputs.tolist() == expected.outputs.tolist()


def test_it_keeps_the_contract():
    check_component(TASK)


def test_the_right_answer_does_not_tell_how_much_of_the_question_is_answered(tokenizer):
    short, long = (
        TASK.encode({"text": ["the a film is was"], "completion": [right]}, tokenizer, max_length=5)
        for right in ("plot", "plot actor scene very the a")
    )
    assert short["asked"] == long["asked"]
    assert len(short["asked"][0]) == 4
    assert [columns["prompt"][0] for columns in (short, long)] == [3, 1]


TALK = [
    {"role": "system", "content": "the"},
    {"role": "user", "content": "a film"},
    {"role": "assistant", "content": "plot actor"},
    {"role": "user", "content": "scene"},
]
MARKED = (
    "{% for message in messages %}{{ 'is' if message.role == 'assistant' else 'was' }} {{ message.content }} "
    "{% if message.role == 'assistant' %}[SEP] {% endif %}{% endfor %}{% if add_generation_prompt %}is {% endif %}"
)


def learned(tokenizer, talk, completion, max_length=32, **params):
    """Return the prompt that is asked, and the tokens that are learned."""
    rows = {"text": [""], "completion": [completion], "messages": [talk]}
    task = Completion(**params)
    columns = task.encode(rows, tokenizer, max_length)
    batch = task.collate(items(columns), tokenizer)
    labels = batch["labels"][0]
    kept = tokenizer.convert_ids_to_tokens(labels[labels != -100].tolist())
    assert task.weight(items(columns)) == len(kept)
    return " ".join(tokenizer.convert_ids_to_tokens(columns["asked"][0])), " ".join(kept)


def items(columns):
    return {name: values for name, values in columns.items() if name != "truncated"}


def test_every_answer_of_a_talk_is_learned_and_the_last_is_asked_for(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", MARKED)
    asked, kept = learned(tokenizer, TALK, "very")
    assert asked == "was the was a film is plot actor [SEP] was scene is"
    assert kept == "plot actor [SEP] very [SEP]"


def test_a_talk_that_is_cut_loses_its_beginning_and_what_is_left_of_its_answers_is_learned(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", MARKED)
    assert learned(tokenizer, TALK, "very", max_length=8)[1] == "actor [SEP] very [SEP]"


def test_without_a_template_a_talk_has_its_roles_before_its_turns(tokenizer):
    asked, kept = learned(tokenizer, TALK, "very")
    assert asked.count("a film") == 1
    assert kept == "plot actor very [SEP]"


def test_a_template_that_writes_earlier_answers_otherwise_later_has_its_last_answer_learned(tokenizer, monkeypatch):
    changing = "{% for message in messages %}{{ loop.length }} {{ message.content }} {% endfor %}{% if add_generation_prompt %}is {% endif %}"
    monkeypatch.setattr(tokenizer, "chat_template", changing)
    assert learned(tokenizer, TALK, "very")[1] == "very [SEP]"


def test_a_template_that_refuses_a_talk_is_said_in_one_line(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", "{{ raise_exception('no system turn') }}")
    with pytest.raises(HarnessError, match="the model's chat template rejects the messages of a row: no system turn"):
        learned(tokenizer, TALK, "very")


def test_talks_of_one_answer_and_of_several_have_columns_of_one_type(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", MARKED)
    rows = datasets.Dataset.from_dict({"text": ["", ""], "completion": ["very", "very"], "messages": [TALK[:2], TALK]})
    encoded = rows.map(
        lambda some: Completion().encode(some, tokenizer, 32),
        batched=True,
        batch_size=1,
        remove_columns=rows.column_names,
    )
    assert [sum(row) for row in encoded["learned"]] == [0, 3]
    assert [len(row) for row in encoded["learned"]] == [len(row) for row in encoded["input_ids"]]


def test_a_talk_that_the_assistant_begins_is_read(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "chat_template", MARKED)
    assert learned(tokenizer, [TALK[2], TALK[3]], "very")[1] == "very [SEP]"


def test_a_template_that_is_asked_for_must_be_there_for_talks_too(tokenizer):
    with pytest.raises(HarnessError, match="has no chat template; remove chat=true"):
        learned(tokenizer, TALK, "very", chat=True)


@pytest.mark.slow
def test_a_model_is_tuned_on_talks(catalog, llama, tmp_path):
    path = tmp_path / "talks.jsonl"
    asked = [" ".join(words) for words in itertools.product(("film", "plot", "scene", "actor"), repeat=3)]
    talks = [
        [*TALK[:3], {"role": "user", "content": words}, {"role": "assistant", "content": words.split()[0]}]
        for words in asked
    ]
    path.write_text("\n".join(json.dumps({"messages": talk}) for talk in talks))
    run = Run(
        model=TinyModel(path=str(llama)).reference(),
        stages=(
            TaskData(
                dataset=catalog.make(Dataset, "file", {"path": str(path)}).reference(),
                task=Completion(max_new_tokens=2).reference(),
            ),
        ),
        strategy=catalog.make(Strategy, "full", {}).reference(),
        train=TrainConfig(epochs=8, learning_rate=1e-2, max_length=48),
        seed=0,
    )
    compute(run, toy_catalog(catalog), tmp_path / "results")
    events = Store(tmp_path / "results").log(run)
    losses = [event["loss"] for event in events if "loss" in event]
    assert losses[-1] < losses[0] / 2
    found = Store(tmp_path / "results").predictions(run, 1, 0)
    assert set(found.targets.tolist()) <= {"film", "plot", "scene", "actor"}
    assert len(found.outputs) == 13
