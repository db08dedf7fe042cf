"""What the intervals and verdicts claim, with few repetitions; `docs/statistics.md` has the same with many."""

import numpy as np
import pytest
from scipy import stats

from harness.analysis.planning import level_of_looks
from tests.analysis import simulations as sim

pytestmark = pytest.mark.slow


def at_most(share: float, expected: float, times: int) -> bool:
    """Return whether a share of `times` is compatible with a rate of at most `expected`."""
    return stats.binomtest(round(share * times), times, expected, alternative="greater").pvalue > 0.01


@pytest.mark.parametrize("world", sim.WORLDS, ids=lambda world: world.name)
@pytest.mark.parametrize(("seeds", "items"), [(3, 200), (5, 200), (3, 30)])
def test_equal_arms_are_told_apart_in_at_most_one_of_twenty_comparisons(world, seeds, items):
    assert at_most(sim.told_apart(sim.ours, world, seeds, items, 0.0, 250), 0.05, 250)


@pytest.mark.parametrize("world", sim.WORLDS, ids=lambda world: world.name)
def test_with_two_seeds_in_at_most_one_of_twelve(world):
    assert at_most(sim.told_apart(sim.ours, world, 2, 200, 0.0, 250), 1 / 12, 250)


def test_other_ways_tell_equal_arms_apart():
    by_items, by_seeds = sim.WORLDS[0], sim.WORLDS[2]
    assert sim.told_apart(sim.t_over_seeds, by_items, 3, 200, 0.0, 200) > 0.5
    assert sim.told_apart(sim.mcnemar, by_seeds, 3, 200, 0.0, 200) > 0.5


def test_a_better_arm_is_found_as_often_as_by_the_test_that_fits():
    noise, items = sim.WORLDS[1], sim.WORLDS[0]
    found, theirs = (sim.told_apart(test, noise, 3, 200, 0.2, 300) for test in (sim.ours, sim.t_over_seeds))
    assert found > theirs - 0.05
    found, theirs = (sim.told_apart(test, items, 3, 200, 0.2, 300) for test in (sim.ours, sim.mcnemar))
    assert found > theirs - 0.02


@pytest.mark.parametrize("world", sim.WORLDS[:4], ids=lambda world: world.name)
def test_a_better_arm_is_found_as_often_as_by_a_crossed_analysis_of_variance(world):
    found, theirs = (sim.told_apart(test, world, 5, 200, 0.2, 300) for test in (sim.ours, sim.crossed_anova))
    assert found > theirs - 0.03


@pytest.mark.parametrize("arms", [2, 4, 10])
@pytest.mark.parametrize("columns", [1, 8])
def test_a_table_of_equal_arms_has_a_false_verdict_in_at_most_one_of_twenty_cases(columns, arms):
    assert at_most(sim.false_tables(sim.WORLDS[3], columns, arms, 3, 100, 60), 0.05, 60)


def test_equal_arms_of_which_ones_seeds_vary_more_are_told_apart_in_at_most_one_of_twenty_tables():
    assert at_most(sim.of_unlike_seeds(3, 2, 0.0, 60), 0.05, 60)


def test_items_in_groups_are_told_apart_only_if_the_groups_are_ignored():
    random = np.random.default_rng(0)
    some = [sim.grouped(random, 40, 5) for _ in range(300)]
    assert at_most(np.mean([sim.by_group(one, 40) <= 0.05 for one in some]), 0.05, 300)
    assert np.mean([sim.ours(one) <= 0.05 for one in some]) > 0.1


@pytest.mark.parametrize("world", sim.WORLDS, ids=lambda world: world.name)
@pytest.mark.parametrize(("seeds", "items"), [(3, 30), (3, 200), (5, 200)])
def test_an_interval_holds_the_true_score(world, seeds, items):
    assert at_most(1 - sim.covered(world, seeds, items, 250), 0.07, 250)


@pytest.mark.parametrize("name", ["macro-f1", "mcc"])
@pytest.mark.parametrize(("items", "prior"), [(30, 0.05), (30, 0.3), (100, 0.05)])
def test_an_interval_holds_the_true_score_of_rare_classes(name, items, prior):
    assert at_most(1 - sim.covered_confusion(name, items, prior, 120), 0.07, 120)


@pytest.mark.parametrize("world", sim.WORLDS[:4], ids=lambda world: world.name)
def test_the_cheaper_of_two_equal_arms_is_recommended(world):
    assert at_most(1 - sim.recommended(world, 3, 300, 0.0, 200), 0.2, 200)


@pytest.mark.parametrize("world", sim.WORLDS[:2], ids=lambda world: world.name)
def test_one_that_is_worse_by_more_than_the_test_can_show_hardly_ever(world):
    assert at_most(sim.recommended(world, 3, 300, 0.05, 200), 0.2, 200)


@pytest.mark.parametrize("world", sim.WORLDS[:4], ids=lambda world: world.name)
def test_planned_looks_tell_equal_arms_apart_in_at_most_one_of_twenty_comparisons(world):
    looks = (3, 5, 10)
    assert at_most(sim.found_at_any_look(world, looks, level_of_looks(looks), 300), 0.05, 300)


@pytest.mark.parametrize("pilot", sim.PILOTS[:3], ids=lambda pilot: pilot[0].name)
def test_predicted_sizes_show_a_difference_in_about_four_of_five_comparisons(pilot):
    world, seeds, items, gain = pilot
    more, wider = sim.predicted(*pilot, times=200)
    sizes = [(more, items)] * (more is not None) + [(seeds, wider)] * (wider is not None)
    assert sizes
    for size in sizes:
        assert 0.7 <= sim.told_apart(sim.ours, world, *size, gain, 300) <= 0.97
