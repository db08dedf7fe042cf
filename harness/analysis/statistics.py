"""Uncertainty of scores and of differences: both the seeds and the test items are a sample.

A value is a mean over seeds of scores on the same test items. Its variance has three parts: that of the items, that of
the seeds, and their interaction. They are estimated as in a crossed analysis of variance with random effects (Searle,
Casella and McCulloch, 1992, Variance Components, chapter 4; for scores of models: Bouthillier et al., 2021, Accounting
for Variance in Machine Learning Benchmarks). Few seeds estimate the variance of seeds badly: an arm borrows from the
other arms of its column, and the critical value combines one for each part. `docs/statistics.md` has the coverage and
the error rates of every interval and test in this module, by simulation.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.records import digest

Verdict = Literal["better", "worse", "no difference shown", "equivalent"]
Bounds = tuple[float | None, float | None]
"""The lowest and the highest possible value; None if there is none."""
RESAMPLES = 10_000
LEVEL = 0.95
_FEW = 12
"""Largest number of differing items for which the test over their signs is computed; with more, Student's t is accurate."""
_SHOWABLE = 5
"""Number of differing items from which the test over their signs can reach 5 %: 1 / 2**5 < 0.05 < 1 / 2**4."""
_LEAST_LOG_P, _HALVINGS = -60.0, 40
_NEWTON = 20
_ALIKE = 0.01
"""Share of the arms' mean variance below which seeds are almost alike, which tells nothing about the other arms."""
_TINY = 1e-12


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Return half of its width."""
        return (self.high - self.low) / 2


class Mean(NamedTuple):
    """A mean and its uncertainty."""

    mean: float
    interval: Interval | None
    """None with fewer than two values."""
    n: int


class Contrast(NamedTuple):
    """The difference between two arms, and its uncertainty."""

    value: float
    half_width: float
    """Half of the 95 % interval."""
    p: float
    """Probability of a difference at least as large if there is none."""


class Components(NamedTuple):
    """The variance of an arm's mean over the seeds that is not due to the items alone."""

    seeds: float
    """The part of the seeds, without the interaction; at least 0."""
    raw: float
    """The variance of the mean as computed from the seeds' values: seeds and interaction."""
    freedom: int
    """Degrees of freedom of both."""
    interaction: float = 0.0
    """The part of the interaction of seeds and items."""


@dataclass(frozen=True)
class Sample:
    """One arm in one column."""

    seeds: NDArray[np.float64]
    """The value of each seed, `[S]`."""
    deviations: NDArray[np.float64]
    """Deviations of the seeds' values that are due to the items, `[S, K]`: `deviations @ deviations.T` is the
    covariance of the seeds' values over samples of items. Arms of one column have the same K."""
    items: int
    """Number of items, or of groups of items that are drawn together."""
    linear: bool = False
    """Whether K is the number of items and the value is a mean over them, so that their signs can be tested."""
    centre: float | None = None
    """Mean over seeds of the resampled values, if the deviations are those of resampled values."""
    folds: bool = False
    """Whether each seed has its own test items, so that the seeds themselves are the units: `deviations` are those of
    their values, alike for all seeds."""

    @property
    def freedom(self) -> float:
        """Return the degrees of freedom with which the items' part is known."""
        return (len(self.seeds) if self.folds else self.items) - 1

    @functools.cached_property
    def value(self) -> float:
        """Return the mean over the seeds."""
        return float(self.seeds.mean())

    @functools.cached_property  # asked for in every comparison of two arms
    def of_mean(self) -> NDArray[np.float64]:
        """Return the deviations of the mean over the seeds, `[K]`."""
        return np.asarray(self.deviations.mean(0))

    @functools.cached_property
    def components(self) -> Components:
        """Return the variance of the mean that is due to the seeds.

        The spread of the seeds' values contains the interaction of seeds and items, and so does the variance over items
        of the mean over the seeds. To count it once, it is subtracted here: it is how much more the seeds' own values
        vary over items than their mean does.
        """
        count = len(self.seeds)
        if count < 2 or self.folds:
            return Components(0.0, 0.0, 0)
        own = float(np.vdot(self.deviations, self.deviations)) / count
        interaction = max(0.0, own - float(np.sum(self.of_mean**2))) / (count - 1)
        raw = float(self.seeds.var(ddof=1)) / count if np.ptp(self.seeds) else 0.0
        return Components(max(0.0, raw - interaction), raw, count - 1, interaction)


class Pooled(NamedTuple):
    """The variance due to seeds of the arms of a column."""

    raw: float
    """The mean of the arms' variances."""
    weight: float
    """Degrees of freedom that this is worth beside an arm's own: 0 with one arm, infinite if the arms do not differ."""
    arms: tuple[Components, ...]
    """Those of the arms whose seeds are not all alike."""

    @property
    def freedom(self) -> int:
        """Return the degrees of freedom of all arms together."""
        return sum(one.freedom for one in self.arms)


class Part(NamedTuple):
    """A part of a variance, and the degrees of freedom with which it is known."""

    variance: float
    freedom: float


def of_folds(values: NDArray[np.float64], items: int, share: float) -> Sample:
    """Return an arm as a sample of the folds of a cross-validation.

    The training rows of two folds overlap, so that their scores are not independent: the variance of the mean is that of
    J independent scores, plus a part that does not become smaller with more folds (Nadeau and Bengio, 2003, Inference
    for the Generalization Error, section 3: the corrected resampled t-test).

    Args:
        values: The score of each fold, `[J]`.
        items: Number of test items of all folds.
        share: Size of a test split divided by that of its training split.
    """
    count = len(values)
    scale = math.sqrt((1 / count + share) / (count - 1)) if count > 1 else 0.0
    deviations = np.tile((values - values.mean()) * scale, (count, 1))
    return Sample(values, deviations, items, folds=True)


def pool(samples: Iterable[Sample]) -> Pooled:
    """Return what the arms of a column tell about the variance of each one's seeds."""
    found = [one for sample in samples if (one := sample.components).raw > 0]
    typical = float(np.mean([one.raw for one in found])) if found else 0.0
    return _pooled([one for one in found if one.raw > _ALIKE * typical])


def _pooled(arms: Sequence[Components]) -> Pooled:
    """Return the mean of the arms' variances, and the degrees of freedom of the distribution that they come from.

    This is taken to be a scaled inverse chi-square, and its degrees of freedom are those that fit the variance of the
    logarithms of the estimates (Smyth, 2004, Linear Models and Empirical Bayes Methods for Assessing Differential
    Expression in Microarray Experiments, section 6.2). Smyth's centre is lower than the mean; with it, tables of equal
    arms had false verdicts too often.
    """
    from scipy.special import digamma, polygamma

    mean = float(np.mean([one.raw for one in arms])) if arms else 0.0
    if len(arms) < 2:
        return Pooled(mean, 0.0, tuple(arms))
    halves = np.array([one.freedom / 2 for one in arms])
    logs = np.log([one.raw for one in arms]) - digamma(halves) + np.log(halves)
    beyond = float(logs.var(ddof=1) - polygamma(1, halves).mean())
    # If the estimates scatter no more than those of one variance would, it is known with the degrees of freedom of all.
    return Pooled(mean, 2 * _inverse_trigamma(beyond) if beyond > 0 else math.inf, tuple(arms))


def _inverse_trigamma(value: float) -> float:
    """Return the number whose trigamma is `value`, by Newton's method (Smyth, 2004, appendix)."""
    from scipy.special import polygamma

    found = 0.5 + 1 / value
    for _ in range(_NEWTON):
        trigamma = float(polygamma(1, found))
        found += trigamma * (1 - trigamma / value) / float(polygamma(2, found))
    return found


def seeds_part(sample: Sample, among: Pooled) -> Part:
    """Return the seeds' part of an arm: that of `_moderated`, but never less than the arm's own."""
    part = _moderated(sample, among)
    return Part(max(sample.components.seeds, part.variance), part.freedom)


def seeds_parts(arm: Sample, other: Sample, among: Pooled) -> tuple[Part, Part]:
    """Return the seeds' parts of two arms that are compared: together never less than their own.

    Each by itself may be less: with as many seeds of each arm, the sum of their variances is as good an estimate if the
    arms vary differently as if they do not, so that a larger one would only cost power.
    """
    return _together(arm, other, (_moderated(arm, among), _moderated(other, among)))


def _together(arm: Sample, other: Sample, parts: tuple[Part, Part]) -> tuple[Part, Part]:
    """Return the seeds' parts of two arms, enlarged if their sum is less than that of the arms' own."""
    own, found = arm.components.seeds + other.components.seeds, parts[0].variance + parts[1].variance
    if own <= found:
        return parts
    if not found:
        return Part(arm.components.seeds, parts[0].freedom), Part(other.components.seeds, parts[1].freedom)
    first, second = (part._replace(variance=part.variance * own / found) for part in parts)
    return first, second


def _moderated(sample: Sample, among: Pooled) -> Part:
    """Return the seeds' part of an arm: its own and that of all arms, weighted by their degrees of freedom.

    A variance estimated from two or three seeds is often far too small by chance, and then shows differences that are
    not there; that of all arms is known better (the moderated t of Smyth, 2004, section 4). The less an arm looks like
    one of the others, the fewer of their degrees of freedom it borrows (Phipson et al., 2016, Robust Hyperparameter
    Estimation Protects against Hypervariable Genes, section 5). An arm whose seeds are all alike has none.
    """
    own = sample.components
    if own.raw == 0:
        return Part(own.seeds, own.freedom)
    weight = min(among.weight, max(among.freedom - own.freedom, 0)) * _likeness(own, among)
    freedom = weight + own.freedom
    raw = (weight * among.raw + own.freedom * own.raw) / freedom
    return Part(max(0.0, raw - own.interaction), freedom)


@functools.lru_cache(1_000)  # the reference's is asked for in every comparison with it
def _likeness(own: Components, among: Pooled) -> float:
    """Return how far an arm may borrow from the others, from 0 to 1: less if hardly one of so many arms varies as much."""
    from scipy.special import fdtrc

    others = list(among.arms)
    if own in others:
        others.remove(own)
    if len(others) < 2:
        return 1.0
    rest = _pooled(others)
    share = float(fdtrc(own.freedom, min(rest.weight, rest.freedom), own.raw / rest.raw))
    expected = 0.5 / len(among.arms)  # of the most variable arm
    return min(1.0, share / expected)


def mean_of_seeds(values: Sequence[float]) -> Mean:
    """Return the mean of one value per seed, with its 95 % interval by Student's t.

    The interval covers the variation of seeds only, which is right for costs: they do not depend on test items. Source:
    Student, 1908 (The Probable Error of a Mean).
    """
    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Mean(mean, None, len(array))
    deviation = array.std(ddof=1) if np.ptp(array) else 0.0
    half = float(_quantile(len(array) - 1, 1 - LEVEL) * deviation / len(array) ** 0.5)
    return Mean(mean, Interval(mean - half, mean + half), len(array))


def interval(sample: Sample, bounds: Bounds = (None, None), among: Pooled | None = None) -> Interval | None:
    """Return the 95 % interval of an arm's mean over seeds and items; None with one seed.

    If the score has a lowest and a highest value, the interval is that of Wilson with the effective number of items,
    that is, of a proportion with the same variance: it lies within the scale and is not empty at its ends (Wilson,
    1927, Probable Inference; for samples with several sources of variance: Franco et al., 2019, Comparative Study of
    Confidence Intervals for Proportions in Complex Sample Surveys, section 2.3). If the score was resampled, the
    items' part lies between the quantiles of the resampled values. Otherwise the interval is symmetric.
    """
    if len(sample.seeds) < 2:
        return None
    items = Part(float(np.sum(sample.of_mean**2)), sample.freedom)
    seeds = seeds_part(sample, pool([sample]) if among is None else among)
    if sample.centre is not None:
        return _skewed(sample, sample.centre, seeds, bounds)
    half = reach((items, seeds), 1 - LEVEL)
    low, high = bounds
    if low is None or high is None:
        return Interval(sample.value - half, sample.value + half)
    share = min(max((sample.value - low) / (high - low), 0.0), 1.0)
    quantile = _quantile(math.inf, 1 - LEVEL)
    variance = (half / quantile / (high - low)) ** 2
    effective = share * (1 - share) / variance if variance > _TINY**2 else 0.0
    if effective <= _TINY:  # at an end of the scale, or nothing varies: as many as there are items
        effective, quantile = float(sample.items), _quantile(sample.items - 1, 1 - LEVEL)
    centre = (share + quantile**2 / (2 * effective)) / (1 + quantile**2 / effective)
    half = quantile * math.sqrt(share * (1 - share) / effective + quantile**2 / (4 * effective**2))
    half /= 1 + quantile**2 / effective
    return Interval(low + (high - low) * max(centre - half, 0.0), low + (high - low) * min(centre + half, 1.0))


def _skewed(sample: Sample, centre: float, seeds: Part, bounds: Bounds) -> Interval:
    """Return the interval of resampled values; it contains the value itself, which differs from their centre by bias."""
    resampled = sample.of_mean * math.sqrt(len(sample.of_mean) - 1)
    ends = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) / _quantile(math.inf, 1 - LEVEL)
    below, above = (reach((Part(float(end) ** 2, sample.items - 1), seeds), 1 - LEVEL) for end in ends)
    low, high = min(centre - below, sample.value), max(centre + above, sample.value)
    return Interval(
        low if bounds[0] is None else max(low, bounds[0]), high if bounds[1] is None else min(high, bounds[1])
    )


def difference(
    arm: Sample, other: Sample, bounds: Bounds = (None, None), among: Pooled | None = None
) -> Contrast | None:
    """Return the difference `arm - other`, paired by item; None if either has only one seed.

    The critical value is the root of the sum of those of the parts, each with Student's t and the part's own degrees of
    freedom: a t-test with pooled variance if only seeds vary, a paired t-test if only items do. (The degrees of freedom
    of Satterthwaite, 1946, which are common here, are wrong in the tails that a table of many comparisons needs.) If
    the arms differ on few items, p is at least that of a test over the signs of their differences.

    Args:
        arm: An arm.
        other: The arm it is compared with, on the same items.
        bounds: The ends of the score's scale, if it has any: an interval is then never empty (half an item is added to
            each of the four outcomes of a pair; Agresti and Min, 2005, Simple Improved Confidence Intervals for
            Comparing Matched Proportions).
        among: The variance due to seeds of all arms of the column; None for that of these two.
    """
    if len(arm.seeds) < 2 or len(other.seeds) < 2:
        return None
    among = pool([arm, other]) if among is None else among
    value, parts, differing = _pair(arm, other, bounds, seeds_parts(arm, other, among))
    found = _contrast(value, parts)
    if not len(differing) or found.p >= (p := _signs(differing)):
        return found
    # Widen the interval by as much as the test over signs is weaker, so that both say the same.
    widened = abs(value) * reach(parts, 1 - LEVEL) / max(reach(parts, p), _TINY)
    return Contrast(value, max(found.half_width, widened), p)


def _pair(
    arm: Sample, other: Sample, bounds: Bounds, seeds: tuple[Part, Part]
) -> tuple[float, tuple[Part, ...], NDArray[np.float64]]:
    """Return a difference, the parts of its variance, and the items' differences if they are few: then their signs are tested."""
    value = arm.value - other.value
    apart = arm.of_mean - other.of_mean
    by_items = float(np.sum(apart**2))
    if not arm.linear:
        return value, (Part(by_items, arm.freedom), *seeds), np.empty(0)
    n = arm.items
    pairs = value + apart * math.sqrt(n * (n - 1))
    differing = pairs[np.abs(pairs) > 1e-9 * max(1.0, float(np.max(np.abs(pairs))))]
    low, high = bounds
    if len(differing) < _SHOWABLE and low is not None and high is not None:
        added = (float(np.sum(pairs**2)) + (high - low) ** 2) / (n + 2) - (float(np.sum(pairs)) / (n + 2)) ** 2
        by_items = max(by_items, added / (n + 2))
    return value, (Part(by_items, n - 1), *seeds), differing if len(differing) <= _FEW else np.empty(0)


def _contrast(value: float, parts: Sequence[Part]) -> Contrast:
    half = reach(parts, 1 - LEVEL)
    # If nothing differs, only rounding errors remain.
    if half <= _TINY * max(1.0, abs(value)):
        return Contrast(value, 0.0, 1.0 if abs(value) <= _TINY else 0.0)
    least, most = _LEAST_LOG_P, 0.0
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        if reach(parts, math.exp(middle)) > abs(value):
            least = middle
        else:
            most = middle
    return Contrast(value, half, math.exp(most))


def _is_shown(value: float, parts: Sequence[Part], p: float) -> bool:
    """Return whether a difference has at most this p-value."""
    half = reach(parts, min(p, 1.0))
    return abs(value) > _TINY if half <= _TINY * max(1.0, abs(value)) else half <= abs(value)


def reach(parts: Sequence[Part], p: float) -> float:
    """Return the difference of which one at least as large has probability p if there is none."""
    return math.sqrt(sum(part.variance * _quantile(part.freedom, p) ** 2 for part in parts if part.variance > 0))


def _signs(differences: NDArray[np.float64]) -> float:
    """Return the two-sided mid-p-value of the sum of `differences` `[m]` if every sign were equally likely.

    The probability of a larger sum, and half of that of one as large: with right and wrong answers, McNemar's mid-p
    test, which kept the level in all of 9,595 cases where the exact test only loses power (Fagerland, Lydersen and
    Laake, 2013, The McNemar Test for Binary Matched-Pairs Data: Mid-p and Asymptotic Are Better Than Exact Conditional).
    """
    sums = np.abs(np.array(list(product((-1.0, 1.0), repeat=len(differences)))) @ differences)
    found = abs(differences.sum())
    return float(np.mean(sums > found * (1 + 1e-9)) + np.mean(sums >= found * (1 - 1e-9))) / 2


def graphical(ps: Sequence[float], weights: Sequence[float], passes: NDArray[np.float64]) -> list[float]:
    """Return p-values adjusted for multiple comparisons by a graphical procedure.

    What a comparison may use of the permitted error is passed on as soon as its difference is shown. With equal weights
    that are passed on to all others, it is Holm's procedure. Source: Bretz, Maurer, Brannath and Posch, 2009, A
    Graphical Approach to Sequentially Rejective Multiple Test Procedures, algorithm 2.

    Args:
        ps: The p-values, `[m]`.
        weights: The share of the permitted error that each may use at first, `[m]`; their sum is at most 1.
        passes: Row i: the shares in which comparison i passes it on, `[m, m]`; each sum is at most 1.
    """
    left, passes = np.asarray(weights, dtype=np.float64).copy(), passes.astype(np.float64)
    adjusted, highest, waiting = [1.0] * len(ps), 0.0, list(range(len(ps)))
    while waiting:
        ratios = [ps[at] / left[at] if left[at] > 0 else math.inf for at in waiting]
        done = waiting.pop(int(np.argmin(ratios)))
        if math.isinf(min(ratios)):
            break
        highest = adjusted[done] = max(highest, min(1.0, float(ps[done] / left[done])))
        left += left[done] * passes[done]
        from_, to = passes[:, done], passes[done]
        back = 1 - from_ * to
        passes = np.divide(
            passes + np.outer(from_, to), back[:, None], out=np.zeros_like(passes), where=back[:, None] > _TINY
        )
        np.fill_diagonal(passes, 0.0)
        passes[:, done], passes[done], left[done] = 0.0, 0.0, 0.0
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


def could_be_best(
    samples: Mapping[str, Sample],
    better: Literal["higher", "lower"],
    bounds: Bounds = (None, None),
    level: float = 1 - LEVEL,
) -> dict[str, bool]:
    """Return for each arm whether it could be the best: no other arm is shown to be better.

    The best arm is among them with a probability of at least 95 %: it is compared with each of the others, one-sided,
    with Bonferroni's correction (multiple comparisons with the best; Hsu, 1984, Constrained Simultaneous Confidence
    Intervals for Multiple Comparisons with the Best). Arms with one seed are left out.
    """
    labels = [label for label, sample in samples.items() if len(sample.seeds) > 1]
    among, beaten = pool(samples.values()), dict.fromkeys(labels, False)
    seeds = {label: _moderated(samples[label], among) for label in labels}
    limit = 2 * level / max(len(labels) - 1, 1)
    for first, second in combinations(labels, 2):
        one, other = samples[first], samples[second]
        value, parts, differing = _pair(one, other, bounds, _together(one, other, (seeds[first], seeds[second])))
        # Whether p is below the limit is far cheaper to tell than p.
        if _is_shown(value, parts, limit) and (not len(differing) or _signs(differing) <= limit):
            beaten[second if (value > 0) == (better == "higher") else first] = True
    return {label: not lost for label, lost in beaten.items()}


def draw(samples: Mapping[str, Sample], key: str, resamples: int = RESAMPLES) -> dict[str, NDArray[np.float64]]:
    """Return values that the arms' true means could have, each `[B]`, jointly for all arms of a column.

    The items' part is normal, with the covariance between the arms that comes from the same items. The seeds' part has
    Student's t, with as many degrees of freedom as there are seeds to estimate it, so that probabilities have the tails
    that intervals and verdicts have (Weerahandi, 1993, Generalized Confidence Intervals).

    Args:
        samples: The arms of a column, by label.
        key: Identifies the column's items: the same key gives the same values.
        resamples: Number of values (B).
    """
    if not samples:
        return {}
    deviations = np.stack([sample.of_mean for sample in samples.values()])
    sizes, axes = np.linalg.eigh(deviations @ deviations.T)
    random = _random("items", key, resamples)
    by_items = (axes * np.sqrt(np.maximum(sizes, 0.0))) @ random.standard_normal((len(samples), resamples))
    drawn, among = {}, pool(samples.values())
    for (label, sample), moved in zip(samples.items(), by_items, strict=True):
        seeds = seeds_part(sample, among)
        # Seeds are drawn identically in every column of an arm, so that joint probabilities are cautious.
        by_seeds = _random("seeds", label).standard_t(seeds.freedom, resamples) if seeds.freedom else 0.0
        drawn[label] = sample.value + moved + math.sqrt(seeds.variance) * by_seeds
    return drawn


@functools.lru_cache(10_000)  # comparing every two of many arms asks again and again
def _quantile(freedom: float, p: float) -> float:
    """Return the value that Student's t exceeds in size with probability p."""
    from scipy.special import ndtri, stdtrit

    return float(-ndtri(p / 2) if math.isinf(freedom) else -stdtrit(freedom, p / 2))


def _random(*key: object) -> np.random.Generator:
    """Return a generator seeded by the key, so that a table is the same each time."""
    return np.random.default_rng(int(digest(list(key))[:16], 16))
