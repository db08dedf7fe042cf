from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from harness import Facts, Predictions, UndefinedError
from harness.testing import check_component
from harness_plugins.tasks.probe import Probe, ridge_scores


@dataclass
class Given:
    """A view of features and labels given in the test."""

    train: tuple[NDArray[np.float32], NDArray[np.int64]]
    test: tuple[NDArray[np.float32], NDArray[np.int64]]
    facts: Facts
    before: Predictions | None = None

    def features(self, split: str, pooling: str = "mean") -> NDArray[np.float32]:
        assert pooling == "mean"
        return getattr(self, split)[0]

    def targets(self, split: str) -> NDArray[np.int64]:
        return getattr(self, split)[1]

    def ids(self, split: str) -> NDArray[np.int64]:
        return np.arange(len(self.targets(split))) + 100


def clouds(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return features `[count, 4]` around three corners far from each other, and which corner."""
    random = np.random.default_rng(seed)
    targets = np.arange(count) % 3
    return (10 * np.eye(4)[targets] + random.normal(size=(count, 4))).astype(np.float32), targets


@pytest.mark.parametrize("ridge", [0.01, 1.0, 100.0])
def test_the_scores_are_those_of_a_ridge_regression_on_standardised_features(ridge):
    random = np.random.default_rng(0)
    train, test, targets = random.normal(2, 5, (50, 7)), random.normal(2, 5, (20, 7)), random.integers(0, 3, 50)
    scaler = StandardScaler().fit(train)
    # The penalty as documented: 0.01 for each training example, times the setting.
    model = Ridge(alpha=0.01 * 50 * ridge).fit(scaler.transform(train), np.eye(3)[targets])
    expected = model.predict(scaler.transform(test))
    assert np.allclose(ridge_scores(train, targets, test, 3, ridge), expected, rtol=0, atol=1e-6)


def test_classes_that_lie_apart_are_told_apart_without_error():
    view = Given(clouds(60, seed=0), clouds(30, seed=1), Facts(("a", "b", "c")))
    found = Probe().evaluate(view)
    assert found.outputs.shape == (30, 3)
    assert found.outputs.dtype == np.float32
    assert np.array_equal(found.outputs.argmax(1), found.targets)
    assert np.array_equal(found.ids, np.arange(100, 130))


def test_a_class_without_training_examples_is_never_the_answer():
    view = Given(clouds(60, seed=0), clouds(30, seed=1), Facts(("a", "b", "c", "unseen")))
    assert Probe().evaluate(view).outputs.argmax(1).max() == 2


def test_a_feature_that_never_varies_in_training_says_nothing():
    train, targets = clouds(60, seed=0)
    test, _ = clouds(30, seed=1)
    without = ridge_scores(train.astype(np.float64), targets, test.astype(np.float64), 3, 1.0)
    still, moved = np.full((60, 1), 0.5), np.full((30, 1), 7.0)
    scores = ridge_scores(np.hstack([train, still]), targets, np.hstack([test, moved]), 3, 1.0)
    assert np.allclose(scores, without, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("classes", "columns"), [(None, ["text"]), (("same",), ["text", "label"])], ids=["no labels", "one class"]
)
def test_data_without_two_classes_is_refused_with_another_way_to_watch_it(classes, columns):
    assert Probe().check(Facts(classes), columns) == (
        "needs labels of at least two classes; for unlabelled text, use the task representation"
    )


def test_nothing_can_be_tuned_on_a_probe():
    with pytest.raises(UndefinedError, match=r"^task 'probe' is only for watching: it cannot be tuned on$"):
        Probe().loss(None, {})


def test_it_keeps_the_contract():
    check_component(Probe(ridge=0.5, pooling="last"))
