"""Which arm to take: pure functions of what the arms score, forget and cost, and of how sure that is.

Uncertain criteria are given as draws `[B]`: one value per resample, and the same index is the same resample in every arm and
criterion, so that what holds together is counted together. All probabilities are shares of the resamples.

What learned nothing costs little and forgets nothing, so it lies on every Pareto front and meets every limit on cost. Such an
arm is never recommended and takes no part in the front.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.records import Record

Draws = NDArray[np.float64]

SCORE = "score"
"""Key of the criterion that says whether an arm has learned anything."""
SHOWN = 0.95
"""Share of the resamples in which a difference must hold to count as shown."""
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
    role: Literal["floor", "reference", "contender"]
    """`floor` is what comes of no tuning, even where the others are compared with it."""
    points: Mapping[str, float]
    """Its value in each criterion."""
    draws: Mapping[str, Draws]
    """The same with their uncertainty, each `[B]`."""


class Judged(Record):
    """What is said of one arm."""

    label: str
    role: Literal["floor", "reference", "contender"]
    values: dict[str, float]
    """By criterion; one that is not known is absent."""
    learned: bool
    front: float | None
    """Probability of lying on the Pareto front; None where the arm takes no part in it."""
    meets: dict[str, float | None]
    """Probability of meeting each limit; None where the arm's value is not known."""
    meets_all: float | None
    """Probability of meeting all limits at once; None where that is not known."""
    verdict: Literal["choice", "runner-up", "possible", "excluded"]
    why: str


class Recommendation(Record):
    """Which arm to take, and why."""

    choice: str | None
    runner_up: str | None
    confidence: float
    reasons: tuple[str, ...]
    """Why this one, in sentences."""
    changes: tuple[str, ...]
    """What it would take to change the choice, in sentences."""
    arms: tuple[Judged, ...]
    front: tuple[str, ...]
    """Keys of the criteria that the Pareto front counts."""
    notes: tuple[str, ...]


def advise(
    arms: Sequence[Candidate],
    criteria: Sequence[Criterion],
    limits: Sequence[Limit] = (),
    *,
    reference: str | None = None,
    prefer: str = SCORE,
    confidence: float = CONFIDENCE,
    floor: float | None = None,
) -> Recommendation:
    """Return which arm to take.

    Those that can be taken have learned something and meet all limits at once with probability `confidence`. Of these, the
    best by `prefer` whose score is good enough: it keeps to the limit on the score, or, where none is set, is not shown to be
    worse than the best of them. Preferring the score itself takes the highest.

    An arm has learned something if its score is better than that of every arm whose role is `floor`, and than `floor`, in
    95 % of the resamples. Where there is neither, chance is unknown: an arm whose score is less than half as good as the best
    arm's is said to have learned nothing.

    Args:
        arms: What is known of each.
        criteria: What they are judged by; one has the key `score`.
        limits: What must be kept to.
        reference: Label of the arm that relative limits are relative to.
        prefer: Key of the criterion that decides among those that can be taken.
        confidence: Probability with which all limits must be met.
        floor: Score of an answer that takes no learning, such as the share of the commonest class.

    Raises:
        HarnessError: No arm has a score, or a limit is relative to a reference that has none.
    """
    scored = [arm for arm in arms if SCORE in arm.draws]
    if not scored:
        message = "no arm has a score yet: run harness compare first"
        raise HarnessError(message)
    named = {criterion.key: criterion for criterion in criteria}
    score = named[SCORE]
    learning = _learning(scored, score, floor)
    learned = tuple(arm for arm in scored if arm.label in learning.learned)
    compared_with = next((arm for arm in scored if arm.label == reference), None)
    for limit in limits:
        _check_reference(limit, compared_with)
    question = _Question(learned, tuple(limits), score, named[prefer], confidence, compared_with)
    choice = question.choose()
    runner_up = question.without(choice).choose() if choice else None
    on_front = [criterion for criterion in criteria if criterion.on_front]
    counted = [criterion for criterion in on_front if any(criterion.key in arm.draws for arm in learned)]
    front = pareto_probability(learned, counted)
    judged = []
    for arm in arms:
        has_learned = arm.label in learning.learned
        if arm is choice:
            verdict, why = "choice", "take this one"
        elif arm is runner_up and choice is not None:
            verdict, why = "runner-up", question.why_not(arm, choice)
        elif arm.label in learning.failed:
            verdict, why = "excluded", learning.failed[arm.label]
        elif not has_learned:
            verdict, why = "excluded", "no score yet"
        else:
            possible = choice is not None and question.feasible(arm)
            verdict, why = "possible" if possible else "excluded", question.why_not(arm, choice)
        judged.append(
            Judged(
                label=arm.label,
                role=arm.role,
                values=dict(arm.points),
                learned=has_learned,
                front=front.get(arm.label),
                meets={str(limit): question.probability(arm, (limit,)) for limit in limits},
                meets_all=question.probability(arm, limits),
                verdict=verdict,
                why=why,
            )
        )
    return Recommendation(
        choice=choice.label if choice else None,
        runner_up=runner_up.label if runner_up else None,
        confidence=confidence,
        reasons=tuple(_reasons(question, choice, runner_up)),
        changes=tuple(_changes(question, choice, runner_up)),
        arms=tuple(judged),
        front=tuple(criterion.key for criterion in counted),
        notes=(learning.rule,),
    )


def pareto_probability(arms: Sequence[Candidate], criteria: Sequence[Criterion]) -> dict[str, float]:
    """Return the share of the resamples in which each arm lies on the Pareto front.

    An arm lies on it unless another is at least as good in every criterion and better in one. An arm of which a criterion is
    not known takes no part, and has no probability.
    """
    known = [arm for arm in arms if all(criterion.key in arm.draws for criterion in criteria)]
    if not known or not criteria:
        return {}
    # [arms, criteria, B]; lower is better.
    values = np.array([[criterion.sign * arm.draws[criterion.key] for criterion in criteria] for arm in known])
    return {
        arm.label: float(1 - np.mean(np.any(np.all(values <= own, axis=1) & np.any(values < own, axis=1), axis=0)))
        for arm, own in zip(known, values, strict=True)
    }


def worst(draws: Iterable[Draws]) -> Draws:
    """Return the highest of several criteria in each resample, `[B]`."""
    highest: Draws = np.max(np.stack(list(draws)), axis=0)
    return highest


def percent(share: float) -> str:
    """Return a share in words, without calling rare what is impossible or likely what is certain."""
    if 0 < share < 0.01:
        return "less than 1 %"
    if 0.99 < share < 1:
        return "more than 99 %"
    return f"{100 * share:.0f} %"


class _Learning(NamedTuple):
    learned: frozenset[str]
    failed: dict[str, str]
    """Why the others have not, by label."""
    rule: str


def _learning(scored: Sequence[Candidate], score: Criterion, floor: float | None) -> _Learning:
    """Return which arms have learned something, and by which rule."""
    floors = [arm for arm in scored if arm.role == "floor"]
    bars: list[tuple[str, Draws | float]] = [(f"{arm.label}'s", arm.draws[SCORE]) for arm in floors]
    bars += [] if floor is None else [(score.write(floor), floor)]
    failed = {arm.label: "the floor: what comes of no tuning" for arm in floors}
    contenders = [arm for arm in scored if arm.role != "floor"]
    if bars:
        for arm in contenders:
            shares = [(float(np.mean(_better(arm.draws[SCORE], bar, score))), called) for called, bar in bars]
            share, called = min(shares)
            if share < SHOWN:
                failed[arm.label] = f"learned nothing: better than {called} in {percent(share)} of the resamples"
        over = " and ".join(called for called, _ in bars)
        rule = f"learned: a score better than {over} in {percent(SHOWN)} of the resamples"
    else:
        best = min(score.sign * arm.points[SCORE] for arm in contenders) * score.sign if contenders else 0.0
        bar = best / 2 if score.better == "higher" else best * 2
        for arm in contenders:
            if _better(np.float64(bar), arm.points[SCORE], score):
                failed[arm.label] = (
                    f"learned nothing: its score is less than half as good as the best ({score.write(best)})"
                )
        rule = (
            "learned: no floor was measured, so chance is unknown, and a score less than half as good as the best counts as "
            "nothing learned; give the score of chance with --floor"
        )
    return _Learning(frozenset(arm.label for arm in contenders) - failed.keys(), failed, rule)


def _better(values: Draws | np.float64, than: Draws | float, criterion: Criterion) -> NDArray[np.bool_]:
    better: NDArray[np.bool_] = np.less(criterion.sign * values, criterion.sign * than)
    return better


def _check_reference(limit: Limit, reference: Candidate | None) -> None:
    if not limit.relative:
        return
    key, what = limit.criterion.key, f"{limit} is relative to the reference's {limit.criterion.title}"
    if reference is None or key not in reference.draws:
        message = f"{what}, which is not known: give an absolute value, or name another arm with --reference"
        raise HarnessError(message)
    if reference.points[key] <= 0:
        message = f"{what}, which is {limit.criterion.write(reference.points[key])}: give an absolute value"
        raise HarnessError(message)


@dataclass(frozen=True)
class _Question:
    """Arms that learned, what is asked of them, and which is the answer."""

    arms: tuple[Candidate, ...]
    limits: tuple[Limit, ...]
    score: Criterion
    prefer: Criterion
    confidence: float
    reference: Candidate | None

    def without(self, arm: Candidate) -> _Question:
        return dataclasses.replace(self, arms=tuple(other for other in self.arms if other is not arm))

    def loosened(self, *limits: tuple[Limit, Limit]) -> _Question:
        """Return the question with limits replaced, each given as the old and the new."""
        swapped = {id(old): new for old, new in limits}
        return dataclasses.replace(self, limits=tuple(swapped.get(id(limit), limit) for limit in self.limits))

    def with_changed(self, arm: Candidate, criterion: Criterion, by: float) -> _Question:
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
        share = self.probability(arm, self.limits)
        return share is not None and share >= self.confidence

    def worse(self, arm: Candidate, than: Candidate) -> float:
        """Return the share of the resamples in which an arm scores worse than another."""
        return float(np.mean(_better(than.draws[SCORE], arm.draws[SCORE], self.score)))

    def best(self) -> Candidate | None:
        """Return the arm of the best score among those that can be taken."""
        return min(
            (arm for arm in self.arms if self.feasible(arm)),
            key=lambda arm: self.score.sign * arm.points[SCORE],
            default=None,
        )

    @property
    def score_is_limited(self) -> bool:
        return any(limit.criterion.key == SCORE for limit in self.limits)

    def choose(self) -> Candidate | None:
        best = self.best()
        if best is None or self.prefer.key == SCORE:
            return best
        good = [arm for arm in self.arms if self.feasible(arm)]
        if not self.score_is_limited:
            good = [arm for arm in good if self.worse(arm, best) < SHOWN]
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

    def why_not(self, arm: Candidate, choice: Candidate | None) -> str:
        """Return why an arm that learned is not the choice."""
        if not self.feasible(arm):
            return "; ".join(self.missed(arm, limit) for limit in self.failing(arm)) or (
                f"meets all limits at once in {percent(self.probability(arm, self.limits) or 0)} of the resamples"
            )
        best = self.best()
        assert best is not None
        assert choice is not None
        if self.prefer.key != SCORE and not self.score_is_limited and (share := self.worse(arm, best)) >= SHOWN:
            return f"scores worse than {best.label} in {percent(share)} of the resamples"
        key, title = self.prefer.key, self.prefer.title
        own, theirs = arm.points.get(key), choice.points.get(key)
        if own is None or theirs is None:
            return f"its {title} is not known" if theirs is not None else "scores less"
        if own == theirs:
            return (
                f"the same {title}, a lower score"
                if self.score.better == "higher"
                else f"the same {title}, a worse score"
            )
        word = "lower" if own < theirs else "higher"
        return f"{word} {title}: {self.prefer.write(own)}, not {self.prefer.write(theirs)}"

    def missed(self, arm: Candidate, limit: Limit) -> str:
        """Return how an arm misses a limit."""
        share, title = self.probability(arm, (limit,)), limit.criterion.title
        if share is None:
            return f"its {title} is not known, so it cannot be shown to meet {limit}"
        value = limit.criterion.write(arm.points[limit.criterion.key])
        if share == 0:
            return f"{title} of {value} misses {limit}"
        return f"{title} of {value} meets {limit} in {percent(share)} of the resamples"


def _reasons(question: _Question, choice: Candidate | None, runner_up: Candidate | None) -> Iterable[str]:
    """Yield why a choice is made, or why none is."""
    if not question.arms:
        yield "Take none: no arm has learned anything, so there is nothing to choose from."
        return
    if choice is None:
        yield from _nobody(question)
        return
    possible = [arm for arm in question.arms if question.feasible(arm)]
    share = question.probability(choice, question.limits) or 0.0
    asked = f"it meets all you ask for in {percent(share)} of the resamples, and " if question.limits else ""
    yield f"Take {choice.label}: {asked}{_merit(question, choice, possible)}."
    best = question.best()
    if best is not None and best is not choice:
        gap = abs(best.points[SCORE] - choice.points[SCORE])
        worse = question.worse(choice, best)
        shown = "that is shown" if worse >= SHOWN else "which may be chance"
        yield (
            f"The best {question.score.title} that can be had is {best.label}'s {question.score.write(best.points[SCORE])}: better "
            f"by {_digits(gap)}, {shown} ({choice.label} is worse in {percent(worse)} of the resamples)."
        )
    if runner_up is None:
        yield "There is no runner-up: no other arm " + (
            "meets all you ask for." if question.limits else "has learned anything."
        )
    else:
        yield f"Runner-up: {runner_up.label} ({question.why_not(runner_up, choice)})."


def _merit(question: _Question, choice: Candidate, possible: Sequence[Candidate]) -> str:
    title, key = question.prefer.title, question.prefer.key
    if len(possible) == 1:
        return "no other arm does" if question.limits else "no other arm has learned anything"
    if key not in choice.points:
        return f"its {question.score.title} is the best; nobody's {title} is known"
    value = question.prefer.write(choice.points[key])
    if key == SCORE:
        return f"its {title} of {value} is the best of the {len(possible)} arms that can be taken"
    if question.score_is_limited:
        return f"of the {len(possible)} arms that do, it has the least {title}: {value}"
    return f"of the arms whose {question.score.title} is not shown to be worse than the best, it has the least {title}: {value}"


def _nobody(question: _Question) -> Iterable[str]:
    """Yield which limits stand in the way, and who comes nearest."""
    yield f"Take none: no arm that learned anything meets all you ask for in {percent(question.confidence)} of the resamples."
    for limit in question.limits:
        key, title = limit.criterion.key, limit.criterion.title
        meeting = [arm.label for arm in question.arms if limit not in question.failing(arm)]
        known = [arm for arm in question.arms if key in arm.points]
        if meeting:
            yield f"{limit} is met by {_listed(meeting)}."
        elif known:
            nearest = min(known, key=lambda arm: limit.criterion.sign * arm.points[key])
            yield f"{limit} is met by nobody: the nearest is {nearest.label}, whose {question.missed(nearest, limit)}."
        else:
            yield f"{limit} is met by nobody: no arm's {title} is known."
    nearest = max(question.arms, key=lambda arm: question.probability(arm, question.limits) or 0.0)
    if share := question.probability(nearest, question.limits):
        yield f"The nearest to all of it is {nearest.label}, which meets it in {percent(share)} of the resamples."


def _listed(labels: Sequence[str]) -> str:
    """Return a few labels by name, and how many more there are."""
    named, more = labels[:5], len(labels) - 5
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def _changes(question: _Question, choice: Candidate | None, runner_up: Candidate | None) -> Iterable[str]:
    """Yield what would change the choice: the least loosening of each limit, and the least change of an arm."""
    relaxed = False
    for limit in question.limits:
        for loosened, other in _relaxations(question, limit, choice):
            relaxed = True
            yield f"{other.label} would be chosen with {loosened} instead of {limit.write(limit.bound)}."
            break
    if choice is None:
        if question.arms and not relaxed:
            yield _several(question)
        return
    if question.limits and not relaxed:
        yield "No single looser limit would change it."
    yield from _better_score(question, choice)
    if runner_up is not None:
        yield from _better_preferred(question, choice, runner_up)


def _relaxations(question: _Question, limit: Limit, choice: Candidate | None) -> Iterable[tuple[Limit, Candidate]]:
    """Yield looser bounds of one limit that change the choice, the nearest first, with the arm then chosen."""
    sign = limit.criterion.sign
    needed = [question.needed(arm, limit, question.confidence) for arm in question.arms]
    for bound in sorted({sign * value for value in needed if value is not None and sign * value > sign * limit.bound}):
        loosened = limit.loosened_to(sign * bound)
        other = question.loosened((limit, loosened)).choose()
        if other is not None and (choice is None or other.label != choice.label):
            yield loosened, other


def _several(question: _Question) -> str:
    """Return which arm would need the fewest limits loosened, and those the least."""
    needs = [need for arm in question.arms if (need := _needs(question, arm)) is not None]
    if not needs:
        return "Not enough is known of any arm to say what would help."
    label, pairs = min(needs, key=lambda need: (len(need[1]), sum(_distance(*pair) for pair in need[1])))
    loosened = " and ".join(f"{new} (not {old.write(old.bound)})" for old, new in pairs)
    return f"No single limit is in the way; the nearest is {label}, which would need {loosened}."


def _needs(question: _Question, arm: Candidate) -> tuple[str, list[tuple[Limit, Limit]]] | None:
    """Return what an arm would need of each limit that it does not meet; None where that cannot be told."""
    alone = dataclasses.replace(question, limits=())
    failing = question.failing(arm) or list(question.limits)
    for confidence in (question.confidence, 1.0):
        bounds = [(limit, alone.needed(arm, limit, confidence)) for limit in failing]
        pairs = [(limit, limit.loosened_to(bound)) for limit, bound in bounds if bound is not None]
        if question.loosened(*pairs).feasible(arm):
            return arm.label, pairs
    return None


def _distance(limit: Limit, loosened: Limit) -> float:
    """Return how far a limit must be loosened, as a share of the larger bound."""
    return abs(loosened.bound - limit.bound) / max(abs(loosened.bound), abs(limit.bound), 1e-12)


def _better_score(question: _Question, choice: Candidate) -> Iterable[str]:
    """Yield the least gain in score that would change the choice, and whose."""
    score, gains = question.score, []
    for arm in question.arms:
        if arm is choice:
            continue
        gain = _gain(question, arm)
        if gain is None or gain <= 0:
            continue
        gain = math.ceil(gain * 1000 - 1e-6) / 1000
        other = question.with_changed(arm, score, -score.sign * gain).choose()
        if other is not None and other.label == arm.label:
            gains.append((gain, arm))
    if gains:
        gain, arm = min(gains, key=lambda pair: pair[0])
        word = "higher" if score.better == "higher" else "lower"
        yield f"{arm.label} would be chosen if its {score.title} were {_digits(gain)} {word} ({score.write(arm.points[SCORE])} now)."


def _gain(question: _Question, arm: Candidate) -> float | None:
    """Return by how much better an arm must score to be good enough; None where that cannot be enough."""
    score, best = question.score, question.best()
    assert best is not None
    if question.prefer.key == SCORE:
        return score.sign * (arm.points[SCORE] - best.points[SCORE]) + 0.001
    if not question.score_is_limited:
        if not question.feasible(arm):
            return None
        behind = score.sign * (arm.draws[SCORE] - best.draws[SCORE])
        # Worse in less than 95 % of the resamples: the gap that is closed in a little more than 5 %.
        return float(np.quantile(behind, 1 - SHOWN, method="higher")) if arm is not best else 0.0
    gains = []
    for limit in question.limits:
        if limit.criterion.key == SCORE:
            unit = question.reference.draws[SCORE] if limit.relative and question.reference else 1.0
            behind = score.sign * (arm.draws[SCORE] - limit.bound * unit)
            gains.append(question.least(behind, arm, limit, question.confidence))
    return max((gain for gain in gains if gain is not None), default=None)


def _better_preferred(question: _Question, choice: Candidate, runner_up: Candidate) -> Iterable[str]:
    """Yield the value of the preferred criterion below which the runner-up would be the choice."""
    criterion = question.prefer
    own, theirs = runner_up.points.get(criterion.key), choice.points.get(criterion.key)
    if criterion.key == SCORE or own is None or theirs is None or criterion.sign * own < criterion.sign * theirs:
        return
    hair = 1e-9 * max(abs(own), abs(theirs))
    other = question.with_changed(runner_up, criterion, theirs - own - criterion.sign * hair).choose()
    if other is not None and other.label == runner_up.label:
        yield (
            f"{runner_up.label} would be chosen if its {criterion.title} were below {criterion.write(theirs)} "
            f"({criterion.write(own)} now)."
        )


def _digits(value: float) -> str:
    return f"{value:.3f}"
