"""Uncertainty of scores and of differences: both the seeds and the test items are a sample.

A score is a ratio of sums over items, for each seed: statistics `[seeds, items, 2]`, numerator and denominator. Each
resample draws items and seeds: the same items for every arm and seed, because they are the same texts, and seeds
separately for each arm.
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
"""Maximum number of item counts held in memory at a time."""


class Mean(NamedTuple):
    """A mean and its uncertainty."""

    mean: float
    half_width: float | None
    """Half of the 95 % interval; None with fewer than two values."""
    n: int


class Contrast(NamedTuple):
    """The difference between two arms, and its uncertainty."""

    value: float
    half_width: float
    """Half of the 95 % interval."""
    p: float
    """Probability of a difference at least as large if there is none."""


@dataclass(frozen=True)
class Sample:
    """One arm in one column, measured and resampled."""

    seeds: NDArray[np.float64]
    """The value of each seed, `[S]`."""
    by_items: NDArray[np.float64]
    """The mean over the seeds on resampled items, `[B]`."""
    draws: NDArray[np.float64]
    """The mean over resampled seeds on resampled items, `[B]`."""
    items: int
    """Number of items."""

    @property
    def value(self) -> float:
        """Return the mean over the seeds."""
        return float(self.seeds.mean())

    @property
    def seed_variance(self) -> float:
        """Return the part of the variance of the mean that is due to the seeds."""
        return float(self.seeds.var(ddof=1)) / len(self.seeds) if len(self.seeds) > 1 else 0.0


def mean_of_seeds(values: Sequence[float]) -> Mean:
    """Return the mean of one value per seed, with its 95 % interval by Student's t.

    The interval covers the variation of seeds only, which is right for costs: they do not depend on test items. Source:
    Student, 1908 (The Probable Error of a Mean).
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
    """Resample items and seeds, based on the pigeonhole bootstrap (Owen, 2007, The pigeonhole bootstrap).

    The variance of the interaction of seeds and items is counted twice, so the result is slightly conservative. The
    original pigeonhole bootstrap counts it three times, because it takes the spread of the seeds on the resampled
    items, and detects about half as many true differences; here that spread is taken on all items. The spread is scaled
    by sqrt(S / (S - 1)), because otherwise the uncertainty of few seeds is underestimated (Rao and Wu, 1988, Resampling
    Inference with Complex Survey Data).

    Args:
        arms: For each arm and each of its seeds, the terms whose sum is its value: each a factor and the items'
            statistics `[items, 2]`, whose ratio of sums is multiplied by it. All have the same items in the same order.
        key: Identifies the items: the same key draws the same items in every column.
        resamples: Number of resamples (B).
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
    """Resample an arm's seeds: `scores` `[B, S]` on resampled items, `points` `[S]` on the original items."""
    count = len(points)
    by_items = scores.mean(1)
    # An arm's seeds are drawn identically in every column, so that joint probabilities are correct.
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
    """Return the difference `arm - other`, paired by item; None if either has only one seed.

    The standard error is that of the resampled differences. Interval and p both use Student's t with the degrees of
    freedom of Welch and Satterthwaite, so that they agree (Satterthwaite, 1946, An Approximate Distribution of
    Estimates of Variance Components).
    """
    if len(arm.seeds) < 2 or len(other.seeds) < 2:
        return None
    value = arm.value - other.value
    items = float(np.nanvar(arm.by_items - other.by_items))
    error, freedom = _error(arm.draws - other.draws, items, [arm, other], arm.items)
    # If nothing differs, only rounding errors remain.
    if error <= 1e-12 * max(1.0, abs(value)):
        return Contrast(value, 0.0, 1.0 if abs(value) <= 1e-12 else 0.0)
    from scipy.special import stdtr

    return Contrast(value, _quantile(freedom) * error, float(2 * stdtr(freedom, -abs(value) / error)))


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values adjusted for multiple comparisons (Holm, 1979, A Simple Sequentially Rejective Procedure)."""
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, at in enumerate(np.argsort(ps, kind="stable")):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[at]))
        adjusted[at] = highest
    return adjusted


def verdict(found: Contrast, p: float, better: Literal["higher", "lower"], margin: float | None) -> Verdict:
    """Return the verdict on a difference.

    Args:
        found: The difference.
        p: Its p-value, adjusted for all comparisons.
        better: Which direction is better.
        margin: Equivalence margin, if any: the whole interval must lie within it, which is stricter than two one-sided
            tests (Schuirmann, 1987).
    """
    if margin is not None and abs(found.value) + found.half_width <= margin:
        return "equivalent"
    if p > 1 - LEVEL:
        return "no difference shown"
    return "better" if (found.value > 0) == (better == "higher") else "worse"


def ranks(samples: Mapping[str, Sample], better: Literal["higher", "lower"]) -> dict[str, int]:
    """Return each arm's rank: one plus the number of arms that are significantly better; ties share a rank.

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
    """Return the standard error of the draws, and its degrees of freedom."""
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
    """Return each ratio of sums on resampled items, `[B, ratios]`; nan if a denominator is 0."""
    # Arms share the scores before tuning: each distinct array is summed only once.
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
    """Return a generator seeded by the key, so that a table is the same each time."""
    return np.random.default_rng(int(digest(list(key))[:16], 16))
