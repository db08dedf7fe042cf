"""What is known of a score, and of a difference: both the seeds and the items of the test split are a sample.

A score is a ratio of sums over items, for each seed: statistics `[seeds, items, 2]`, numerator and denominator. Resampling
draws items and seeds anew, again and again: the same items for every arm and seed, because they are the same texts, and
seeds for each arm by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.records import digest

Verdict = Literal["better", "worse", "no difference shown", "equivalent"]
RESAMPLES = 10_000
LEVEL = 0.95
_CHUNK = 4_000_000
"""Counts of items that are held at a time."""


class Mean(NamedTuple):
    """A mean and what is known of it."""

    mean: float
    half_width: float | None
    """Half of the 95 % interval; None with fewer than two values."""
    n: int


class Contrast(NamedTuple):
    """How far an arm lies above another, and how sure that is."""

    value: float
    half_width: float
    """Half of the 95 % interval."""
    p: float
    """Of a difference at least as large where there is none."""


@dataclass(frozen=True)
class Sample:
    """One arm in one column, as it is and as it might have been."""

    seeds: NDArray[np.float64]
    """The value of each seed, `[S]`."""
    by_items: NDArray[np.float64]
    """The mean over the seeds on items drawn anew, `[B]`."""
    draws: NDArray[np.float64]
    """The same with the seeds drawn anew as well, `[B]`."""
    items: int
    """How many there are to draw from."""

    @property
    def value(self) -> float:
        """Return the mean over the seeds."""
        return float(self.seeds.mean())

    @property
    def seed_variance(self) -> float:
        """Return the variance of the mean that comes from the seeds."""
        return float(self.seeds.var(ddof=1)) / len(self.seeds) if len(self.seeds) > 1 else 0.0


def mean_of_seeds(values: Sequence[float]) -> Mean:
    """Return the mean of one value per seed, with its 95 % interval by Student's t.

    The interval speaks of the seeds only: right for a cost, which no item is drawn for. Source: Student, 1908 (The Probable
    Error of a Mean).
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return Mean(float(array.mean()), None, len(array))
    deviation = array.std(ddof=1) if np.ptp(array) else 0.0
    return Mean(float(array.mean()), float(_quantile(len(array) - 1) * deviation / len(array) ** 0.5), len(array))


def resample(
    arms: Mapping[str, Sequence[Sequence[tuple[float, NDArray[np.float64]]]]],
    key: str,
    resamples: int = RESAMPLES,
) -> dict[str, Sample]:
    """Draw items and seeds anew, after the pigeonhole bootstrap (Owen, 2007, The pigeonhole bootstrap).

    It counts what is neither the seeds' nor the items' own twice, so that it is rather too careful than not: the pigeonhole's
    own counts it three times, because it takes the spread of the seeds on the items drawn, and finds about half as
    many of the differences there are; here that spread is taken on all items. It is stretched by sqrt(S / (S - 1)), without which few seeds
    would look surer than they are (Rao and Wu, 1988, Resampling Inference with Complex Survey Data).

    Args:
        arms: For each arm and each of its seeds the parts that its value is the sum of: each a factor and the items'
            statistics `[items, 2]`, whose ratio of sums it is put before. All have the same items in the same order.
        key: What the items are: the same key draws the same items, whatever the column.
        resamples: How often (B).
    """
    if not arms:
        return {}
    parts = [part for seeds in arms.values() for seed in seeds for part in seed]
    n = len(parts[0][1])
    ratios = _ratios([statistics for _, statistics in parts], n, key, resamples)
    whole = np.array([statistics.sum(0)[0] / statistics.sum(0)[1] for _, statistics in parts])
    found: dict[str, Sample] = {}
    at = 0
    for label, seeds in arms.items():
        columns, points = [], []
        for seed in seeds:
            factors = np.array([factor for factor, _ in seed])
            columns.append(ratios[:, at : at + len(seed)] @ factors)
            points.append(float(whole[at : at + len(seed)] @ factors))
            at += len(seed)
        found[label] = _sample(label, np.stack(columns, axis=1), np.array(points), n)
    return found


def _sample(label: str, scores: NDArray[np.float64], points: NDArray[np.float64], items: int) -> Sample:
    """Draw an arm's seeds: `scores` `[B, S]` on items drawn anew, `points` `[S]` on the items as they are."""
    count = len(points)
    by_items = scores.mean(1)
    # An arm's seeds are drawn alike in every column, so that what holds together is counted together.
    drawn = _random("seeds", label, count).integers(count, size=scores.shape)
    moved = points[drawn].mean(1) - points.mean()
    stretch = math.sqrt(count / (count - 1)) if count > 1 else 0.0
    return Sample(points, by_items, by_items + stretch * moved, items)


def interval(sample: Sample) -> float | None:
    """Return half of the 95 % interval of an arm's mean, over seeds and items; None with one seed."""
    if len(sample.seeds) < 2:
        return None
    error, freedom = _error(sample.draws, float(np.nanvar(sample.by_items)), [sample], sample.items)
    return _quantile(freedom) * error if error else 0.0


def difference(arm: Sample, other: Sample) -> Contrast | None:
    """Return how far `arm` lies above `other`, paired by item; None where either has one seed.

    The standard error is that of the resampled differences; interval and p are those of Student's t with Welch's and
    Satterthwaite's degrees of freedom, so that they agree (Satterthwaite, 1946, An Approximate Distribution of Estimates of
    Variance Components).
    """
    if len(arm.seeds) < 2 or len(other.seeds) < 2:
        return None
    value = arm.value - other.value
    items = float(np.nanvar(arm.by_items - other.by_items))
    error, freedom = _error(arm.draws - other.draws, items, [arm, other], arm.items)
    # What resampling leaves where nothing differs is rounding.
    if error <= 1e-12 * max(1.0, abs(value)):
        return Contrast(value, 0.0, 1.0 if abs(value) <= 1e-12 else 0.0)
    from scipy.special import stdtr

    return Contrast(value, _quantile(freedom) * error, float(2 * stdtr(freedom, -abs(value) / error)))


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values that hold for all comparisons together (Holm, 1979, A Simple Sequentially Rejective Procedure)."""
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, at in enumerate(np.argsort(ps, kind="stable")):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[at]))
        adjusted[at] = highest
    return adjusted


def verdict(found: Contrast, p: float, better: Literal["higher", "lower"], margin: float | None) -> Verdict:
    """Return what a difference comes to.

    Args:
        found: The difference.
        p: Its p-value among all that are compared.
        better: Which direction is good.
        margin: Within which two arms are as good as each other, if any: the whole interval must lie there, which asks more
            than two one-sided tests do (Schuirmann, 1987).
    """
    if margin is not None and abs(found.value) + found.half_width <= margin:
        return "equivalent"
    if p > 1 - LEVEL:
        return "no difference shown"
    return "better" if (found.value > 0) == (better == "higher") else "worse"


def ranks(samples: Mapping[str, Sample], better: Literal["higher", "lower"]) -> dict[str, int]:
    """Return each arm's rank: one more than the number of arms that are shown to be better; ties share it.

    All pairs are compared, with Holm's correction. Arms with one seed have no rank.
    """
    labels = [label for label, sample in samples.items() if len(sample.seeds) > 1]
    pairs = [(first, second) for at, first in enumerate(labels) for second in labels[at + 1 :]]
    found = [difference(samples[first], samples[second]) for first, second in pairs]
    adjusted = holm([result.p if result else 1.0 for result in found])
    beaten = dict.fromkeys(labels, 0)
    for (first, second), result, p in zip(pairs, found, adjusted, strict=True):
        if result is None or p > 1 - LEVEL:
            continue
        beaten[second if (result.value > 0) == (better == "higher") else first] += 1
    return {label: 1 + count for label, count in beaten.items()}


def _error(
    draws: NDArray[np.float64], items_variance: float, arms: Sequence[Sample], items: int
) -> tuple[float, float]:
    """Return the standard error of what was drawn, and its degrees of freedom."""
    parts = [(items_variance, items - 1), *((arm.seed_variance, len(arm.seeds) - 1) for arm in arms)]
    scale = sum(variance for variance, _ in parts)
    if scale == 0:
        return 0.0, math.inf
    below = sum(variance**2 / freedom for variance, freedom in parts if variance and freedom)
    return float(np.nanstd(draws)), scale**2 / below if below else math.inf


def _quantile(freedom: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(ndtri((1 + LEVEL) / 2) if math.isinf(freedom) else stdtrit(freedom, (1 + LEVEL) / 2))


def _ratios(statistics: Sequence[NDArray[np.float64]], n: int, key: str, resamples: int) -> NDArray[np.float64]:
    """Return each ratio of sums on items drawn anew, `[B, ratios]`; nan where a denominator is 0."""
    # Arms share what was measured before tuning: each is summed once.
    distinct: dict[bytes, int] = {}
    which = [distinct.setdefault(one.tobytes(), len(distinct)) for one in statistics]
    columns = [np.frombuffer(one, dtype=np.float64).reshape(n, 2) for one in distinct]
    stacked = np.concatenate(columns, axis=1).astype(np.float32)
    random = _random("items", key, n)
    sums = np.empty((resamples, stacked.shape[1]), dtype=np.float64)
    step = max(1, min(resamples, _CHUNK // n))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = random.integers(n, size=(count, n), dtype=np.int32) + np.arange(count, dtype=np.int32)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n).astype(np.float32)
        sums[start : start + count] = counts @ stacked
    numerators, denominators = sums[:, 0::2], sums[:, 1::2]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(denominators > 0, numerators / denominators, np.nan)
    return found[:, which]


def _random(*key: object) -> np.random.Generator:
    """Return what draws the same for the same key, so that a table is the same each time."""
    return np.random.default_rng(int(digest(list(key))[:16], 16))
