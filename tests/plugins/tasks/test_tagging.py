import numpy as np
import pytest

from harness import Facts, UndefinedError
from harness.contracts import Dataset, Strategy
from harness.records import Run, TaskData, TrainConfig
from harness.store import Store
from harness.testing import TinyModel, check_component, check_metric, compute, toy_catalog
from harness_plugins.metrics.word_accuracy import WordAccuracy
from harness_plugins.tasks.tagging import Tagging


def test_every_word_counts_alike_and_what_is_beyond_a_text_does_not():
    outputs = np.array([["NN", "VB", "DT"], ["NN", "", ""]])
    targets = np.array([["NN", "VB", "NN"], ["VB", "", ""]])
    check_metric(WordAccuracy(), outputs, targets, 2 / 4)


def test_class_scores_are_no_tags():
    with pytest.raises(UndefinedError):
        WordAccuracy().score(np.zeros((2, 3)), np.zeros(2, dtype=int))


@pytest.mark.parametrize(
    ("classes", "columns", "reason"),
    [
        (("NN", "VB"), ["text", "words", "tags"], None),
        (("NN",), ["text", "words", "tags"], "needs at least two tags, but the data has only 'NN'"),
        (("NN", "VB"), ["text", "label"], "needs the words of each text and their tags, as in a CoNLL file, but the data has: text, label"),
    ],
)  # fmt: skip
def test_data_that_has_no_tags_of_words_is_refused(classes, columns, reason):
    assert Tagging().check(Facts(classes), columns) == reason


def test_it_keeps_the_contract():
    check_component(Tagging())


@pytest.mark.slow
def test_a_model_learns_tags_of_words(catalog, tiny_model, tmp_path):
    tags = {"the": "DT", "a": "DT", "film": "NN", "plot": "NN", "is": "VB", "was": "VB"}
    random = np.random.default_rng(0)
    sentences = [random.choice(list(tags), size=5) for _ in range(80)]
    path = tmp_path / "a.conll"
    path.write_text("\n\n".join("\n".join(f"{word} {tags[word]}" for word in words) for words in sentences) + "\n")
    dataset = catalog.make(Dataset, "file", {"path": str(path)})
    assert dataset.task_for(watched=False) == "tagging"
    run = Run(
        model=TinyModel(path=str(tiny_model)).reference(),
        stages=(TaskData(dataset=dataset.reference(), task=Tagging().reference()),),
        strategy=catalog.make(Strategy, "full", {}).reference(),
        train=TrainConfig(epochs=6, learning_rate=1e-2, max_length=24),
        seed=0,
    )
    compute(run, toy_catalog(catalog), tmp_path / "results")
    found = Store(tmp_path / "results").predictions(run, 1, 0)
    assert WordAccuracy().score(found.outputs, found.targets) > 0.95
