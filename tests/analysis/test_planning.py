import numpy as np
import pytest

from harness.analysis.planning import level_of_looks, needed
from tests.analysis import simulations as sim


def test_one_look_is_at_five_percent_and_more_looks_at_pococks_levels():
    assert level_of_looks(()) == level_of_looks((3,)) == pytest.approx(0.05)
    # Pocock, 1977, table 1: 2 to 5 looks at equal distances.
    pocock = {2: 0.0294, 3: 0.0221, 4: 0.0182, 5: 0.0158}
    for count, level in pocock.items():
        assert level_of_looks(range(1, count + 1)) == pytest.approx(level, abs=2e-4)


def answers(difference: float, seeds: int = 3, items: int = 400) -> tuple:
    """Return two arms that differ on some items, and the same in each seed but for one."""
    random = np.random.default_rng(0)
    first = np.tile(random.random(items) < 0.7, (seeds, 1))
    second = first.copy()
    second[:, : int(difference * items)] = True
    second[0, -1] = ~second[0, -1]
    return sim.sample(second), sim.sample(first)


def test_if_only_items_differ_more_items_show_the_difference_and_seeds_do_not():
    arm, other = answers(0.02)
    found = needed(arm, other, sim.SHARE)
    assert found is not None
    assert found.items is not None
    assert found.items > 400
    assert found.seeds is None


def test_what_cannot_be_said_is_none():
    arm, _ = answers(0.02)
    assert needed(arm, arm, sim.SHARE) is None
    alone, other = (sim.sample(np.ones((1, 5))), sim.sample(np.zeros((1, 5))))
    assert needed(alone, other, sim.SHARE) is None


def test_a_stricter_level_needs_more():
    arm, other = answers(0.02)
    strict, usual = (needed(arm, other, sim.SHARE, level=level) for level in (0.01, 0.05))
    assert strict.items > usual.items
