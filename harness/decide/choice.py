"""Which of several arms can be taken, and which of these to take: pure functions of what they score, forget and cost.

Uncertain criteria are given as draws `[B]`: one value per resample, and the same index is the same resample in every arm and
criterion, so that what holds together is counted together. All probabilities are shares of the resamples.
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
"""Key of the criterion that says whether an arm has learned anything."""
CLEARLY = 0.95
"""Share of the resamples in which an arm must score worse than another to be passed over for it. One pair by itself: the table's
verdicts, which hold for all arms together, ask more."""
CONFIDENCE = 0.8
"""Share of the resamples in which an arm must meet all limits at once, unless another is asked for. At 0.5 an arm that
lies on a limit would be recommended on the toss of a coin; at 0.95 a small test set would leave no arm at all."""


@dataclass(frozen=True)
class Criterion:
    """One thing by which arms are judged."""

    key: str
    title: str
    """As it stands in a sentence after 'its'."""
    better: Literal["higher", "lower"] = "lower"
    write: Callable[[float], str] = "{:.3g}".format
    on_front: bool = True
    """Whether the Pareto front counts it."""

    @property
    def sign(self) -> float:
        """Return what a value is multiplied by so that lower is better."""
        return -1.0 if self.better == "higher" else 1.0


@dataclass(frozen=True)
class Limit:
    """What an arm must keep to in one criterion: at most, or at least where higher is better."""

    criterion: Criterion
    bound: float
    option: str
    """What stands before the bound where a user asks for it: `--max-memory `."""
    write: Callable[[float], str] = "{:.3g}".format
    """How a user writes a bound: `16GB`."""
    relative: bool = False
    """Whether the bound is a multiple of the reference's value, resample by resample."""

    def __str__(self) -> str:
        """Return the limit as a user asks for it."""
        return f"{self.option}{self.write(self.bound)}"

    def loosened_to(self, bound: float) -> Limit:
        """Return this limit with a bound of three significant digits that lets `bound` pass."""
        sign = self.criterion.sign
        if bound == 0:
            return dataclasses.replace(self, bound=0.0)
        scale = 10.0 ** (2 - math.floor(math.log10(abs(bound))))
        # A hair is allowed for, or 0.29 * 1000 would be rounded up to 291.
        whole = sign * math.ceil(sign * bound * scale - 1e-6)
        return dataclasses.replace(self, bound=float(f"{whole / scale:.3g}"))


@dataclass(frozen=True)
class Candidate:
    """An arm with what is known of it; a criterion that is not known is absent."""

    label: str
    role: Literal["baseline", "reference", "contender"]
    """`baseline` is what comes of no tuning, even where the others are compared with it."""
    points: Mapping[str, float]
    """Its value in each criterion."""
    draws: Mapping[str, Draws]
    """The same with their uncertainty, each `[B]`."""


def better_than(values: Draws | np.float64, than: Draws | float, criterion: Criterion) -> NDArray[np.bool_]:
    """Return where values are better than others in a criterion."""
    better: NDArray[np.bool_] = np.less(criterion.sign * values, criterion.sign * than)
    return better


@dataclass(frozen=True)
class Question:
    """Arms that learned, what is asked of them, and which is the answer."""

    arms: tuple[Candidate, ...]
    limits: tuple[Limit, ...]
    score: Criterion
    prefer: Criterion
    confidence: float
    reference: Candidate | None

    def without(self, arm: Candidate) -> Question:
        """Return the question with an arm left out."""
        return dataclasses.replace(self, arms=tuple(other for other in self.arms if other is not arm))

    def loosened(self, *limits: tuple[Limit, Limit]) -> Question:
        """Return the question with limits replaced, each given as the old and the new."""
        swapped = {id(old): new for old, new in limits}
        return dataclasses.replace(self, limits=tuple(swapped.get(id(limit), limit) for limit in self.limits))

    def with_changed(self, arm: Candidate, criterion: Criterion, by: float) -> Question:
        """Return the question if an arm's value in a criterion were higher by an amount."""
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
        """Return what a limit bounds, `[B]`: the arm's values, or their multiples of the reference's."""
        values = arm.draws.get(limit.criterion.key)
        if values is None or not limit.relative:
            return values
        assert self.reference is not None
        unit = self.reference.draws[limit.criterion.key]
        return np.divide(values, unit, out=np.full_like(values, np.nan), where=unit > 0)

    def met(self, arm: Candidate, limit: Limit) -> NDArray[np.bool_] | None:
        """Return in which resamples an arm meets a limit, `[B]`; None where its value is not known."""
        values, sign = self.measured(arm, limit), limit.criterion.sign
        return None if values is None else sign * values <= sign * limit.bound

    def probability(self, arm: Candidate, limits: Sequence[Limit]) -> float | None:
        """Return the probability of meeting all of some limits; None where one of them cannot be told."""
        met = [self.met(arm, limit) for limit in limits]
        known = [each for each in met if each is not None]
        joint = float(np.mean(np.logical_and.reduce(known))) if known else 1.0
        # What fails another limit for certain fails all, whatever is not known.
        return joint if len(known) == len(met) or joint == 0 else None

    def feasible(self, arm: Candidate) -> bool:
        """Return whether an arm can be taken: it meets all limits at once often enough."""
        share = self.probability(arm, self.limits)
        return share is not None and share >= self.confidence

    def worse(self, arm: Candidate, than: Candidate) -> float:
        """Return the share of the resamples in which an arm scores worse than another."""
        return float(np.mean(better_than(than.draws[SCORE], arm.draws[SCORE], self.score)))

    def best(self) -> Candidate | None:
        """Return the arm of the best score among those that can be taken."""
        return min(
            (arm for arm in self.arms if self.feasible(arm)),
            key=lambda arm: self.score.sign * arm.points[SCORE],
            default=None,
        )

    @property
    def score_is_limited(self) -> bool:
        """Return whether the user says which score is good enough."""
        return any(limit.criterion.key == SCORE for limit in self.limits)

    def choose(self) -> Candidate | None:
        """Return the arm to take; None where none can be taken."""
        best = self.best()
        if best is None or self.prefer.key == SCORE:
            return best
        good = [arm for arm in self.arms if self.feasible(arm)]
        if not self.score_is_limited:
            good = [arm for arm in good if self.worse(arm, best) < CLEARLY]
        return min(good, key=self._rank)

    def _rank(self, arm: Candidate) -> tuple[bool, float, float]:
        """Return an arm's place by the preferred criterion, then by its score; what is not known comes last."""
        value, score = arm.points.get(self.prefer.key), self.score.sign * arm.points[SCORE]
        return (True, 0.0, score) if value is None else (False, self.prefer.sign * value, score)

    def needed(self, arm: Candidate, limit: Limit, confidence: float) -> float | None:
        """Return the tightest bound with which an arm meets all limits; None where no bound of this limit is enough."""
        values, sign = self.measured(arm, limit), limit.criterion.sign
        tightest = None if values is None else self.least(sign * values, arm, limit, confidence)
        return None if tightest is None else sign * tightest

    def least(self, values: Draws, arm: Candidate, limit: Limit, confidence: float) -> float | None:
        """Return the least number that values `[B]` do not exceed while an arm meets all other limits, often enough."""
        others = [self.met(arm, other) for other in self.limits if other is not limit]
        if any(met is None for met in others):
            return None
        met = np.logical_and.reduce([np.isfinite(values), *(other for other in others if other is not None)])
        passing = np.sort(values[met])
        count = max(math.ceil(confidence * len(values) - 1e-9), 1)
        return float(passing[count - 1]) if len(passing) >= count else None

    def failing(self, arm: Candidate) -> list[Limit]:
        """Return the limits that an arm does not meet, each taken by itself."""
        shares = [(limit, self.probability(arm, (limit,))) for limit in self.limits]
        return [limit for limit, share in shares if share is None or share < self.confidence]
