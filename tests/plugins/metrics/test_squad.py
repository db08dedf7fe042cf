import numpy as np
import pytest

from harness import UndefinedError
from harness.testing import check_metric
from harness_plugins.metrics._squad import normalised
from harness_plugins.metrics.no_answer_accuracy import NoAnswerAccuracy
from harness_plugins.metrics.squad_em import SquadEM
from harness_plugins.metrics.squad_f1 import SquadF1

GIVEN = np.array(["the Denver Broncos.", "in Paris", "", "1973", "", "France"])
RIGHT = np.array(
    [
        # After normalising: "denver broncos", the first right answer itself.
        ["Denver Broncos", "Broncos"],
        # "in paris" against "paris": precision 1/2, recall 1, F1 2/3; against "paris france": 1/2 and 1/2, F1 1/2.
        ["Paris", "Paris, France"],
        # There is none and none is given.
        ["", ""],
        # There is none but one is given.
        ["", ""],
        # There is one but none is given.
        ["a cat", "a cat"],
        # No word in common.
        ["Normandy", "Normandy"],
    ]
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The  Cat's\tpyjamas", "cats pyjamas"),
        ("a-b, an e", "ab e"),
        ("Theatre of anna", "theatre of anna"),
        ("the", ""),
        ("«Ünter»", "«ünter»"),
    ],
    ids=[
        "case, space and apostrophe",
        "joined by a hyphen",
        "articles inside words",
        "nothing left",
        "only ASCII marks go",
    ],
)
def test_answers_are_normalised_as_in_the_official_script(text, words):
    assert normalised(text) == words


def test_f1_is_the_mean_of_each_answers_best():
    check_metric(SquadF1(), GIVEN, RIGHT, (1 + 2 / 3 + 1 + 0 + 0 + 0) / 6)


def test_a_word_counts_as_often_as_both_have_it():
    # In common: "new" once, "york" once. Precision 2/3, recall 2/4.
    given, right = np.array(["new new york"]), np.array([["york new jersey city"]])
    assert SquadF1().score(given, right) == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))


def test_exact_match_is_the_share_of_right_answers():
    check_metric(SquadEM(), GIVEN, RIGHT, (1 + 0 + 1 + 0 + 0 + 0) / 6)


def test_no_answer_accuracy_asks_only_whether_there_is_one():
    # Wrong are the year that is given where there is no answer, and the cat that is not found.
    check_metric(NoAnswerAccuracy(), GIVEN, RIGHT, 4 / 6)


def test_no_answer_accuracy_is_undefined_where_every_question_has_an_answer():
    with pytest.raises(UndefinedError, match=r"^every question has an answer$"):
        NoAnswerAccuracy().score(GIVEN[:2], RIGHT[:2])


@pytest.mark.parametrize("metric", [SquadF1(), SquadEM(), NoAnswerAccuracy()], ids=lambda metric: metric.name)
@pytest.mark.parametrize(
    ("outputs", "targets", "message"),
    [(GIVEN[:0], RIGHT[:0], "there are no items"), (np.zeros((2, 3)), np.zeros(2), "the answers are not texts")],
    ids=["nothing", "numbers"],
)
def test_what_cannot_be_scored_is_undefined(metric, outputs, targets, message):
    with pytest.raises(UndefinedError, match=f"^{message}$"):
        metric.score(outputs, targets)


@pytest.mark.parametrize("metric", [SquadF1(), SquadEM()], ids=lambda metric: metric.name)
def test_one_right_answer_for_each_may_stand_in_a_row_of_its_own(metric):
    assert metric.score(np.array(["a cat", "dogs"]), np.array(["Cat!", "cats"])) == 0.5


@pytest.mark.parametrize("metric", [SquadF1(), SquadEM()], ids=lambda metric: metric.name)
def test_of_several_given_answers_the_first_counts(metric):
    assert metric.score(np.array([["cat", "dog"], ["dog", "cat"]]), np.array(["cat", "cat"])) == 0.5


def test_a_right_answer_of_an_article_alone_does_not_count_beside_another():
    # The official script leaves it out: giving none is wrong here.
    assert SquadEM().score(np.array([""]), np.array([["The", "Beatles"]])) == 0.0


def test_where_the_right_answers_are_articles_alone_there_is_none():
    # And the official script takes them for "": an answer of an article alone is then right, too.
    assert SquadEM().score(np.array(["", "a"]), np.array([["The"], ["the"]])) == 1.0
