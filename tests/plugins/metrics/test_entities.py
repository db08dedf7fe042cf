import numpy as np
import pytest
from numpy.typing import NDArray

from harness import Metric, UndefinedError
from harness.testing import check_metric
from harness_plugins.metrics._entities import entities
from harness_plugins.metrics.entity_f1 import EntityF1
from harness_plugins.metrics.entity_precision import EntityPrecision
from harness_plugins.metrics.entity_recall import EntityRecall


def tags(*texts: str) -> NDArray[np.str_]:
    """Return the tags of texts as an array, `[n, most words]`."""
    rows = [text.split() for text in texts]
    most = max(len(row) for row in rows)
    return np.array([[*row, *[""] * (most - len(row))] for row in rows])


# What conlleval and seqeval (its default mode) find, worked out by hand from their rules.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("O B-per I-per O", {(1, 2, "per")}),
        ("O I-per I-per O", {(1, 2, "per")}),
        ("B-per I-loc", {(0, 0, "per"), (1, 1, "loc")}),
        ("B-per I-per I-loc I-per", {(0, 1, "per"), (2, 2, "loc"), (3, 3, "per")}),
        ("B-per B-per I-per", {(0, 0, "per"), (1, 2, "per")}),
        ("I-per B-per", {(0, 0, "per"), (1, 1, "per")}),
        ("B-per O I-per", {(0, 0, "per"), (2, 2, "per")}),
        ("O O B-per", {(2, 2, "per")}),
        ("O B-per I-per", {(1, 2, "per")}),
        ("B-creative-work I-creative-work I-work", {(0, 1, "creative-work"), (2, 2, "work")}),
        ("O O", set()),
    ],
    ids=[
        "one",
        "I- after O",
        "another type goes on",
        "the type changes twice",
        "one next to another",
        "B- after I-",
        "O parts them",
        "one word at the end",
        "several words at the end",
        "hyphens in the type",
        "none",
    ],
)
def test_entities_are_found_as_conlleval_finds_them(text, expected):
    assert entities(tags(text)) == {(0, *entity) for entity in expected}


def test_an_entity_ends_with_its_text():
    assert entities(tags("O B-per", "I-per O O")) == {(0, 1, 1, "per"), (1, 0, 0, "per")}


# Of 4 entities 3 are answered: the first rightly, the second too short, the third of another type; the fourth is passed over.
TARGETS = tags("B-per I-per O B-loc I-loc", "B-org O O", "O O I-per O")
OUTPUTS = tags("B-per I-per O B-loc O", "B-loc O O", "O O O O")


@pytest.mark.parametrize(
    ("metric", "expected"),
    [(EntityPrecision(), 1 / 3), (EntityRecall(), 1 / 4), (EntityF1(), 2 / 7)],
    ids=["precision", "recall", "F1"],
)
def test_an_entity_is_right_if_its_type_and_both_its_ends_are(metric, expected):
    outputs = np.pad(OUTPUTS, ((0, 0), (0, TARGETS.shape[1] - OUTPUTS.shape[1])), constant_values="")
    check_metric(metric, outputs, TARGETS, expected)


def test_a_tag_for_nothing_is_as_good_as_no_word():
    assert EntityF1().score(tags("B-per O O"), tags("B-per")) == 1.0


@pytest.mark.parametrize(
    ("metric", "answered", "wanted", "expected"),
    [
        (EntityPrecision(), "O O", "B-per O", "no entity is predicted"),
        (EntityRecall(), "O O", "B-per O", 0.0),
        (EntityF1(), "O O", "B-per O", 0.0),
        (EntityPrecision(), "B-per O", "O O", 0.0),
        (EntityRecall(), "B-per O", "O O", "the texts have no entities"),
        (EntityF1(), "B-per O", "O O", 0.0),
        (EntityF1(), "O O", "O O", "the texts have no entities, and none is predicted"),
    ],
    ids=[
        "precision of no answer",
        "recall of no answer",
        "F1 of no answer",
        "precision where there are none",
        "recall where there are none",
        "F1 where there are none",
        "F1 of nothing at all",
    ],
)
def test_a_share_of_nothing_is_undefined_and_not_0(metric: Metric, answered, wanted, expected):
    if isinstance(expected, float):
        assert metric.score(tags(answered), tags(wanted)) == expected
        return
    with pytest.raises(UndefinedError) as error:
        metric.score(tags(answered), tags(wanted))
    assert str(error.value) == expected


def test_predictions_that_are_no_tags_have_no_entities():
    with pytest.raises(UndefinedError, match=r"^needs tags of words$"):
        EntityF1().score(np.array([[0.5, 1.0]]), np.array([1]))
