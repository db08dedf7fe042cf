from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness import Facts, Predictions
from harness.testing import check_component
from harness_plugins.metrics.cka import CKA
from harness_plugins.tasks.representation import Representation

BEFORE = np.random.default_rng(0).normal(size=(25, 4)).astype(np.float32)


@dataclass
class Given:
    """A view of test features given in the test."""

    array: NDArray[np.float32]
    before: Predictions | None

    def features(self, split: str, pooling: str = "mean") -> NDArray[np.float32]:
        assert (split, pooling) == ("test", "mean")
        return self.array

    def ids(self, split: str) -> NDArray[np.int64]:
        assert split == "test"
        return np.arange(25)


def test_before_tuning_the_likeness_is_exactly_1():
    found = Representation().evaluate(Given(BEFORE, before=None))
    assert CKA().score(found.outputs, found.targets) == 1.0


def test_after_tuning_the_features_before_are_what_they_are_compared_with():
    before = Representation().evaluate(Given(BEFORE, before=None))
    after = Representation().evaluate(Given(BEFORE**3, before))
    assert np.array_equal(after.outputs, BEFORE**3)
    assert np.array_equal(after.targets, BEFORE)
    assert CKA().score(after.outputs, after.targets) < 1.0


def test_a_rotated_and_scaled_representation_is_as_before():
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]
    before = Representation().evaluate(Given(BEFORE, before=None))
    after = Representation().evaluate(Given((0.1 * BEFORE @ rotation).astype(np.float32), before))
    # Features are kept in single precision.
    assert abs(CKA().score(after.outputs, after.targets) - 1.0) < 1e-6


def test_any_text_will_do_without_labels():
    assert Representation().check(Facts(), ["text"]) is None
    assert Representation().check(Facts(), ["words"]) == "needs a column 'text', but the data has: words"


def test_it_keeps_the_contract():
    check_component(Representation(pooling="first"))
