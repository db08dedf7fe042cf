import numpy as np
import pytest
from scipy import stats

from harness.analysis.statistics import (
    Contrast,
    Interval,
    Sample,
    could_be_best,
    difference,
    draw,
    graphical,
    interval,
    mean_of_seeds,
    of_folds,
    pool,
    seeds_part,
    seeds_parts,
    verdict,
)

SHARE = (0.0, 1.0)


@pytest.mark.parametrize("values", [[0.8, 0.82, 0.79], [0.5, 0.9], [1.0, 2.0, 3.0, 4.0, 10.0]])
def test_the_interval_is_scipys(values):
    found = mean_of_seeds(values)
    theirs = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert found.interval == pytest.approx(theirs)


def test_one_value_has_no_interval():
    assert mean_of_seeds([0.8]) == (0.8, None, 1)


def test_equal_values_have_an_interval_of_exactly_nothing():
    assert mean_of_seeds([0.1, 0.1, 0.1]).interval.half_width == 0.0


def sample(values: np.ndarray) -> Sample:
    """Return an arm whose value is the mean of `values` `[seeds, items]` over items."""
    values = np.asarray(values, dtype=float)
    n = values.shape[1]
    deviations = (values - values.mean(1, keepdims=True)) / np.sqrt(n * (n - 1))
    return Sample(values.mean(1), deviations, n, linear=True)


def test_where_items_do_not_vary_a_difference_is_students():
    first = np.array([0.71, 0.75, 0.78, 0.74, 0.77])
    second = first[::-1] + 0.05
    a, b = (sample(np.repeat(values[:, None], 40, axis=1)) for values in (first, second))
    theirs = stats.ttest_ind(second, first)
    result = difference(b, a)
    low, high = theirs.confidence_interval()
    assert (result.value - result.half_width, result.value + result.half_width) == pytest.approx((low, high))
    assert result.p == pytest.approx(theirs.pvalue)


def test_an_arm_whose_seeds_are_close_by_chance_is_as_uncertain_as_the_arms_are_together():
    values = [np.array([0.70, 0.70001]), np.array([0.75, 0.65]), np.array([0.66, 0.74])]
    arms = [sample(np.repeat(seeds[:, None], 40, axis=1)) for seeds in values]
    among = pool(arms)
    assert among.freedom == 2  # seeds that are almost alike tell nothing about the other arms
    assert interval(arms[0], among=among).half_width > 100 * interval(arms[0]).half_width
    # One whose seeds are all the same does not vary.
    same = sample(np.tile(np.linspace(0, 1, 40), (2, 1)))
    assert interval(same, among=among) == interval(same)


def column_of(*deviations):
    """Return the arms of a column of which only three seeds vary, by as much as given."""
    return [sample(np.repeat([[0.5 - by], [0.5], [0.5 + by]], 40, axis=1)) for by in deviations]


def test_arms_whose_seeds_vary_alike_are_known_with_the_seeds_of_all():
    arms = column_of(0.02, 0.03, 0.025, 0.02)
    parts = [seeds_part(arm, pool(arms)) for arm in arms]
    assert [part.freedom for part in parts] == pytest.approx([8.0] * 4)
    assert all(part.variance >= arm.components.seeds for part, arm in zip(parts, arms, strict=True))


def test_an_arm_that_varies_a_little_more_than_others_is_not_known_much_less():
    # Of seven strategies on 77 classes, the two least stable ones differed by a fifth in the spread of their seeds; one was told
    # apart from the reference and the other, further away, was not.
    spreads = (0.017, 0.028, 0.024, 0.0053, 0.0087, 0.0031)
    _, first, second, *_ = arms = column_of(*spreads)
    freedoms = [seeds_part(arm, pool(arms)).freedom for arm in (first, second)]
    assert min(freedoms) > 3
    assert max(freedoms) < 1.2 * min(freedoms)


def test_an_arm_unlike_all_others_is_known_by_its_own_seeds():
    *others, wild = arms = column_of(0.02, 0.021, 0.019, 0.02, 0.022, 0.5)
    part = seeds_part(wild, pool(arms))
    assert part.variance == pytest.approx(wild.components.seeds)
    assert part.freedom < 2.2
    assert others


def test_the_mean_and_freedom_of_variances_are_those_they_were_drawn_with():
    random = np.random.default_rng(5)
    truth = 0.01 * 6 / random.chisquare(6, 4000)
    values = 0.5 + random.normal(size=(4000, 4)) * np.sqrt(truth)[:, None]
    found = pool([sample(np.repeat(one[:, None], 2, axis=1)) for one in values])
    assert 4 * found.raw == pytest.approx(0.01 * 6 / (6 - 2), rel=0.05)
    assert found.weight == pytest.approx(6, rel=0.25)  # those almost alike are left out


def test_where_seeds_do_not_vary_a_difference_is_paired_by_item():
    random = np.random.default_rng(2)
    first, second = random.random(200), random.random(200)
    a, b = (sample(np.tile(values, (3, 1))) for values in (first, second))
    assert difference(b, a).p == pytest.approx(stats.ttest_rel(second, first).pvalue)
    assert interval(a).half_width == pytest.approx(stats.t.ppf(0.975, 199) * stats.sem(first))


def test_where_items_do_not_vary_two_arms_are_compared_by_students_t():
    first, second = (0.68, 0.69, 0.71, 0.72), (0.73, 0.745, 0.75, 0.76)
    a, b = (sample(np.repeat(np.array(seeds)[:, None], 40, axis=1)) for seeds in (first, second))
    assert difference(b, a).p == pytest.approx(stats.ttest_ind(second, first).pvalue, rel=1e-6)


def test_arms_that_are_compared_vary_together_at_least_as_much_as_their_own_seeds():
    wild, steady, *others = arms = column_of(0.1, 0.01, 0.02, 0.021, 0.019)
    parts = seeds_parts(wild, steady, pool(arms))
    own = wild.components.seeds + steady.components.seeds
    assert sum(part.variance for part in parts) >= own * (1 - 1e-12)
    assert difference(wild, steady, among=pool(arms)).half_width > difference(*others[:2], among=pool(arms)).half_width


def test_what_is_neither_the_seeds_nor_the_items_own_counts_once():
    # Noise of each seed on each item alone: the variance of the mean is 1 / (4 * 100).
    values = np.random.default_rng(8).normal(size=(400, 4, 100))
    found = [sample(one) for one in values]
    items = np.mean([np.sum(one.of_mean**2) for one in found])
    raw, seeds = (np.mean([getattr(one.components, name) for one in found]) for name in ("raw", "seeds"))
    assert items == pytest.approx(1 / 400, rel=0.05)
    assert raw == pytest.approx(1 / 400, rel=0.15)  # counted here for a second time ...
    assert seeds < 0.5 * raw  # ... and subtracted, but never below nothing


def test_what_is_the_same_in_every_item_differs_by_exactly_nothing():
    values = sample(np.random.default_rng(3).random((4, 50)) < 0.5)
    result = difference(values, values)
    assert (result.value, result.p) == (0.0, pytest.approx(1.0))
    constant = sample(np.ones((3, 20)))
    assert difference(constant, constant) == (0.0, 0.0, 1.0)
    assert verdict(difference(constant, constant), 1.0, "higher", None) == "no difference shown"
    assert verdict(difference(constant, constant), 1.0, "higher", 0.01) == "equivalent"


def test_two_arms_that_are_always_right_on_few_items_are_not_shown_to_be_equivalent():
    few, many = sample(np.ones((3, 3))), sample(np.ones((3, 2000)))
    result = difference(few, few, SHARE)
    assert (result.value, result.p) == (0.0, 1.0)
    assert verdict(result, 1.0, "higher", 0.02) == "no difference shown"
    assert verdict(difference(many, many, SHARE), 1.0, "higher", 0.02) == "equivalent"


def test_three_items_that_all_differ_show_nothing():
    right, wrong = sample(np.ones((5, 3))), sample(np.zeros((5, 3)))
    result = difference(right, wrong, SHARE)
    assert (result.value, result.p) == (
        1.0,
        0.125,
    )  # of eight arrangements of signs, two are as far apart: half of them
    assert result.half_width > result.value


@pytest.mark.parametrize(("gained", "lost"), [(7, 0), (6, 1), (5, 4), (9, 2)])
def test_where_few_items_differ_the_test_is_mcnemars_mid_p(gained, lost):
    first = np.ones(400)
    second = np.ones(400)
    first[:gained] = 0
    second[gained : gained + lost] = 0
    a, b = sample(np.tile(first, (2, 1))), sample(np.tile(second, (2, 1)))
    found = stats.binom(gained + lost, 0.5)
    p = min(1.0, 2 * found.cdf(min(gained, lost)) - found.pmf(min(gained, lost)))
    result = difference(b, a, SHARE)
    assert result.p == pytest.approx(max(p, stats.ttest_rel(second, first).pvalue))
    assert (result.half_width < abs(result.value)) == (result.p < 0.05)


def test_with_one_seed_there_is_neither_interval_nor_difference():
    one, three = sample(np.ones((1, 20))), sample(np.ones((3, 20)))
    assert interval(one) is None
    assert difference(three, one) is None


def test_the_interval_of_a_share_is_wilsons():
    right = np.zeros(80)
    right[:61] = 1
    found = interval(sample(np.tile(right, (4, 1))), SHARE)
    # As of 79 items, because the variance is estimated, and with Student's t.
    share, n, t = 61 / 80, 79, stats.t.ppf(0.975, 79)
    centre = (share + t**2 / (2 * n)) / (1 + t**2 / n)
    half = t * np.sqrt(share * (1 - share) / n + t**2 / (4 * n**2)) / (1 + t**2 / n)
    assert found == pytest.approx((centre - half, centre + half))


@pytest.mark.parametrize(("level", "low", "high"), [(1.0, 0.88, 1.0), (0.0, 0.0, 0.12)])
def test_an_arm_that_is_always_right_or_wrong_is_not_certain(level, low, high):
    found = interval(sample(np.full((3, 30), level)), SHARE)
    assert found == pytest.approx((low, high), abs=0.01)
    assert interval(sample(np.full((3, 30), level))) == Interval(level, level)  # without ends of the scale


def test_an_interval_stays_within_the_scale():
    random = np.random.default_rng(5)
    for level in (0.02, 0.5, 0.97):
        values = random.random((2, 12)) < level + random.normal(0, 0.3, (2, 1))
        found = interval(sample(values), SHARE)
        assert 0 <= found.low <= found.high <= 1
        scaled = interval(sample(2 * values - 1.0), (-1.0, 1.0))
        assert scaled == pytest.approx((2 * found.low - 1, 2 * found.high - 1))


def test_draws_have_the_spread_of_the_interval_and_belong_together():
    random = np.random.default_rng(4)
    values = random.random((8, 60)) + random.normal(0, 0.1, (8, 1))
    arms = {"a": sample(values), "b": sample(values + 1)}
    found = draw(arms, "items")
    assert np.array_equal(found["a"], draw(arms, "items")["a"])
    low, high = interval(arms["a"], among=pool(arms.values()))
    assert np.quantile(found["a"], [0.025, 0.975]) == pytest.approx((low, high), abs=0.02)
    items = np.sqrt(np.sum(arms["a"].of_mean ** 2))
    assert np.std(found["b"] - found["a"]) > items / 10  # their seeds are independent
    alike = {name: sample(np.tile(values[:1], (8, 1)) + more) for name, more in (("a", 0), ("b", 1))}
    drawn = draw(alike, "items")
    assert drawn["b"] - drawn["a"] == pytest.approx(np.ones(10_000), abs=1e-6)  # their items are the same


def holm(ps: list[float]) -> list[float]:
    """Return p-values adjusted by the graph in which each passes on to all others."""
    count = len(ps)
    return graphical(ps, [1 / count] * count, (1 - np.eye(count)) / max(count - 1, 1))


def test_a_graph_that_passes_on_to_all_others_is_holms_procedure():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.04]) == pytest.approx([0.04])
    assert graphical([], [], np.zeros((0, 0))) == []


def test_a_further_score_is_tested_once_the_first_is_shown():
    # The first scores of two arms, and a further score of the first arm.
    passes = np.array([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])
    # 0.01 / 0.5; then the second may use 0.75 and the further one 0.25; then the further one all.
    assert graphical([0.01, 0.04, 0.02], [0.5, 0.5, 0.0], passes) == pytest.approx([0.02, 0.04 / 0.75, 0.04 / 0.75])
    assert graphical([0.6, 0.9, 0.0], [0.5, 0.5, 0.0], passes) == pytest.approx([1.0, 1.0, 1.0])


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


def test_arms_that_cannot_be_told_apart_could_both_be_the_best():
    random = np.random.default_rng(5)
    good, alike, bad = (sample(random.random((5, 400)) < level) for level in (0.9, 0.9, 0.6))
    assert could_be_best({"good": good, "alike": alike, "bad": bad}, "higher") == {
        "good": True,
        "alike": True,
        "bad": False,
    }
    assert could_be_best({"good": good, "alike": alike, "bad": bad}, "lower") == {
        "good": False,
        "alike": False,
        "bad": True,
    }
    assert could_be_best({"alone": good}, "higher") == {"alone": True}


def test_folds_have_the_corrected_resampled_t_test():
    first, second = np.array([0.8, 0.7, 0.9, 0.85, 0.75]), np.array([0.7, 0.72, 0.8, 0.8, 0.7])
    found = difference(of_folds(first, 100, 1 / 4), of_folds(second, 100, 1 / 4), SHARE)
    apart = first - second
    error = np.sqrt(apart.var(ddof=1) * (1 / 5 + 1 / 4))
    assert found.value == pytest.approx(apart.mean())
    assert found.half_width == pytest.approx(stats.t.ppf(0.975, 4) * error)
    assert found.p == pytest.approx(2 * stats.t.sf(apart.mean() / error, 4))
    assert interval(of_folds(np.ones(5), 100, 1 / 4), SHARE).low == pytest.approx(0.963, abs=0.002)
