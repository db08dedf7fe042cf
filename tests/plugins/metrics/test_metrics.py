import numpy as np
import pytest

from harness import UndefinedError
from harness.testing import check_metric
from harness_plugins.metrics.accuracy import Accuracy
from harness_plugins.metrics.cka import CKA
from harness_plugins.metrics.macro_f1 import MacroF1
from harness_plugins.metrics.mcc import MCC
from harness_plugins.metrics.nats_per_token import NatsPerToken

# Predicted classes 0, 1, 1, 0.
SCORES = np.array([[2.0, 1.0], [0.0, 0.5], [-3.0, -1.0], [1.0, 0.9]], dtype=np.float32)
TARGETS = np.array([0, 1, 0, 0])
CONSTANT = np.array([[1.0, 0.0]] * 4, dtype=np.float32)
FEATURES = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
ROTATION = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0].astype(np.float32)


def test_accuracy_is_the_share_of_right_answers():
    check_metric(Accuracy(), SCORES, TARGETS, 3 / 4)


def test_macro_f1_is_the_mean_over_classes():
    # Class 0: precision 1, recall 2/3, F1 0.8; class 1: precision 1/2, recall 1, F1 2/3.
    check_metric(MacroF1(), SCORES, TARGETS, (4 / 5 + 2 / 3) / 2)


def test_a_class_that_is_never_predicted_counts_as_nothing():
    # Class 0: precision 3/4, recall 1, F1 6/7; class 1: 0.
    check_metric(MacroF1(), CONSTANT, TARGETS, (6 / 7 + 0) / 2)


def test_mcc_is_the_correlation_of_answers_and_targets():
    # One true positive, two true negatives, one false positive: (1 * 2 - 1 * 0) / sqrt(2 * 1 * 3 * 2).
    check_metric(MCC(), SCORES, TARGETS, 2 / 12**0.5)


def test_mcc_of_a_constant_answer_is_0():
    check_metric(MCC(), CONSTANT, TARGETS, 0.0)


def test_nats_per_token_weighs_texts_by_their_tokens():
    # Two nats over one token and four over three: six over four, and not the mean of 2 and 4/3.
    check_metric(NatsPerToken(), np.array([[2.0, 1.0], [4.0, 3.0]]), np.array([1.0, 3.0]), 6 / 4)


def test_nats_per_token_is_undefined_where_no_token_was_predicted():
    with pytest.raises(UndefinedError, match=r"^no token was predicted$"):
        NatsPerToken().score(np.zeros((3, 2)), np.zeros(3))


def hsic(first: np.ndarray, second: np.ndarray) -> float:
    """Return n(n - 3) times the unbiased HSIC by its definition, on kernels without diagonals (Song et al., 2012)."""
    kernels = [side @ side.T for side in (first.astype(float), second.astype(float))]
    for kernel in kernels:
        np.fill_diagonal(kernel, 0.0)
    one, other = kernels
    n = len(one)
    whole = one.sum() * other.sum() / ((n - 1) * (n - 2))
    return np.trace(one @ other) + whole - 2 / (n - 2) * (one @ other).sum()


def test_cka_is_the_definition_on_kernels():
    other = np.random.default_rng(2).normal(size=(40, 9)).astype(np.float32) + FEATURES[:, :1]
    expected = hsic(FEATURES, other) / np.sqrt(hsic(FEATURES, FEATURES) * hsic(other, other))
    check_metric(CKA(), FEATURES, other, expected)


def test_cka_of_unrelated_features_is_nothing_for_any_number_of_texts():
    random = np.random.default_rng(4)
    for texts in (15, 30, 60):
        found = [CKA().score(random.normal(size=(texts, 384)), random.normal(size=(texts, 384))) for _ in range(20)]
        assert abs(np.mean(found)) < 0.05, texts


def test_cka_of_the_same_drift_does_not_depend_on_the_number_of_texts():
    random = np.random.default_rng(5)
    before = random.normal(size=(600, 384)) * np.linspace(0.1, 3, 384)
    after = before + 0.7 * random.normal(size=(600, 384))
    means = [np.mean([CKA().score(before[at : at + texts], after[at : at + texts]) for at in range(0, 600, texts)]) for texts in (15, 30, 60)]  # fmt: skip
    assert np.ptp(means) < 0.02


def test_cka_of_three_texts_is_undefined():
    with pytest.raises(UndefinedError, match="fewer than 4 texts"):
        CKA().score(FEATURES[:3], FEATURES[:3])


def test_cka_of_what_has_not_moved_is_exactly_1():
    assert CKA().score(FEATURES, FEATURES.copy()) == 1.0


def test_cka_sees_neither_rotation_nor_scale_nor_shift():
    # Rotated and scaled in single precision.
    assert CKA().score(3 * FEATURES @ ROTATION + 5, FEATURES) == pytest.approx(1.0, abs=1e-6)


def test_cka_sees_a_stretched_direction():
    stretched = FEATURES * np.array([10, 1, 1, 1, 1, 1], dtype=np.float32)
    assert CKA().score(stretched, FEATURES) < 0.9


def test_cka_compares_features_of_different_widths():
    assert 0 < CKA().score(FEATURES[:, :3], FEATURES) < 1


def test_cka_is_undefined_where_all_texts_have_the_same_features():
    with pytest.raises(UndefinedError, match=r"^all texts have the same features$"):
        CKA().score(np.ones((40, 6), dtype=np.float32), FEATURES)


def test_a_class_that_neither_is_nor_is_predicted_takes_no_part_in_macro_f1():
    right = np.array([[1, 0, 0], [0, 1, 0]])
    assert MacroF1().score(np.where(right, 1.0, -1.0), right) == 1.0
    assert MacroF1().score(-np.ones((2, 3)), right) == 0.0
    with pytest.raises(UndefinedError, match="no class occurs"):
        MacroF1().score(-np.ones((2, 3)), np.zeros((2, 3), dtype=int))
