import numpy as np
import pytest

from harness import UndefinedError
from harness.testing import check_metric
from harness_plugins.metrics.exact_match import ExactMatch
from harness_plugins.metrics.final_number import FinalNumber
from harness_plugins.metrics.perplexity import Perplexity

WRITTEN = np.array(["a b", " a  b\n", "a B", ""])


def test_exact_match_is_the_share_of_texts_that_are_right_but_for_white_space():
    check_metric(ExactMatch(), WRITTEN, np.array(["a b", "a b", "a b", "a b"]), 2 / 4)


def test_exact_match_takes_one_of_several_right_texts():
    check_metric(ExactMatch(), WRITTEN, np.array([["c", "a b"], ["a b", "a b"], ["a B", "c"], ["", ""]]), 4 / 4)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("She has 3 eggs, so $1,000 in all.", "5 * 200 = <<5*200=1000>>1000\n#### 1000"),
        ("72.0", "#### 72"),
        ("-5", "it fell\n#### -5"),
        ("9-4 is 5", "#### 5"),
        ("no mark: 12 apples", "He has 12 of 20 apples, 12"),
        ("#### 1,234,567", "#### 1234567"),
        (".5", "#### 0.50"),
    ],
)
def test_the_final_number_counts_by_its_value(text, right):
    assert FinalNumber().score(np.array([text]), np.array([right])) == 1.0


@pytest.mark.parametrize("text", ["72 eggs and 3 hens", "-72", "7.2", "none", "1,2,3"])
def test_another_final_number_or_none_is_wrong(text):
    assert FinalNumber().score(np.array([text]), np.array(["#### 72"])) == 0.0


def test_final_number_is_a_share_of_the_items():
    check_metric(FinalNumber(), np.array(["1", "2", "3"]), np.array([["1", "9"], ["9", "2"], ["9", "9"]]), 2 / 3)


def test_a_right_answer_without_a_number_leaves_the_final_number_undefined():
    with pytest.raises(UndefinedError, match=r"^the correct answer 'many' has no number$"):
        FinalNumber().score(np.array(["1"]), np.array(["many"]))


@pytest.mark.parametrize("metric", [ExactMatch(), FinalNumber()], ids=lambda metric: metric.name)
@pytest.mark.parametrize(
    ("outputs", "targets"),
    [(np.zeros(2), np.array(["1", "2"])), (np.array(["1", "2"]), np.zeros(2)), (np.array([["1"]]), np.array(["1"]))],
    ids=["numbers", "right numbers", "several texts"],
)
def test_what_is_not_a_text_for_each_item_is_undefined(metric, outputs, targets):
    with pytest.raises(UndefinedError, match=r"^the answers are not texts$"):
        metric.score(outputs, targets)


def test_perplexity_is_the_exponential_of_the_mean_over_the_tokens():
    # Six nats over four tokens.
    check_metric(Perplexity(), np.array([[2.0, 1.0], [4.0, 3.0]]), np.array([1.0, 3.0]), 2.718281828459045**1.5)
