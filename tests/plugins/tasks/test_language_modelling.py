from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.modeling_outputs import CausalLMOutput

from harness import Facts, UndefinedError
from harness.contracts import Strategy
from harness.engine.models import RunLoader
from harness.records import Run, TaskData, TrainConfig
from harness.store import Store
from harness.testing import TinyModel, ToyDataset, check_component, compute, toy_catalog, write_tiny_model
from harness_plugins.metrics.nats_per_token import NatsPerToken
from harness_plugins.tasks.language_modelling import LanguageModelling

TASK = LanguageModelling()
TEXTS = ["the film was very good", "a dull plot", "the actor is bright and the scene of it was calm"]


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("llama"), "LlamaForCausalLM", num_key_value_heads=2)


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("bert"), "BertForMaskedLM")


class Successor(nn.Module):
    """A model that is all but certain that each token is followed by the next number."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> CausalLMOutput:
        assert attention_mask.shape == input_ids.shape
        return CausalLMOutput(logits=50 * nn.functional.one_hot(input_ids + 1, num_classes=30).float())


def inputs(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> dict[str, list[Any]]:
    columns = TASK.encode({"text": texts}, tokenizer, max_length=32)
    return {name: values for name, values in columns.items() if name != "truncated"}


def loss_by_hand(model: nn.Module, tokens: list[int]) -> float:
    """Return the summed loss of one text, token by token: position t is asked for token t + 1."""
    logits = model(torch.tensor([tokens])).logits[0]
    return sum(-logits[at].log_softmax(0)[tokens[at + 1]].item() for at in range(len(tokens) - 1))


def test_the_causal_loss_is_that_of_each_next_token(llama):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(llama).eval(), AutoTokenizer.from_pretrained(llama)
    items = inputs(TEXTS, tokenizer)
    with torch.no_grad():
        found = TASK.predict(model, TASK.collate(items, tokenizer))
        expected = [loss_by_hand(model, tokens) for tokens in items["input_ids"]]
    # Padded and alone: the same within single precision.
    assert found[:, 0].tolist() == pytest.approx(expected, rel=1e-5)
    assert found[:, 1].tolist() == [4, 2, 10]


def test_a_model_that_knows_every_next_token_loses_nothing(llama):
    tokenizer = AutoTokenizer.from_pretrained(llama)
    # Neighbours in the vocabulary: only targets shifted by one, and in the right direction, are foreseen.
    items = inputs(["the a film plot actor", "is was very"], tokenizer)
    assert items["input_ids"] == [[5, 6, 7, 8, 9], [11, 12, 13]]
    assert TASK.predict(Successor(), TASK.collate(items, tokenizer)).tolist() == [[0.0, 4.0], [0.0, 2.0]]


def test_the_causal_targets_are_the_tokens_moved_by_one_place(llama):
    tokenizer = AutoTokenizer.from_pretrained(llama)
    batch = TASK.collate(inputs(["the a film plot", "is was"], tokenizer), tokenizer)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [11, 12, 0, 0]]
    assert batch["labels"].tolist() == [[6, 7, 8, -100], [12, -100, -100, -100]]


def test_padding_on_the_left_is_no_target_either(llama):
    tokenizer = AutoTokenizer.from_pretrained(llama, padding_side="left")
    batch = TASK.collate(inputs(["the a film plot", "is was"], tokenizer), tokenizer)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [0, 0, 11, 12]]
    assert batch["labels"].tolist() == [[6, 7, 8, -100], [-100, -100, 12, -100]]


def test_an_end_token_counts_where_the_text_has_it_and_not_where_it_pads(llama):
    tokenizer = AutoTokenizer.from_pretrained(llama)
    tokenizer.eos_token = tokenizer.pad_token
    batch = TASK.collate(inputs(["the a film plot", "is was [PAD]"], tokenizer), tokenizer)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [11, 12, 0, 0]]
    assert batch["labels"].tolist() == [[6, 7, 8, -100], [12, 0, -100, -100]]


def test_the_weight_is_the_number_of_predicted_tokens(llama, bert):
    for folder in (llama, bert):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        items = inputs(TEXTS, tokenizer)
        assert TASK.weight(items) == (TASK.collate(items, tokenizer)["labels"] != -100).sum().item()


def test_the_loss_is_the_sum_over_the_texts(llama):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(llama).eval(), AutoTokenizer.from_pretrained(llama)
    batch = TASK.collate(inputs(TEXTS, tokenizer), tokenizer)
    with torch.no_grad():
        assert TASK.loss(model, batch).item() == pytest.approx(TASK.predict(model, batch)[:, 0].sum().item())


def test_the_same_tokens_are_hidden_each_time_and_whatever_else_is_in_the_batch(bert):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    together = inputs(TEXTS, tokenizer)["hidden"]
    assert inputs(TEXTS, tokenizer)["hidden"] == together
    assert [inputs([text], tokenizer)["hidden"][0] for text in TEXTS] == together


def test_only_tokens_of_the_text_are_hidden_and_in_every_text_one(bert):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    texts = [f"{text} {TEXTS[number % 3]}" for number, text in enumerate(TEXTS * 7)] + ["film"]
    items = inputs(texts, tokenizer)
    for tokens, hidden in zip(items["input_ids"], items["hidden"], strict=True):
        assert len(tokens) == len(hidden)
        assert sum(hidden) >= 1
        assert hidden[0] == hidden[-1] == 0  # [CLS] and [SEP]


def test_the_asked_share_of_tokens_is_hidden(bert):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    texts = [f"{'the film was very good and ' * 4}{'it ' * number}" for number in range(1, 7)]
    half = LanguageModelling(masked_share=0.5).encode({"text": texts}, tokenizer, 64)["hidden"]
    flags = [flag for hidden in half for flag in hidden[1:-1]]
    # Six texts of 165 tokens in all: a fair coin is within 0.15 of one half but once in ten thousand.
    assert len(flags) == 165
    assert sum(flags) / len(flags) == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("side", ["right", "left"])
def test_hidden_tokens_are_the_only_ones_masked_and_the_only_targets(bert, side):
    tokenizer = AutoTokenizer.from_pretrained(bert, padding_side=side)
    items = inputs(TEXTS, tokenizer)
    batch = TASK.collate(items, tokenizer)
    for row, (tokens, hidden) in enumerate(zip(items["input_ids"], items["hidden"], strict=True)):
        real = batch["attention_mask"][row].bool()
        seen = [4 if hide else token for token, hide in zip(tokens, hidden, strict=True)]
        wanted = [token if hide else -100 for token, hide in zip(tokens, hidden, strict=True)]
        assert batch["input_ids"][row][real].tolist() == seen
        assert batch["labels"][row][real].tolist() == wanted
        assert set(batch["labels"][row][~real].tolist()) <= {-100}


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [("BertForMaskedLM", {}), ("LlamaForCausalLM", {"num_key_value_heads": 2})],
    ids=["masked", "causal"],
)
def test_a_model_is_built_under_the_head_it_was_published_with(tmp_path, architecture, settings):
    write_tiny_model(tmp_path, architecture, **settings)
    model = TASK.build(RunLoader(TinyModel(path=str(tmp_path)), TrainConfig()), Facts())
    assert type(model).__name__ == architecture


def test_a_model_published_without_a_language_model_head_is_undefined(tiny_model):
    loader = RunLoader(TinyModel(path=str(tiny_model)), TrainConfig())
    with pytest.raises(UndefinedError) as error:
        TASK.build(loader, Facts())
    reason = "the model was published without a language-model head (as BertModel)"
    assert str(error.value) == reason
    assert TASK.check_model(TinyModel(path=str(tiny_model))) == (
        f"tuning on texts without labels needs a language-model head, but {reason}"
    )


def test_logits_of_what_an_adapter_puts_before_the_text_are_not_its_own(llama):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(llama), AutoTokenizer.from_pretrained(llama)
    adapted = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
    batch = TASK.collate(inputs(TEXTS, tokenizer), tokenizer)
    with torch.no_grad():
        assert TASK.predict(adapted, batch)[:, 1].tolist() == [4, 2, 10]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["full", "last-layers", "lora"])
@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_prose_that_is_tuned_on_is_predicted_better(request, tmp_path, kind, strategy):
    source, toys = TinyModel(path=str(request.getfixturevalue(kind))), toy_catalog()
    assert TASK.check_model(source) is None
    learner = toys.make(Strategy, strategy, {"layers": 1} if strategy == "last-layers" else {})
    run = Run(
        model=source.reference(),
        stages=(TaskData(dataset=ToyDataset(rows=120).reference(), task=TASK.reference()),),
        strategy=learner.reference(),
        train=TrainConfig(**{**learner.training([TASK]), "learning_rate": 1e-2, "max_length": 24}),
        seed=0,
    )
    assert compute(run, toys, tmp_path).notes == ()
    before, after = (Store(tmp_path).predictions(run, moment, 0) for moment in (0, 1))
    score = NatsPerToken().score
    assert score(after.outputs, after.targets) < score(before.outputs, before.targets)


def test_it_keeps_the_contract():
    check_component(TASK)
