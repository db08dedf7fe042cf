import numpy as np
import pytest
from scipy import stats

from harness.analysis.statistics import (
    Contrast,
    Sample,
    difference,
    holm,
    interval,
    mean_of_seeds,
    ranks,
    resample,
    verdict,
)


@pytest.mark.parametrize("values", [[0.8, 0.82, 0.79], [0.5, 0.9], [1.0, 2.0, 3.0, 4.0, 10.0]])
def test_the_interval_is_scipys(values):
    found = mean_of_seeds(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))


def test_one_value_has_no_interval():
    assert mean_of_seeds([0.8]) == (0.8, None, 1)


def test_equal_values_have_an_interval_of_exactly_nothing():
    assert mean_of_seeds([0.1, 0.1, 0.1]).half_width == 0.0


def ones(values: np.ndarray) -> np.ndarray:
    """Return what items add to a mean, `[items, 2]`."""
    return np.stack([np.asarray(values, dtype=float), np.ones(len(values))], axis=1)


def arms(resamples: int = 2000, key: str = "items", **outcomes: np.ndarray) -> dict[str, Sample]:
    """Return samples of arms whose items are right or wrong, `[seeds, items]` each."""
    return resample({label: [[(1.0, ones(row))] for row in of] for label, of in outcomes.items()}, key, resamples)


def simulate(random: np.random.Generator, seeds: int, items: int, *, spread: float, hardness: float, gain: float = 0.0):
    """Return whether items are right, `[seeds, items]`, for two arms that share the items' difficulty.

    Args:
        random: Draws.
        seeds: How many.
        items: How many.
        spread: Standard deviation of the seeds' effect, on the logit.
        hardness: That of the items'.
        gain: Of the second arm, on the logit.
    """
    difficulty = random.normal(0.8, hardness, items)

    def arm(gain: float) -> np.ndarray:
        logit = gain + random.normal(0, spread, (seeds, 1)) + difficulty
        return random.random((seeds, items)) < 1 / (1 + np.exp(-logit))

    return arm(0.0), arm(gain)


def test_the_error_over_items_is_that_of_scipys_bootstrap():
    random = np.random.default_rng(0)
    values = random.random((1, 80))
    found = arms(resamples=10_000, only=values)["only"]
    theirs = stats.bootstrap((values[0],), np.mean, n_resamples=10_000, method="percentile", rng=random)
    assert found.by_items.std() == pytest.approx(theirs.standard_error, rel=0.05)
    assert np.quantile(found.by_items, [0.025, 0.975]) == pytest.approx(tuple(theirs.confidence_interval), abs=0.005)


def test_a_ratio_of_sums_is_resampled_as_one():
    random = np.random.default_rng(1)
    losses, tokens = random.random(60) * 20, random.integers(5, 30, 60).astype(float)
    found = resample({"arm": [[(1.0, np.stack([losses, tokens], axis=1))]]}, "items", 10_000)["arm"]
    theirs = stats.bootstrap((losses, tokens), lambda a, b, axis: a.sum(axis) / b.sum(axis), paired=True, rng=random)
    assert found.value == pytest.approx(losses.sum() / tokens.sum())
    assert found.by_items.std() == pytest.approx(theirs.standard_error, rel=0.1)


def test_where_items_do_not_vary_a_difference_is_welchs():
    first, second = np.array([0.71, 0.75, 0.78, 0.74, 0.77]), np.array([0.80, 0.79, 0.86, 0.82, 0.84])
    found = arms(a=np.repeat(first[:, None], 40, axis=1), b=np.repeat(second[:, None], 40, axis=1), resamples=20_000)
    theirs = stats.ttest_ind(second, first, equal_var=False)
    result = difference(found["b"], found["a"])
    low, high = theirs.confidence_interval()
    assert (result.value - result.half_width, result.value + result.half_width) == pytest.approx((low, high), abs=2e-3)
    assert result.p == pytest.approx(theirs.pvalue, rel=0.15)


def test_where_seeds_do_not_vary_a_difference_is_paired_by_item():
    random = np.random.default_rng(2)
    first, second = random.random(200), random.random(200)
    found = arms(a=np.tile(first, (3, 1)), b=np.tile(second, (3, 1)), resamples=20_000)
    theirs = stats.ttest_rel(second, first)
    result = difference(found["b"], found["a"])
    assert result.p == pytest.approx(theirs.pvalue, rel=0.1)
    assert interval(found["a"]) == pytest.approx(stats.t.ppf(0.975, 199) * stats.sem(first), rel=0.05)


def test_what_is_neither_the_seeds_nor_the_items_own_counts_twice():
    # Noise of each seed on each item alone: its variance is 1 / (4 * 100) by the seeds and again by the items.
    values = np.random.default_rng(8).normal(size=(200, 4, 100))
    found = [arms(a=one, resamples=500)["a"].draws.var() for one in values]
    assert np.mean(found) == pytest.approx(2 / 400, rel=0.1)


def test_what_is_the_same_in_every_item_differs_by_exactly_nothing():
    values = np.random.default_rng(3).random((4, 50)) < 0.5
    found = arms(a=values, b=values)
    result = difference(found["b"], found["a"])
    assert (result.value, result.p) == (0.0, pytest.approx(1.0))
    constant = arms(a=np.ones((3, 20)), b=np.ones((3, 20)))
    assert difference(constant["b"], constant["a"]) == (0.0, 0.0, 1.0)
    assert verdict(difference(constant["b"], constant["a"]), 1.0, "higher", None) == "no difference shown"
    assert verdict(difference(constant["b"], constant["a"]), 1.0, "higher", 0.01) == "equivalent"


def test_with_one_seed_there_is_neither_interval_nor_difference():
    found = arms(a=np.ones((1, 20)), b=np.ones((3, 20)))
    assert interval(found["a"]) is None
    assert difference(found["b"], found["a"]) is None


def test_the_same_is_drawn_each_time_and_items_alike_for_every_arm():
    values = np.random.default_rng(4).random((2, 30))
    assert np.array_equal(arms(a=values)["a"].draws, arms(a=values)["a"].draws)
    both = arms(a=values, b=values + 1)
    assert both["b"].by_items == pytest.approx(both["a"].by_items + 1, abs=1e-5)


def test_holm_is_the_hand_computation():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("value", "half", "p", "better", "margin", "said"),
    [
        (0.05, 0.02, 0.01, "higher", None, "better"),
        (0.05, 0.02, 0.01, "lower", None, "worse"),
        (-0.05, 0.02, 0.01, "lower", None, "better"),
        (0.05, 0.06, 0.2, "higher", None, "no difference shown"),
        (0.05, 0.06, 0.2, "higher", 0.1, "no difference shown"),
        (0.005, 0.002, 0.001, "higher", 0.01, "equivalent"),
        (0.005, 0.002, 0.001, "higher", 0.006, "better"),
    ],
)
def test_a_verdict_says_which_way_and_whether_it_matters(value, half, p, better, margin, said):
    assert verdict(Contrast(value, half, p), p, better, margin) == said


def test_arms_that_cannot_be_told_apart_share_a_rank():
    random = np.random.default_rng(5)
    good, alike, bad = (random.random((5, 400)) < level for level in (0.9, 0.9, 0.6))
    assert ranks(arms(good=good, alike=alike, bad=bad), "higher") == {"good": 1, "alike": 1, "bad": 3}
    assert ranks(arms(good=good, alike=alike, bad=bad), "lower") == {"good": 2, "alike": 2, "bad": 1}


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("spread", "hardness"), [(0.0, 1.5), (0.6, 0.0), (0.3, 1.0)], ids=["items", "seeds", "both"])
def test_two_arms_that_are_alike_are_told_apart_in_at_most_one_of_twenty_comparisons(seeds, spread, hardness):
    random = np.random.default_rng([seeds, int(10 * spread)])
    told = 0
    for study in range(500):
        first, second = simulate(random, seeds, 200, spread=spread, hardness=hardness)
        found = arms(first=first, second=second, key=f"study {study}", resamples=400)
        told += difference(found["second"], found["first"]).p <= 0.05
    # The true rate is not shown to lie above 5 %.
    assert stats.binomtest(told, 500, 0.05, alternative="greater").pvalue > 0.025, told


@pytest.mark.slow
def test_a_difference_that_is_there_is_found_more_often_than_without_pairing():
    random = np.random.default_rng(6)
    paired = unpaired = 0
    for study in range(200):
        first, second = simulate(random, 3, 300, spread=0.05, hardness=3.0, gain=0.5)
        found = arms(first=first, second=second, key=f"study {study}", resamples=400)
        paired += difference(found["second"], found["first"]).p <= 0.05
        unpaired += stats.ttest_ind(second.mean(0), first.mean(0)).pvalue <= 0.05
    assert paired > unpaired + 20, (paired, unpaired)
