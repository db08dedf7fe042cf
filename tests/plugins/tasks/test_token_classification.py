import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.modeling_outputs import TokenClassifierOutput

import harness
from harness import Facts, HarnessError, Predictions
from harness.catalog import Catalog, with_plugin
from harness.contracts import Model
from harness.engine.models import RunLoader
from harness.records import Outcome, Run, TaskData, TrainConfig
from harness.store import Store
from harness.testing import TinyModel, check_component, compute, toy_catalog
from harness_plugins.strategies.full import Full
from harness_plugins.strategies.untuned import Untuned
from harness_plugins.tasks.token_classification import TokenClassification

TASK = TokenClassification()
CLASSES = ("O", "B-praise", "I-praise")
FACTS = Facts(CLASSES)
WORDS = [["Dunkelziffern", "are", "not", "O'Reilly's", "."], ["Zaphod", "Beeblebrox"]]
TAGS = [[0, 0, 0, 1, 0], [1, 2]]


class Spelled(nn.Module):
    """A model whose scores at a piece are all for the class that the piece's number leaves when divided by three."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> TokenClassifierOutput:
        assert attention_mask.shape == input_ids.shape
        return TokenClassifierOutput(logits=math.log(8) * nn.functional.one_hot(input_ids % 3, num_classes=3).float())


@pytest.fixture(scope="module")
def minilm(catalog: Catalog) -> PreTrainedTokenizerBase:
    """A real tokenizer of word pieces."""
    return catalog.make(Model, "minilm", {}).tokenizer()


@pytest.fixture
def tiny_tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    """A tokenizer of whole words: [CLS] is 2, [SEP] 3, `the` 5."""
    return AutoTokenizer.from_pretrained(tiny_model)


def trained(kind: str) -> PreTrainedTokenizerBase:
    """Return a small tokenizer whose pieces hold the space before them, as those of RoBERTa, GPT-2 or XLM-R do."""
    backend = Tokenizer(models.BPE())
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if kind == "sentence pieces":
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        alphabet = [*"▁☃,é"]
    else:
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        backend.post_processor = processors.ByteLevel(trim_offsets=kind == "bytes, trimmed")
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, special_tokens=["<pad>"], show_progress=False
    )
    backend.train_from_iterator(
        ["the cat sat on the mat", "not the cats of Mrs Miller", "O'Reilly's isn't fat"] * 20, trainer
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")


def encoded(
    tokenizer: PreTrainedTokenizerBase, words: list[list[str]], tags: list[list[int]] | None = None, longest: int = 32
) -> dict[str, list[Any]]:
    tags = tags or [[0] * len(row) for row in words]
    return TASK.encode({"words": words, "tags": tags, "id": list(range(len(words)))}, tokenizer, longest)


def batch(tokenizer: PreTrainedTokenizerBase, columns: Mapping[str, list[Any]]) -> Mapping[str, torch.Tensor]:
    return TASK.collate({key: values for key, values in columns.items() if key != "truncated"}, tokenizer)


def test_it_keeps_the_contract():
    check_component(TASK)


def test_a_new_head_has_the_tags_by_name(tiny_model):
    model = TASK.build(RunLoader(TinyModel(path=str(tiny_model)), TrainConfig()), FACTS)
    assert type(model).__name__ == "BertForTokenClassification"
    assert model.classifier.out_features == 3
    assert model.config.id2label == dict(enumerate(CLASSES))


def test_each_word_is_tagged_at_its_first_piece(minilm):
    columns = encoded(minilm, WORDS, TAGS)
    pieces = minilm.convert_ids_to_tokens(columns["input_ids"][0])
    assert pieces == [
        *("[CLS]", "dun", "##kel", "##zi", "##ffer", "##n", "are", "not", "o", "'", "reilly", "'", "s", ".", "[SEP]"),
    ]
    assert columns["first"][0] == [1, 6, 7, 8, 13]
    second = minilm.convert_ids_to_tokens(columns["input_ids"][1])
    assert [second[at] for at in columns["first"][1]] == ["za", "bee"]
    assert columns["labels"] == TAGS
    assert columns["truncated"] == [False, False]


@pytest.mark.parametrize("kind", ["bytes", "bytes, trimmed", "sentence pieces"])
def test_pieces_that_hold_a_space_are_their_words(kind):
    tokenizer = trained(kind)
    words = ["the", "cat", "isn't", "☃☃", "O'Reilly's", ",", "Mrs", "é"]
    columns = encoded(tokenizer, [words])
    # As the tokenizer cuts the text, spaces and all, and not word by word.
    assert columns["input_ids"] == [tokenizer(" ".join(words))["input_ids"]]
    first = columns["first"][0]
    assert first == sorted(set(first))
    for at, end, word in zip(first, [*first[1:], None], words, strict=True):
        assert tokenizer.decode(columns["input_ids"][0][at:end]).strip() == word


def test_a_word_of_which_the_tokenizer_leaves_nothing_has_no_piece_and_is_not_cut_off(minilm):
    # A variation selector, which may stand alone where an emoji was taken apart.
    columns = encoded(minilm, [["good", "\ufe0f", "film"]], [[1, 0, 2]])
    assert columns["first"] == [[1, -1, 2]]
    assert columns["truncated"] == [False]
    assert TASK.weight(columns) == 2
    assert batch(minilm, columns)["labels"].tolist() == [[1, -100, 2]]


def test_words_behind_the_greatest_length_have_no_piece(minilm):
    columns = encoded(minilm, WORDS, TAGS, longest=9)
    assert len(columns["input_ids"][0]) == 9
    assert columns["first"] == [[1, 6, 7, -1, -1], [1, 4]]
    assert columns["truncated"] == [True, False]
    assert columns["labels"] == TAGS


def test_a_tokenizer_that_does_not_know_its_places_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(HarnessError) as error:
        encoded(Slow(), WORDS)
    assert str(error.value) == (
        "task 'token-classification': the tokenizer Slow does not give character offsets of "
        "tokens; use a model with a fast tokenizer"
    )


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_moves_neither_words_nor_tags(tiny_model, side):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model, padding_side=side)
    together = batch(tokenizer, encoded(tokenizer, [["the", "good", "plot"], ["film"]], [[0, 1, 2], [1]]))
    pieces = together["input_ids"].gather(1, together["first"].clamp(min=0))
    assert tokenizer.convert_ids_to_tokens(pieces[0].tolist()) == ["the", "good", "plot"]
    assert tokenizer.convert_ids_to_tokens(pieces[1, :1].tolist()) == ["film"]
    assert together["first"][1, 1:].tolist() == [-1, -1]
    assert together["labels"].tolist() == [[0, 1, 2], [1, -100, -100]]


def test_the_loss_is_the_cross_entropy_summed_over_words_and_looks_at_no_other_piece(tiny_tokenizer):
    # Numbers 5 to 8: classes 2, 0, 1 and 2, with odds of 8 to 1 to 1.
    columns = encoded(tiny_tokenizer, [["the", "a", "film"], ["plot"]], [[2, 0, 0], [2]])
    assert columns["input_ids"] == [[2, 5, 6, 7, 3], [2, 8, 3]]
    expected = -3 * math.log(8 / 10) - math.log(1 / 10)
    assert TASK.loss(Spelled(), batch(tiny_tokenizer, columns)).item() == pytest.approx(expected, rel=1e-6)
    assert TASK.weight(columns) == 4


def test_the_loss_of_texts_without_a_word_left_is_0(minilm):
    columns = encoded(minilm, [["\ufe0f"]])
    assert TASK.weight(columns) == 1
    assert TASK.loss(Spelled(), without_types(batch(minilm, columns))).item() == 0.0


def without_types(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in inputs.items() if name != "token_type_ids"}


def test_the_prediction_is_the_tag_of_each_words_first_piece(minilm):
    columns = encoded(minilm, WORDS, TAGS, longest=9)
    found = TASK.predict(Spelled(), without_types(batch(minilm, columns)))
    tokens = columns["input_ids"]
    assert found.tolist() == [
        [tokens[0][1] % 3, tokens[0][6] % 3, tokens[0][7] % 3, -1, -1],
        [tokens[1][1] % 3, tokens[1][4] % 3, -1, -1, -1],
    ]


class Given:
    """A view of predicted tag numbers given in the test."""

    facts = FACTS

    def __init__(self, outputs: list[list[float]], tags: list[list[int]]) -> None:
        self._outputs, self._tags = np.array(outputs, dtype=np.float32), tags

    def outputs(self, split: str) -> np.ndarray:
        assert split == "test"
        return self._outputs

    def rows(self, split: str) -> dict[str, list[list[int]]]:
        assert split == "test"
        return {"tags": self._tags}

    def ids(self, split: str) -> np.ndarray:
        assert split == "test"
        return np.arange(len(self._tags))


def test_tags_are_told_by_name_and_what_has_no_piece_is_answered_o():
    nan = float("nan")
    found = TASK.evaluate(Given([[1, 2, -1, -1], [2, -1, nan, nan], [0, nan, nan, nan]], [[1, 2, 1, 2], [1, 2], [0]]))
    assert found.targets.tolist() == [
        ["B-praise", "I-praise", "B-praise", "I-praise"],
        ["B-praise", "I-praise", "", ""],
        ["O", "", "", ""],
    ]
    assert found.outputs.tolist() == [["B-praise", "I-praise", "O", "O"], ["I-praise", "O", "", ""], ["O", "", "", ""]]
    assert not found.outputs.dtype.hasobject
    assert not found.targets.dtype.hasobject


@pytest.mark.parametrize(
    "targets",
    [np.array([np.array([0, 0, 1]), np.array([0])], dtype=object), np.array([[0, 0], [1, 0]])],
    ids=["ragged", "even"],
)
def test_the_floor_answers_the_most_frequent_tag_whatever_the_text(targets, tiny_tokenizer):
    baseline = TASK.baseline(lambda: targets, FACTS)
    together = batch(tiny_tokenizer, encoded(tiny_tokenizer, [["the", "good"], ["film"]]))
    assert TASK.predict(baseline, together).tolist() == [[0, 0], [0, -1]]


@pytest.mark.parametrize(
    ("classes", "columns", "reason"),
    [
        (CLASSES, ["text", "words", "tags"], None),
        (
            ("no", "yes"),
            ["text", "label"],
            "needs the words of each text and their tags, as in a CoNLL file, but the data has: text, label",
        ),
        (("O", "person"), ["text", "words", "tags"], "needs the tags O, B-TYPE and I-TYPE, but the data has 'person'"),
        (
            ("B-person",),
            ["text", "words", "tags"],
            "needs the tag O and at least one other, but the data has only 'B-person'",
        ),
        (("O",), ["text", "words", "tags"], "needs the tag O and at least one other, but the data has only 'O'"),
        (None, ["text", "words", "tags"], "needs the tag O and at least one other, but the data has only none"),
        (CLASSES, ["words", "tags"], "needs a column 'text', but the data has: words, tags"),
    ],
    ids=["fitting", "no words", "another scheme", "never O", "only O", "no tags", "no texts"],
)
def test_data_that_does_not_suit_is_refused_with_the_reason(classes, columns, reason):
    assert TASK.check(Facts(classes), columns) == reason


class Praise(harness.Dataset):
    """Sentences in which two words that praise stand next to each other; every fourth one is long."""

    name = "praise"
    task = "token-classification"
    watch_task = "representation"

    def read(self) -> "Mapping[harness.Split, Any]":
        import datasets

        neutral = ("the", "film", "plot", "is")
        rows: dict[str, list[Any]] = {"words": [], "tags": [], "text": []}
        for number in range(64):
            before = [neutral[number % 4], neutral[number // 4 % 4], neutral[number // 16]] * (
                3 if number % 5 == 0 else 1
            )
            rows["words"].append([*before, "good", "bright", "scene"])
            rows["tags"].append([0] * len(before) + [1, 2, 0])
            rows["text"].append(" ".join(rows["words"][-1]))
        return {"train": datasets.Dataset.from_dict(rows)}

    def facts(self) -> Facts:
        return FACTS


class Offering:
    @harness.hookimpl
    def harness_datasets(self) -> list[type[harness.Dataset]]:
        return [Praise]


def tuned(strategy: harness.Strategy, catalog: Catalog, model: Path, folder: Path) -> tuple[Predictions, Outcome]:
    """Return what a model says of the test split that reads eight pieces, which are six words, and the run's outcome."""
    catalog = with_plugin(toy_catalog(catalog), Offering(), "praise")
    run = Run(
        model=TinyModel(path=str(model)).reference(),
        stages=(TaskData(dataset=Praise().reference(), task=TASK.reference()),),
        watch=(),
        strategy=strategy.reference(),
        train=TrainConfig(epochs=6, batch_size=4, max_length=8, learning_rate=5e-3),
        seed=0,
    )
    outcome = compute(run, catalog, folder)
    return Store(folder).predictions(run, 1, 0), outcome


def test_a_tuned_model_finds_the_entities_but_those_that_were_cut_off(catalog, tiny_model, tmp_path):
    found, outcome = tuned(Full(), catalog, tiny_model, tmp_path)
    assert found.outputs.shape == found.targets.shape == (13, 12)
    assert len(set(found.ids.tolist())) == 13
    long = (found.targets != "").sum(1) == 12
    assert 0 < long.sum() < 13
    assert outcome.data[0].splits["test"].truncated == long.sum()
    assert (found.targets == "B-praise").sum() == 13
    assert np.array_equal(found.outputs[~long], found.targets[~long])
    assert (found.outputs[long, 6:12] == "O").all()
    recall = catalog.make(harness.Metric, "entity-recall", {}).score(found.outputs, found.targets)
    assert recall == 1 - long.sum() / 13


def test_the_floor_finds_none(catalog, tiny_model, tmp_path):
    found, _ = tuned(Untuned(), catalog, tiny_model, tmp_path)
    assert set(found.outputs.ravel().tolist()) <= {"O", ""}
    assert np.array_equal(found.outputs == "", found.targets == "")
    assert catalog.make(harness.Metric, "entity-f1", {}).score(found.outputs, found.targets) == 0.0
