from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import AutoTokenizer, BertGenerationConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.modeling_outputs import QuestionAnsweringModelOutput

import harness
from harness import Facts, HarnessError, Predictions
from harness.catalog import Catalog, with_plugin
from harness.contracts import Model
from harness.engine.models import RunLoader
from harness.records import Run, TaskData, TrainConfig
from harness.store import Store
from harness.testing import TinyModel, check_component, compute, toy_catalog, write_tiny_model
from harness_plugins.datasets.file import File
from harness_plugins.metrics import no_answer_accuracy, squad_em, squad_f1
from harness_plugins.metrics.squad_em import SquadEM
from harness_plugins.metrics.squad_f1 import SquadF1
from harness_plugins.strategies.full import Full
from harness_plugins.strategies.untuned import Untuned
from harness_plugins.tasks import question_answering
from harness_plugins.tasks.question_answering import QuestionAnswering

TASK = QuestionAnswering()
PASSAGE = "Bees make honey; flies, as far as anybody knows, make nothing at all. Ants farm lice."
COLUMNS = ["text", "text_pair", "answers", "answer_start"]
T5 = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
NEUTRAL = ("the", "a", "film", "plot", "actor", "scene", "is", "was", "and", "of")
TELLING = ("good", "bad", "dull", "bright")
ROWS = 120


class Given(nn.Module):
    """A model whose scores are given, `[b, tokens]` each."""

    def __init__(self, starts: torch.Tensor, ends: torch.Tensor) -> None:
        super().__init__()
        self.starts, self.ends = starts, ends

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> QuestionAnsweringModelOutput:
        assert input_ids.shape == attention_mask.shape == self.starts.shape
        return QuestionAnsweringModelOutput(start_logits=self.starts, end_logits=self.ends)


class Spelled(nn.Module):
    """A model whose scores follow from a token alone."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> QuestionAnsweringModelOutput:
        assert attention_mask.shape == input_ids.shape
        return QuestionAnsweringModelOutput(start_logits=(input_ids % 5).float(), end_logits=(input_ids % 7).float())


@dataclass
class Seen:
    """What `evaluate` looks at, of one split and of train."""

    test: Mapping[str, list[Any]]
    found: NDArray[Any]
    of: list[int]
    train: Mapping[str, list[Any]]

    def rows(self, split: str) -> datasets.Dataset:
        return datasets.Dataset.from_dict(dict(self.train if split == "train" else self.test))

    def outputs(self, split: str) -> NDArray[Any]:
        assert split == "test"
        return self.found

    def ids(self, split: str) -> NDArray[Any]:
        assert split == "test"
        return np.array(self.of)


@pytest.fixture(scope="module")
def minilm(catalog: Catalog) -> PreTrainedTokenizerBase:
    """A real tokenizer of word pieces, with a class token."""
    return catalog.make(Model, "minilm", {}).tokenizer()


@pytest.fixture
def tiny_tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    """A tokenizer of whole words: [CLS] is 2, [SEP] 3, `the` 5."""
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def byte_pieces() -> PreTrainedTokenizerBase:
    """A tokenizer like GPT-2's: no special tokens, and a piece holds the space before it."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<pad>"], show_progress=False
    )
    backend.train_from_iterator([PASSAGE] * 20, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")


def rows(answer: str = "", question: str = "What do bees make?", passage: str = PASSAGE) -> dict[str, list[Any]]:
    """Return one row whose only answer is the first place of `answer`; none if that is empty."""
    answers = [answer] if answer else []
    starts = [passage.index(answer)] if answer else []
    return {"text": [question], "text_pair": [passage], "answers": [answers], "answer_start": [starts], "id": [0]}


def joined(*parts: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}


def items(columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Return what is handed to `collate`."""
    return {name: values for name, values in columns.items() if name not in {"truncated", "row"}}


def labelled(columns: Mapping[str, list[Any]], window: int, passage: str = PASSAGE) -> str:
    """Return the text that a window's label marks."""
    first, last = columns["labels"][window]
    return passage[columns["char_starts"][window][first] : columns["char_ends"][window][last]]


def test_it_keeps_the_contract():
    check_component(TASK)


@pytest.mark.parametrize(
    ("architecture", "settings", "head"),
    [
        ("BertModel", {"num_labels": 3}, "BertForQuestionAnswering"),
        ("LlamaForCausalLM", {"num_key_value_heads": 2}, "LlamaForQuestionAnswering"),
        ("GPT2LMHeadModel", {}, "GPT2ForQuestionAnswering"),
        ("GemmaForCausalLM", {"num_key_value_heads": 2, "head_dim": 16}, "GemmaForTokenClassification"),
        ("T5EncoderModel", T5, "T5ForTokenClassification"),
        ("T5ForConditionalGeneration", T5, "T5ForTokenClassification"),
    ],
    ids=["encoder with other labels", "decoder", "GPT-2", "decoder without a class for it", "encoder out of two parts", "encoder and decoder"],
)  # fmt: skip
def test_a_head_scores_each_token_as_start_and_end(tmp_path, architecture, settings, head):
    folder = write_tiny_model(tmp_path, architecture, **settings)
    model = TASK.build(RunLoader(TinyModel(path=str(folder)), TrainConfig()), Facts())
    assert type(model).__name__ == head
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoded = TASK.encode(rows("dull", "is it", "the film was dull"), tokenizer, 16)
    with torch.no_grad():
        found = TASK.predict(model.eval(), TASK.collate(items(encoded), tokenizer))
    assert found.shape == (1, 6, 3)
    assert found.isfinite().all()


def test_a_model_that_no_head_exists_for_is_refused():
    loader = SimpleNamespace(config=BertGenerationConfig())
    with pytest.raises(HarnessError) as error:
        TASK.build(loader, Facts())
    assert (
        str(error.value)
        == "transformers has no question-answering head for models of type 'bert-generation'; use another model"
    )


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (COLUMNS, None),
        (COLUMNS[:2], "needs a column 'answers', but the data has: text, text_pair"),
        (["text", *COLUMNS[2:]], "needs a column 'text_pair', but the data has: text, answers, answer_start"),
        (COLUMNS[1:], "needs a column 'text', but the data has: text_pair, answers, answer_start"),
    ],
    ids=["fitting", "no answers", "no passage", "no question"],
)
def test_data_that_does_not_suit_is_refused_with_the_reason(columns, reason):
    assert TASK.check(Facts(), columns) == reason


@pytest.mark.parametrize("tokens", [16, 20, 512])
def test_the_windows_of_a_row_cover_every_token_of_its_passage(minilm, tokens):
    given = joined(rows("nothing at all"), rows(), rows("so", "Why?", "Just so."))
    encoded = TASK.encode(given, minilm, tokens)
    assert all(len(window) <= tokens for window in encoded["input_ids"])
    assert set(encoded["row"]) == {0, 1, 2}
    assert (len(encoded["row"]) > 3) == (tokens < 512)
    for row, passage in enumerate(given["text_pair"]):
        windows = [number for number, of in enumerate(encoded["row"]) if of == row]
        places = {
            (start, end)
            for number in windows
            for start, end in zip(encoded["char_starts"][number], encoded["char_ends"][number], strict=True)
            if start >= 0
        }
        assert sorted(places) == minilm(passage, add_special_tokens=False).encodings[0].offsets
    assert encoded["truncated"] == [False] * len(encoded["row"])


@pytest.mark.parametrize(("stride", "shared"), [(0, 0), (3, 3), (64, 4)], ids=["none", "asked", "half of what is left"])
def test_neighbouring_windows_share_as_many_tokens_as_asked_or_as_can_be(minilm, stride, shared):
    # 20 tokens but 3 special ones: 8 for a question, so 9 for the passage, and half of that to share.
    encoded = QuestionAnswering(stride=stride).encode(rows(), minilm, 20)
    first, second = ({start for start in starts if start >= 0} for starts in encoded["char_starts"][:2])
    assert len(first & second) == shared


def test_the_label_is_the_first_answer_in_windows_that_hold_it_wholly_and_the_first_token_elsewhere(minilm):
    encoded = QuestionAnswering(stride=3).encode(rows("nothing at all"), minilm, 18)
    seen = [
        PASSAGE[min(start for start in starts if start >= 0) : max(ends)]
        for starts, ends in zip(encoded["char_starts"], encoded["char_ends"], strict=True)
    ]
    held = ["nothing at all" in text for text in seen]
    assert held == [False, True, False]
    assert labelled(encoded, 1) == "nothing at all"
    assert encoded["labels"][0] == encoded["labels"][2] == [0, 0]


@pytest.mark.parametrize("tokenizer", ["minilm", "byte_pieces"])
@pytest.mark.parametrize("answer", ["Bees", "honey", " far as", "lice", "flies, as far as anybody knows"])
def test_the_label_stands_for_the_answers_characters(request, tokenizer, answer):
    encoded = TASK.encode(rows(answer), request.getfixturevalue(tokenizer), 128)
    assert labelled(encoded, 0).strip() == answer.strip()


def test_a_row_without_an_answer_is_labelled_with_the_first_token(minilm):
    assert TASK.encode(rows(), minilm, 128)["labels"] == [[0, 0]]


def test_of_the_passage_only_can_an_answer_be(minilm):
    encoded = TASK.encode(rows(), minilm, 128)
    tokens = minilm.convert_ids_to_tokens(encoded["input_ids"][0])
    assert tokens[:8] == ["[CLS]", "what", "do", "bees", "make", "?", "[SEP]", "bees"]
    assert encoded["char_starts"][0][:8] == [-1] * 7 + [0]
    assert encoded["char_ends"][0][-2:] == [len(PASSAGE), -1]
    assert encoded["token_type_ids"][0][6:8] == [0, 1]


def test_a_long_question_is_cut_and_its_row_counted_once(minilm):
    given = joined(rows("honey", "what " * 40), rows("honey"))
    encoded = QuestionAnswering(longest_question=6).encode(given, minilm, 20)
    assert encoded["row"] == [0, 0, 0, 1, 1, 1]
    assert encoded["truncated"] == [True, False, False, False, False, False]
    assert minilm.decode(encoded["input_ids"][0]).startswith("[CLS] what what what what what what [SEP] bees")


def test_a_question_takes_at_most_half_of_what_there_is(minilm):
    encoded = TASK.encode(rows("honey", "what " * 40), minilm, 13)
    assert [window.index(102) for window in encoded["input_ids"]] == [6] * len(encoded["row"])


def test_a_length_that_leaves_no_room_is_refused(minilm):
    with pytest.raises(HarnessError) as error:
        TASK.encode(rows(), minilm, 6)
    assert str(error.value) == "train.max_length is 6, but a question and a passage need at least 7"


def test_an_empty_passage_has_no_answer(minilm):
    encoded = TASK.encode(rows(passage=""), minilm, 32)
    assert encoded["labels"] == [[0, 0]]
    batch = TASK.collate(items(encoded), minilm)
    zeros = torch.zeros(batch["input_ids"].shape)
    assert TASK.predict(Given(zeros, zeros), batch).tolist() == [[[0.0, 0.0, 0.0]] * 6]


@pytest.mark.parametrize("tokenizer", ["minilm", "byte_pieces"])
def test_padding_on_the_left_changes_neither_loss_nor_answers(request, monkeypatch, tokenizer):
    tokenizer = request.getfixturevalue(tokenizer)
    # What a token says decides its score: so an answer is found wherever padding moves it.
    encoded = items(TASK.encode(joined(rows("honey"), rows("so", "Why?", "Just so."), rows()), tokenizer, 128))
    encoded.pop("token_type_ids", None)
    batches = []
    for side in ("right", "left"):
        monkeypatch.setattr(tokenizer, "padding_side", side)
        batches.append(TASK.collate(encoded, tokenizer))
    right, left = batches
    assert not torch.equal(right["labels"], left["labels"])
    for label, tokens in ((right["labels"], right["input_ids"]), (left["labels"], left["input_ids"])):
        assert tokens.gather(1, label)[1, 0] == encoded["input_ids"][1][encoded["labels"][1][0]]
    # The padding, numbered 0, scores least: the loss must leave it out all the same.
    assert TASK.loss(Spelled(), right).item() == pytest.approx(TASK.loss(Spelled(), left).item(), rel=1e-6)
    assert torch.equal(TASK.predict(Spelled(), right)[:, 0], TASK.predict(Spelled(), left)[:, 0])
    assert torch.equal(TASK.predict(Spelled(), right)[..., 2], TASK.predict(Spelled(), left)[..., 2])


def test_the_loss_of_a_window_does_not_depend_on_its_neighbours(minilm):
    one, other = (items(TASK.encode(given, minilm, 128)) for given in (rows("so", "Why?", "Just so."), rows("honey")))
    for encoded in (one, other):
        encoded.pop("token_type_ids")
    alone = [TASK.loss(Spelled(), TASK.collate(encoded, minilm)).item() for encoded in (one, other)]
    together = TASK.loss(Spelled(), TASK.collate(joined(one, other), minilm)).item()
    assert together == pytest.approx(sum(alone), rel=1e-6)


def test_the_loss_is_the_mean_of_the_starts_and_the_ends_cross_entropy(tiny_tokenizer):
    encoded = items(TASK.encode(rows("dull", "is it", "the film was dull"), tiny_tokenizer, 16))
    assert encoded["labels"] == [[7, 7]]
    batch = TASK.collate(encoded, tiny_tokenizer)
    starts, ends = torch.zeros(1, 9), torch.zeros(1, 9)
    # Of [CLS] and four words, each of even chance: 1/5. Odds of 4 to 1 for the right one: 1/2. The question cannot win.
    ends[0, 7] = np.log(4)
    ends[0, 1] = 100.0
    expected = -(np.log(1 / 5) + np.log(1 / 2)) / 2
    assert TASK.loss(Given(starts, ends), batch).item() == pytest.approx(expected, rel=1e-6)
    assert TASK.weight(encoded) == 1


@pytest.mark.parametrize("longest", [1, 3, 30])
def test_the_predicted_spans_are_the_best_of_all_there_are(minilm, longest):
    task = QuestionAnswering(longest_answer=longest, n_best=4)
    batch = task.collate(items(task.encode(joined(rows(), rows(passage="Just so.")), minilm, 24)), minilm)
    shape = batch["input_ids"].shape
    starts, ends = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    found = task.predict(Given(starts, ends), batch)
    for window in range(shape[0]):
        places = list(zip(batch["char_starts"][window].tolist(), batch["char_ends"][window].tolist(), strict=True))
        spans = [
            (places[i][0], places[j][1], (starts[window, i] + ends[window, j]).item())
            for i in range(shape[1])
            for j in range(i, min(i + longest, shape[1]))
            if places[i][0] >= 0 and places[j][0] >= 0
        ]
        best = sorted(spans, key=lambda span: -span[2])[:4]
        none = (0.0, 0.0, (starts[window, 0] + ends[window, 0]).item())
        expected = [none, *best, *[none] * (4 - len(best))]
        assert found[window].numpy() == pytest.approx(np.array(expected), abs=1e-6)


def answer(
    task: QuestionAnswering, *windows: list[tuple[float, float, float]], train: list[list[str]] | None = None
) -> str:
    """Return what is answered to a question whose windows are predicted so."""
    seen = Seen(rows("honey"), np.array(windows), [0] * len(windows), {"answers": train or [[]]})
    return str(task.evaluate(seen).outputs[0])


BEES, HONEY, FLIES = (0.0, 4.0), (10.0, 15.0), (17.0, 22.0)


def test_the_best_span_of_all_windows_is_the_answer():
    assert (
        answer(TASK, [(0, 0, 1.0), (*BEES, 3.0)], [(0, 0, 2.0), (*HONEY, 4.0)], [(0, 0, 2.0), (*FLIES, 3.5)]) == "honey"
    )


def test_no_answer_is_given_only_if_every_window_has_none():
    assert answer(TASK, [(0, 0, 5.0), (*BEES, 3.0)], [(0, 0, 6.0), (*HONEY, 4.0)]) == ""
    # The second window sees that there is one, which need not be its own.
    assert answer(TASK, [(0, 0, 5.0), (*BEES, 3.0)], [(0, 0, 2.0), (*HONEY, 1.0)]) == "Bees"


@pytest.mark.parametrize(("threshold", "expected"), [(-2.5, ""), (-1.0, "Bees"), (0.0, "Bees")])
def test_a_threshold_weighs_no_answer_against_the_best(threshold, expected):
    # 2 > 4 + threshold only below -2.
    assert answer(QuestionAnswering(null_threshold=threshold), [(0, 0, 2.0), (*BEES, 4.0)]) == expected


def test_a_place_without_a_span_is_no_answer_however_high_its_score():
    assert answer(TASK, [(0, 0, 9.0), (0, 0, 9.0)], [(0, 0, 1.0), (*HONEY, 2.0)]) == "honey"
    assert answer(TASK, [(0, 0, 9.0), (0, 0, 9.0)]) == ""


def test_where_every_question_of_train_has_an_answer_one_is_always_given():
    assert answer(TASK, [(0, 0, 5.0), (*BEES, 3.0)], train=[["honey"], ["lice"]]) == "Bees"
    assert answer(TASK, [(0, 0, 5.0), (*BEES, 3.0)], train=[["honey"], []]) == ""


def test_rows_with_fewer_answers_repeat_their_first_and_those_without_have_empty_ones():
    given = joined(rows("honey"), rows(), rows("lice"))
    given["answers"][2] = ["lice", "farm lice", "lice"]
    given["id"] = [7, 3, 9]
    found = TASK.evaluate(Seen(given, np.zeros((4, 6, 3)), [3, 7, 7, 9], {"answers": [[]]}))
    assert found.targets.tolist() == [["honey", "honey"], ["", ""], ["lice", "farm lice"]]
    assert found.outputs.tolist() == ["", "", ""]
    assert found.ids.tolist() == [7, 3, 9]


@pytest.mark.parametrize("tokenizer", ["minilm", "byte_pieces"])
def test_a_model_that_knows_the_labels_answers_every_published_question(request, shared_data, tokenizer):
    tokenizer = request.getfixturevalue(tokenizer)
    published = File(path=str(shared_data / "squad" / "dev-v2.0.json")).read().splits["train"]
    frame = published.select(range(0, len(published), 151))
    given = {name: frame[name][:] for name in COLUMNS} | {"id": list(range(len(frame)))}
    task = QuestionAnswering(longest_answer=100)
    encoded = task.encode(given, tokenizer, 192)
    batch = task.collate(items(encoded), tokenizer)
    starts, ends = (nn.functional.one_hot(at, batch["input_ids"].shape[1]).float() for at in batch["labels"].unbind(1))
    outputs = task.predict(Given(starts, ends), batch).numpy()
    found = task.evaluate(Seen(given, outputs, encoded["row"], given))
    assert len(encoded["row"]) > len(frame) == 41
    assert sum(text == "" for text in found.outputs) == sum(not answers for answers in given["answers"]) > 10
    assert SquadEM().score(found.outputs, found.targets) == 1.0


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_floor_finds_nothing_and_where_it_must_it_takes_the_first_token(minilm, monkeypatch, side):
    monkeypatch.setattr(minilm, "padding_side", side)
    baseline = TASK.baseline(lambda: np.zeros((1, 2)), Facts())
    given = joined(rows("honey"), rows("so", "Why?", "Just so."))
    given["id"] = [0, 1]
    outputs = TASK.predict(baseline, TASK.collate(items(TASK.encode(given, minilm, 128)), minilm)).numpy()
    for train, expected in (([[]], ["", ""]), ([["honey"]], ["Bees", "Just"])):
        assert TASK.evaluate(Seen(given, outputs, [0, 1], {"answers": train})).outputs.tolist() == expected


class Telling(harness.Dataset):
    """Passages in which the one telling word is the answer, or that have none."""

    name = "telling"
    task = "question-answering"
    watch_task = "probe"

    def read(self) -> dict[harness.Split, datasets.Dataset]:
        random = np.random.default_rng(0)
        parts = []
        for number in range(ROWS):
            words = list(random.choice(NEUTRAL, size=int(random.integers(8, 30))))
            telling = TELLING[number % 4]
            if number % 3:
                words[int(random.integers(len(words)))] = telling
            parts.append(rows(telling if number % 3 else "", "is it very", " ".join(words)))
        table = joined(*parts)
        del table["id"]
        return {"train": datasets.Dataset.from_dict(table)}


class Offering:
    """The dataset as a plugin."""

    @harness.hookimpl
    def harness_datasets(self) -> list[type[harness.Dataset]]:
        return [Telling]


def answered(catalog: Catalog, folder: Path, model: Path, strategy: harness.Strategy, epochs: int = 1) -> Predictions:
    """Return a tuned model's answers to the test split; windows of 24 tokens."""
    catalog = with_plugin(toy_catalog(catalog), Offering(), "telling")
    for module in (question_answering, squad_f1, squad_em, no_answer_accuracy):
        if not catalog.plugins.is_registered(module):
            catalog = with_plugin(catalog, module, module.__name__)
    run = Run(
        model=TinyModel(path=str(model)).reference(),
        stages=(TaskData(dataset=Telling().reference(), task=TASK.reference()),),
        strategy=strategy.reference(),
        train=TrainConfig(epochs=epochs, learning_rate=1e-2, batch_size=8, max_length=24),
        seed=0,
    )
    outcome = compute(run, catalog, folder / "results")
    note = outcome.data[0].splits["test"]
    assert note.windows > note.items == ROWS // 5
    return Store(folder / "results").predictions(run, 1, 0)


def test_a_tuned_encoder_finds_answers_in_windows(catalog, tiny_model, tmp_path):
    found = answered(catalog, tmp_path, tiny_model, Full(), epochs=6)
    assert len(set(found.ids.tolist())) == len(found.outputs) == ROWS // 5
    assert set(found.outputs.tolist()) <= {"", *TELLING}
    assert SquadF1().score(found.outputs, found.targets) > 0.9


def test_a_decoder_is_tuned_too(catalog, tmp_path):
    model = write_tiny_model(tmp_path / "llama", "LlamaForCausalLM", num_key_value_heads=2)
    found = answered(catalog, tmp_path, model, Full(), epochs=6)
    assert len(set(found.ids.tolist())) == len(found.outputs) == ROWS // 5
    assert SquadF1().score(found.outputs, found.targets) > 0.9


def test_the_untuned_floor_is_right_where_there_is_no_answer(catalog, tiny_model, tmp_path):
    found = answered(catalog, tmp_path, tiny_model, Untuned())
    assert set(found.outputs.tolist()) == {""}
    assert SquadEM().score(found.outputs, found.targets) == np.mean(
        [not any(right) for right in found.targets.tolist()]
    )
