import numpy as np
import pytest

from harness.analysis.items import take_apart
from harness.contracts import Metric, Ratio
from harness.errors import UndefinedError
from harness.records import Predictions


def predicted(n: int = 120) -> Predictions:
    """Return class scores for three classes, mostly right, in no order."""
    random = np.random.default_rng(0)
    targets = random.integers(3, size=n)
    outputs = random.normal(size=(n, 3)) + 1.5 * np.eye(3)[targets]
    return Predictions(outputs, targets, random.permutation(n))


@pytest.mark.parametrize("name", ["accuracy", "micro-f1", "macro-f1", "mcc"])
def test_what_items_add_comes_to_the_score(catalog, name):
    metric = catalog.make(Metric, name, {})
    found = take_apart(metric, predicted())
    numerator, denominator = found.statistics.sum(0)
    assert numerator / denominator == pytest.approx(metric.score(predicted().outputs, predicted().targets))


def test_every_ratio_of_the_built_in_metrics_says_so(catalog):
    ratios = {cls.name for cls in catalog.every(Metric) if issubclass(cls, Ratio)}
    others = {cls.name for cls in catalog.every(Metric)} - ratios
    assert others == {"cka", "macro-f1", "mcc", "pearson", "perplexity", "spearman"}


def test_blocks_vary_as_much_as_items(catalog):
    accuracy = catalog.make(Metric, "accuracy", {})

    class Nested(Metric):
        """Accuracy that does not say what items add."""

        name, title = "nested", "nested"

        def score(self, outputs, targets):
            return accuracy.score(outputs, targets)

    whole = predicted(2000)
    by_item, by_block = (take_apart(metric, whole).statistics for metric in (accuracy, Nested()))
    errors = [found[:, 0].std(ddof=1) / len(found) ** 0.5 for found in (by_item, by_block)]
    assert errors[1] == pytest.approx(errors[0], rel=0.3)


def test_blocks_do_not_follow_the_order_in_which_classes_stand(catalog):
    # Of class after class, of which the first is always right: blocks of neighbours would differ by their class.
    targets = np.repeat([0, 1, 2], 400)
    random = np.random.default_rng(2)
    outputs = random.normal(size=(1200, 3)) * [[0, 1, 1]] + 1.5 * np.eye(3)[targets]
    metric = catalog.make(Metric, "mcc", {})
    found = take_apart(metric, Predictions(outputs, targets, np.arange(1200))).statistics[:, 0]
    drawn = [random.integers(1200, size=1200) for _ in range(200)]
    bootstrapped = np.std([metric.score(outputs[rows], targets[rows]) for rows in drawn])
    assert found.std(ddof=1) / len(found) ** 0.5 == pytest.approx(bootstrapped, rel=0.3)


def test_items_are_paired_by_their_ids_whatever_their_order(catalog):
    metric = catalog.make(Metric, "accuracy", {})
    one = predicted()
    order = np.random.default_rng(1).permutation(len(one.ids))
    other = take_apart(metric, Predictions(one.outputs[order], one.targets[order], one.ids[order]))
    assert other.key == take_apart(metric, one).key
    assert np.array_equal(other.statistics, take_apart(metric, one).statistics)
    assert take_apart(metric, Predictions(one.outputs, one.targets, one.ids + 1)).key != other.key


def test_a_score_that_needs_all_its_items_has_no_interval(catalog):
    targets = np.zeros(30, dtype=int)
    targets[7] = 1
    constant = Predictions(np.arange(30.0), targets.astype(float), np.arange(30))
    with pytest.raises(UndefinedError, match="no interval: without some of the items"):
        take_apart(catalog.make(Metric, "pearson", {}), constant)


@pytest.mark.parametrize("name", ["accuracy", "macro-f1"])
def test_one_item_says_nothing_of_others(catalog, name):
    with pytest.raises(UndefinedError, match="only one test item"):
        take_apart(catalog.make(Metric, name, {}), predicted(1))
