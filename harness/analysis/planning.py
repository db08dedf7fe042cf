"""How many seeds or test items a comparison needs, and how to look at it while they are added."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from harness.analysis.statistics import (
    LEVEL,
    Bounds,
    Part,
    Pooled,
    Sample,
    difference,
    pool,
    reach,
    seeds_parts,
)

_POWER = 0.8416
"""The value that a normal variable exceeds with a probability of 20 %: planned tests show a difference in 80 % of cases."""
_MOST_SEEDS, _MOST_ITEMS = 100, 100
"""Most seeds that are suggested, and how many times more items."""
_TINY = 1e-12


def level_of_looks(looks: Sequence[int]) -> float:
    """Return the level of each test if verdicts are looked at several times while seeds are added.

    With this level at every look, equal arms are told apart at any look with a probability of 5 % (Pocock, 1977, Group
    Sequential Methods; for any number of seeds by the correlation of the means, sqrt(first / second)).

    Args:
        looks: The numbers of seeds, in ascending order; empty or one of them for a single look.
    """
    if len(looks) < 2:
        return 1 - LEVEL
    from scipy.optimize import brentq
    from scipy.special import ndtr
    from scipy.stats import multivariate_normal

    seeds = np.asarray(looks, dtype=np.float64)
    means = multivariate_normal(
        cov=np.sqrt(np.minimum.outer(seeds, seeds) / np.maximum.outer(seeds, seeds)), allow_singular=True, seed=0
    )

    def excess(quantile: float) -> float:
        ends = np.full(len(seeds), quantile)
        return float(means.cdf(ends, lower_limit=-ends)) - LEVEL

    return float(2 * ndtr(-brentq(excess, 1.9, 4.0, xtol=1e-4)))


class Needed(NamedTuple):
    """What would probably show a difference, if it is as large as it was measured."""

    seeds: int | None
    """Number of seeds, on the same test items; None if the test items are too few for it."""
    items: int | None
    """Number of test items, or groups of them, with the same seeds; None if the seeds are too few for it."""


def needed(
    arm: Sample, other: Sample, bounds: Bounds = (None, None), among: Pooled | None = None, level: float = 1 - LEVEL
) -> Needed | None:
    """Return with how many seeds or items a difference would be shown in 80 % of cases; None if it cannot be said.

    The parts of the variance are taken to be as they were estimated: that of the items falls with the number of items,
    that of the seeds with the number of seeds, and the interaction with both.

    Args:
        arm: An arm.
        other: The arm it is compared with, on the same items.
        bounds: The ends of the score's scale.
        among: The variance due to seeds of all arms of the column; None for that of these two.
        level: Level of the test.
    """
    found = difference(arm, other, bounds, among)
    if found is None or arm.folds or abs(found.value) <= _TINY:
        return None
    among = pool([arm, other]) if among is None else among
    parts = seeds_parts(arm, other, among)
    both = arm.components.interaction + other.components.interaction
    by_items = max(float(np.sum((arm.of_mean - other.of_mean) ** 2)) - both, 0.0)
    count = len(arm.seeds)

    def shown(seeds: int, items: int) -> bool:
        more, wider = seeds / count, items / arm.items
        grown = [
            Part(part.variance / more, part.freedom * (seeds - 1) / (count - 1)) for part in parts if part.variance > 0
        ]
        grown.append(Part(by_items / wider + both / (more * wider), items - 1))
        spread = math.sqrt(sum(part.variance for part in grown))
        return abs(found.value) >= reach(grown, level) + _POWER * spread

    return Needed(
        _smallest(count, _MOST_SEEDS, lambda seeds: shown(seeds, arm.items)),
        _smallest(arm.items, _MOST_ITEMS * arm.items, lambda items: shown(count, items)),
    )


def _smallest(least: int, most: int, enough: Callable[[int], bool]) -> int | None:
    """Return the smallest number that is enough; None if the largest is not."""
    if not enough(most):
        return None
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle + 1, most)
    return most
