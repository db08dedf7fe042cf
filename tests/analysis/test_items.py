import numpy as np
import pytest
from scipy import stats

from harness.analysis.items import Items, take_apart
from harness.contracts import Metric, Ratio
from harness.errors import UndefinedError
from harness.records import Predictions


def predicted(n: int = 120) -> Predictions:
    """Return class scores for three classes, mostly right, in no order."""
    random = np.random.default_rng(0)
    targets = random.integers(3, size=n)
    outputs = random.normal(size=(n, 3)) + 1.5 * np.eye(3)[targets]
    return Predictions(outputs, targets, random.permutation(n))


def error(found: Items) -> float:
    """Return the standard error of a score."""
    return float(np.sqrt(np.sum(found.deviations**2)))


@pytest.mark.parametrize("name", ["accuracy", "micro-f1", "macro-f1", "mcc"])
def test_the_value_is_the_score_and_its_error_that_of_a_bootstrap(catalog, name):
    metric = catalog.make(Metric, name, {})
    whole = predicted(400)
    found = take_apart(metric, whole)
    assert found.value == pytest.approx(metric.score(whole.outputs, whole.targets))
    random = np.random.default_rng(3)
    drawn = [random.integers(400, size=400) for _ in range(500)]
    bootstrapped = np.std([metric.score(whole.outputs[rows], whole.targets[rows]) for rows in drawn])
    assert error(found) == pytest.approx(bootstrapped, rel=0.1)


def test_a_ratio_of_sums_is_as_certain_as_scipys_bootstrap_says():
    class Loss(Ratio):
        """Loss per token."""

        name, title = "loss", "loss"

        def items(self, outputs, targets):
            return np.stack([outputs, targets], axis=1)

    random = np.random.default_rng(1)
    losses, tokens = random.random(60) * 20, random.integers(5, 30, 60).astype(float)
    found = take_apart(Loss(), Predictions(losses, tokens, np.arange(60)))
    theirs = stats.bootstrap((losses, tokens), lambda a, b, axis: a.sum(axis) / b.sum(axis), paired=True, rng=random)
    assert found.value == pytest.approx(losses.sum() / tokens.sum())
    assert error(found) == pytest.approx(theirs.standard_error, rel=0.1)


@pytest.mark.parametrize("name", ["accuracy", "macro-f1", "pearson"])
def test_items_of_one_group_count_as_one(catalog, name):
    metric = catalog.make(Metric, name, {})
    one = predicted(60)
    if name == "pearson":
        one = Predictions(one.outputs[:, 0], one.targets.astype(float), one.ids)
    alone = take_apart(metric, one)
    # Every item five times: as certain as without the copies, not by sqrt(5) more.
    copies = Predictions(
        np.repeat(one.outputs, 5, axis=0), np.repeat(one.targets, 5), np.arange(300), np.repeat(one.ids, 5)
    )
    grouped = take_apart(metric, copies)
    assert (grouped.units, alone.units if name != "pearson" else 60) == (60 if name != "pearson" else 50, 60)
    assert error(grouped) == pytest.approx(error(alone), rel=0.2)
    single = take_apart(metric, Predictions(copies.outputs, copies.targets, copies.ids))
    assert error(single) < 0.6 * error(grouped)
    assert single.key != grouped.key


def test_one_group_says_nothing_of_others(catalog):
    one = predicted(20)
    with pytest.raises(UndefinedError, match="only one group of test items"):
        take_apart(catalog.make(Metric, "accuracy", {}), Predictions(one.outputs, one.targets, one.ids, np.zeros(20)))


def test_a_class_with_two_items_is_not_certain(catalog):
    # Both are recognised, and so is everything else: macro-F1 is 1 and does not vary over the items.
    targets = np.zeros(40, dtype=int)
    targets[:2] = 1
    found = take_apart(catalog.make(Metric, "macro-f1", {}), Predictions(np.eye(2)[targets], targets, np.arange(40)))
    assert found.value == 1.0
    assert error(found) > 0.05


@pytest.mark.parametrize("name", ["macro-f1", "mcc"])
def test_the_score_of_a_confusion_matrix_is_that_of_its_items(catalog, name):
    metric = catalog.make(Metric, name, {})
    one = predicted(90)
    cells, classes = metric.cells(one.outputs, one.targets)
    counts = np.bincount(cells[:, 0], minlength=classes**2).reshape(1, 1, classes, classes)
    assert metric.of_counts(counts) == pytest.approx([metric.score(one.outputs, one.targets)])


def test_the_score_of_several_confusion_matrices_is_that_of_texts_with_several_classes(catalog):
    metric = catalog.make(Metric, "macro-f1", {})
    random = np.random.default_rng(2)
    targets, outputs = (random.random((90, 4)) < 0.3).astype(int), random.normal(size=(90, 4))
    targets[:, 3], outputs[:, 3] = 0, -1.0  # neither given nor predicted
    cells, classes = metric.cells(outputs, targets)
    counts = np.stack([np.bincount(cells[:, at], minlength=4).reshape(2, 2) for at in range(cells.shape[1])])
    assert (cells.shape[1], classes) == (3, 2)
    assert metric.of_counts(counts[None]) == pytest.approx([metric.score(outputs, targets)])


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
    errors = [error(take_apart(metric, whole)) for metric in (accuracy, Nested())]
    assert errors[1] == pytest.approx(errors[0], rel=0.3)


def test_blocks_do_not_follow_the_order_in_which_classes_stand(catalog):
    # Of class after class, of which the first is always right: blocks of neighbours would differ by their class.
    targets = np.repeat([0, 1, 2], 400)
    random = np.random.default_rng(2)
    outputs = random.normal(size=(1200, 3)) * [[0, 1, 1]] + 1.5 * np.eye(3)[targets]
    metric = catalog.make(Metric, "mcc", {})

    class Nested(Metric):
        """MCC that does not say that it is of a confusion matrix."""

        name, title = "nested", "nested"

        def score(self, outputs, targets):
            return metric.score(outputs, targets)

    found = take_apart(Nested(), Predictions(outputs, targets, np.arange(1200)))
    drawn = [random.integers(1200, size=1200) for _ in range(200)]
    bootstrapped = np.std([metric.score(outputs[rows], targets[rows]) for rows in drawn])
    assert error(found) == pytest.approx(bootstrapped, rel=0.3)


def test_items_are_paired_by_their_ids_whatever_their_order(catalog):
    metric = catalog.make(Metric, "accuracy", {})
    one = predicted()
    order = np.random.default_rng(1).permutation(len(one.ids))
    other = take_apart(metric, Predictions(one.outputs[order], one.targets[order], one.ids[order]))
    assert other.key == take_apart(metric, one).key
    assert np.array_equal(other.deviations, take_apart(metric, one).deviations)
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
