"""Choose among arms: which are eligible, and which of these is best. Pure functions of scores, forgetting and costs.

Uncertain criteria are given as draws `[B]`: values that the truth could have. The same index belongs together in every
arm and criterion, so that joint probabilities are correct. All probabilities are shares of the draws.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Draws = NDArray[np.float64]

SCORE = "score"
"""Key of the criterion that decides whether an arm learned anything."""
CLEARLY = 0.95
"""Probability with which an arm must score better than a baseline to have learned something."""
CONFIDENCE = 0.95
"""Default probability with which the chosen arm must meet all limits at once."""
_ONE_BELOW = 0.1587
"""Share of a normal distribution that is more than one standard deviation below its mean."""


@dataclass(frozen=True)
class Criterion:
    """A criterion by which arms are judged."""

    key: str
    title: str
    """As used in a sentence after 'its'."""
    better: Literal["higher", "lower"] = "lower"
    write: Callable[[float], str] = "{:.3g}".format
    on_front: bool = True
    """Whether it is part of the Pareto front."""

    @property
    def sign(self) -> float:
        """Return the factor that makes lower values better."""
        return -1.0 if self.better == "higher" else 1.0


@dataclass(frozen=True)
class Limit:
    """A limit on one criterion: an upper bound, or a lower bound if higher is better."""

    criterion: Criterion
    bound: float
    option: str
    """The option before the bound on the command line: `--max-memory `."""
    write: Callable[[float], str] = "{:.3g}".format
    """Writes a bound as a user types it: `16GB`."""
    relative: bool = False
    """Whether the bound is a multiple of the reference's value, resample by resample."""

    def __str__(self) -> str:
        """Return the limit as typed on the command line."""
        return f"{self.option}{self.write(self.bound)}"

    def loosened_to(self, bound: float) -> Limit:
        """Return this limit loosened to a bound of three significant digits that `bound` still meets."""
        sign = self.criterion.sign
        if bound == 0:
            return dataclasses.replace(self, bound=0.0)
        scale = 10.0 ** (2 - math.floor(math.log10(abs(bound))))
        # The tolerance keeps 0.29 * 1000 from being rounded up to 291.
        whole = sign * math.ceil(sign * bound * scale - 1e-6)
        return dataclasses.replace(self, bound=float(f"{whole / scale:.3g}"))


@dataclass(frozen=True)
class Candidate:
    """An arm with its known criteria; unknown ones are absent."""

    label: str
    role: Literal["baseline", "reference", "contender"]
    """`baseline` is the untuned arm, even if it is also the reference."""
    points: Mapping[str, float]
    """Its value in each criterion."""
    draws: Mapping[str, Draws]
    """The same values with their uncertainty, each `[B]`."""
    sampled: bool = True
    """Whether its uncertainty is known: it has at least two seeds."""


def better_than(values: Draws | np.float64, than: Draws | float, criterion: Criterion) -> NDArray[np.bool_]:
    """Return where values are better than others in a criterion."""
    better: NDArray[np.bool_] = np.less(criterion.sign * values, criterion.sign * than)
    return better


@dataclass(frozen=True)
class Question:
    """The arms that learned something and the limits they must meet; finds the choice."""

    arms: tuple[Candidate, ...]
    limits: tuple[Limit, ...]
    score: Criterion
    prefer: Criterion
    confidence: float
    reference: Candidate | None
    margin: float | None = None
    """How much worse than the best score is good enough; None for one standard error of the difference."""

    @property
    def sampled(self) -> bool:
        """Return whether the uncertainty of every arm is known; if not, there are no probabilities."""
        return all(arm.sampled for arm in self.arms)

    @property
    def required(self) -> float:
        """Return the probability with which an arm must meet all limits, so that the chosen one does with `confidence`.

        The luckiest of many arms looks better than it is: each must be as much surer as there are arms (Bonferroni).
        """
        return 1 - (1 - self.confidence) / max(len(self.arms), 1)

    def corrected(self, share: float) -> float:
        """Return the probability that an arm chosen for meeting the limits with probability `share` really does."""
        return max(0.0, 1 - len(self.arms) * (1 - share))

    def without(self, arm: Candidate) -> Question:
        """Return the question without an arm."""
        return dataclasses.replace(self, arms=tuple(other for other in self.arms if other is not arm))

    def loosened(self, *limits: tuple[Limit, Limit]) -> Question:
        """Return the question with limits replaced, each given as a pair (old, new)."""
        swapped = {id(old): new for old, new in limits}
        return dataclasses.replace(self, limits=tuple(swapped.get(id(limit), limit) for limit in self.limits))

    def with_changed(self, arm: Candidate, criterion: Criterion, by: float) -> Question:
        """Return the question with an arm's value in a criterion raised by an amount."""
        key = criterion.key
        changed = dataclasses.replace(
            arm,
            points={**arm.points, key: arm.points[key] + by},
            draws={**arm.draws, key: arm.draws[key] + by},
        )
        return dataclasses.replace(
            self,
            arms=tuple(changed if other is arm else other for other in self.arms),
            reference=changed if self.reference is arm else self.reference,
        )

    def measured(self, arm: Candidate, limit: Limit) -> Draws | None:
        """Return the values that a limit bounds, `[B]`: the arm's own, or divided by the reference's."""
        values = arm.draws.get(limit.criterion.key)
        if values is None or not limit.relative:
            return values
        assert self.reference is not None
        unit = self.reference.draws[limit.criterion.key]
        return np.divide(values, unit, out=np.full_like(values, np.nan), where=unit > 0)

    def met(self, arm: Candidate, limit: Limit) -> NDArray[np.bool_] | None:
        """Return in which draws an arm meets a limit, `[B]`; None if its value is not known."""
        values, sign = self.measured(arm, limit), limit.criterion.sign
        return None if values is None else sign * values <= sign * limit.bound

    def probability(self, arm: Candidate, limits: Sequence[Limit]) -> float | None:
        """Return the probability of meeting all given limits; None if it is not known for one of them."""
        met = [self.met(arm, limit) for limit in limits]
        known = [each for each in met if each is not None]
        joint = float(np.mean(np.logical_and.reduce(known))) if known else 1.0
        # An arm that certainly fails one limit fails all, even if others are unknown.
        return joint if len(known) == len(met) or joint == 0 else None

    def feasible(self, arm: Candidate) -> bool:
        """Return whether an arm is eligible: it meets all limits at once often enough."""
        share = self.probability(arm, self.limits)
        return share is not None and share >= self.required

    def behind(self, arm: Candidate, best: Candidate) -> float:
        """Return by how much an arm scores worse than the best."""
        return self.score.sign * (arm.points[SCORE] - best.points[SCORE])

    def allowed(self, arm: Candidate, best: Candidate) -> float:
        """Return by how much an arm may score worse than the best and still be good enough.

        Unless a margin is set, it is the standard error of the difference: half of the smallest difference that can be
        shown (the one-standard-error rule; Breiman, Friedman, Olshen and Stone, 1984, Classification and Regression
        Trees, section 3.4.3). An arm that is as good as the best is then good enough in five of six cases.
        """
        if self.margin is not None:
            return self.margin
        low, high = np.nanquantile(arm.draws[SCORE] - best.draws[SCORE], [_ONE_BELOW, 1 - _ONE_BELOW])
        return float(high - low) / 2

    def good_enough(self, arm: Candidate, best: Candidate) -> bool:
        """Return whether an arm does not score worse than the best by more than the margin."""
        return self.behind(arm, best) <= self.allowed(arm, best) + 1e-12

    def worse(self, arm: Candidate, than: Candidate) -> float:
        """Return the probability that an arm scores worse than another by more than the margin."""
        behind = self.score.sign * (arm.draws[SCORE] - than.draws[SCORE])
        return float(np.mean(behind > self.allowed(arm, than)))

    def best(self) -> Candidate | None:
        """Return the eligible arm with the best score."""
        return min(
            (arm for arm in self.arms if self.feasible(arm)),
            key=lambda arm: self.score.sign * arm.points[SCORE],
            default=None,
        )

    @property
    def score_is_limited(self) -> bool:
        """Return whether there is a limit on the score."""
        return any(limit.criterion.key == SCORE for limit in self.limits)

    def choose(self) -> Candidate | None:
        """Return the chosen arm; None if none is eligible."""
        best = self.best()
        if best is None or self.prefer.key == SCORE:
            return best
        good = [arm for arm in self.arms if self.feasible(arm)]
        if not self.score_is_limited:
            good = [arm for arm in good if self.good_enough(arm, best)]
        return min(good, key=self._rank)

    def _rank(self, arm: Candidate) -> tuple[bool, float, float]:
        """Return a sort key: the preferred criterion, then the score; unknown values come last."""
        value, score = arm.points.get(self.prefer.key), self.score.sign * arm.points[SCORE]
        return (True, 0.0, score) if value is None else (False, self.prefer.sign * value, score)

    def needed(self, arm: Candidate, limit: Limit, confidence: float) -> float | None:
        """Return the tightest bound with which an arm meets all limits; None if no bound of this limit is enough."""
        values, sign = self.measured(arm, limit), limit.criterion.sign
        tightest = None if values is None else self.least(sign * values, arm, limit, confidence)
        return None if tightest is None else sign * tightest

    def least(self, values: Draws, arm: Candidate, limit: Limit, confidence: float) -> float | None:
        """Return the smallest bound that values `[B]` stay within often enough while the arm meets all other limits."""
        others = [self.met(arm, other) for other in self.limits if other is not limit]
        if any(met is None for met in others):
            return None
        met = np.logical_and.reduce([np.isfinite(values), *(other for other in others if other is not None)])
        passing = np.sort(values[met])
        count = max(math.ceil(confidence * len(values) - 1e-9), 1)
        return float(passing[count - 1]) if len(passing) >= count else None

    def failing(self, arm: Candidate) -> list[Limit]:
        """Return the limits that an arm does not meet, each checked alone."""
        shares = [(limit, self.probability(arm, (limit,))) for limit in self.limits]
        return [limit for limit, share in shares if share is None or share < self.required]
