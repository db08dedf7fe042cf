import numpy as np
import pytest

from harness.analysis.forgetting import backward_transfer, forgetting, forward_transfer, maximal_forgetting

NAN = float("nan")
# Rows: before, after stage 1, 2, 3. Columns: the three stages' datasets, then one that is only watched.
THREE_STAGES = np.array(
    [
        [NAN, NAN, NAN, 0.60],
        [0.90, NAN, NAN, 0.55],
        [0.95, 0.80, NAN, 0.70],
        [0.70, 0.75, 0.85, 0.50],
    ]
)
LEARNED_AT = [1, 2, 3, 0]


def test_forgetting_is_the_score_when_known_minus_the_last():
    assert forgetting(THREE_STAGES, LEARNED_AT) == pytest.approx([0.20, 0.05, NAN, 0.10], nan_ok=True)


def test_maximal_forgetting_counts_from_the_best_score_since():
    assert maximal_forgetting(THREE_STAGES, LEARNED_AT) == pytest.approx([0.25, 0.05, NAN, 0.20], nan_ok=True)


def test_what_later_stages_improved_is_negative_forgetting():
    matrix = np.array([[0.4], [0.6]])
    assert forgetting(matrix, [0]) == pytest.approx([-0.2])


def test_nothing_changed_is_exactly_nothing_forgotten():
    assert forgetting(np.full((3, 2), 0.7), [0, 0]).tolist() == [0.0, 0.0]


def test_an_undefined_score_makes_forgetting_undefined_and_not_a_number():
    assert np.isnan(forgetting(np.array([[NAN], [0.5]]), [0])[0])


def test_backward_transfer_is_the_mean_change_of_the_earlier_stages():
    assert backward_transfer(THREE_STAGES, LEARNED_AT) == pytest.approx((-0.20 - 0.05) / 2)


def test_backward_transfer_of_one_stage_is_undefined():
    assert np.isnan(backward_transfer(np.array([[NAN, 0.5], [0.9, 0.4]]), [1, 0]))


def test_forward_transfer_is_the_gain_just_before_a_stage():
    matrix = np.array([[0.2, 0.3, 0.3], [0.9, 0.5, 0.2], [0.8, 0.9, 0.6], [0.8, 0.9, 0.9]])
    assert forward_transfer(matrix, [1, 2, 3]) == pytest.approx(((0.5 - 0.3) + (0.6 - 0.3)) / 2)
