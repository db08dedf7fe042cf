"""Why an arm is the choice or is not, and what would change that, in sentences."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from harness.decide.choice import CLEARLY, SCORE, Candidate, Limit, Question


def percent(share: float) -> str:
    """Return a share in words, without calling rare what is impossible or likely what is certain."""
    if 0 < share < 0.01:
        return "less than 1 %"
    if 0.99 < share < 1:
        return "more than 99 %"
    return f"{100 * share:.0f} %"


def reasons(question: Question, choice: Candidate | None, runner_up: Candidate | None) -> Iterable[str]:
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
        yield (
            f"The best {question.score.title} that can be had is {best.label}'s {question.score.write(best.points[SCORE])}, "
            f"better by {_digits(gap)}; {choice.label} is worse in {percent(question.worse(choice, best))} of the resamples."
        )
    if runner_up is None:
        yield "There is no runner-up: no other arm " + (
            "meets all you ask for." if question.limits else "has learned anything."
        )
    else:
        yield f"Runner-up: {runner_up.label} ({why_not(question, runner_up, choice)})."


def why_not(question: Question, arm: Candidate, choice: Candidate | None) -> str:
    """Return why an arm that learned is not the choice."""
    if not question.feasible(arm):
        return "; ".join(_missed(question, arm, limit) for limit in question.failing(arm)) or (
            f"meets all limits at once in {percent(question.probability(arm, question.limits) or 0)} of the resamples"
        )
    best = question.best()
    assert best is not None
    assert choice is not None
    if (
        question.prefer.key != SCORE
        and not question.score_is_limited
        and (share := question.worse(arm, best)) >= CLEARLY
    ):
        return f"scores worse than {best.label} in {percent(share)} of the resamples"
    key, title = question.prefer.key, question.prefer.title
    own, theirs = arm.points.get(key), choice.points.get(key)
    if own is None or theirs is None:
        return f"its {title} is not known" if theirs is not None else "scores less"
    if own == theirs:
        return (
            f"the same {title}, a lower score"
            if question.score.better == "higher"
            else f"the same {title}, a worse score"
        )
    word = "lower" if own < theirs else "higher"
    return f"{word} {title}: {question.prefer.write(own)}, not {question.prefer.write(theirs)}"


def _missed(question: Question, arm: Candidate, limit: Limit) -> str:
    """Return how an arm misses a limit."""
    share, title = question.probability(arm, (limit,)), limit.criterion.title
    if share is None:
        return f"its {title} is not known, so it cannot be shown to meet {limit}"
    value = limit.criterion.write(arm.points[limit.criterion.key])
    if share == 0:
        return f"{title} of {value} misses {limit}"
    return f"{title} of {value} meets {limit} in {percent(share)} of the resamples"


def _merit(question: Question, choice: Candidate, possible: Sequence[Candidate]) -> str:
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
    return (
        f"of the arms that do not score worse than the best in {percent(CLEARLY)} of the resamples, it has the least {title}: "
        f"{value}"
    )


def _nobody(question: Question) -> Iterable[str]:
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
            yield f"{limit} is met by nobody: the nearest is {nearest.label}, whose {_missed(question, nearest, limit)}."
        else:
            yield f"{limit} is met by nobody: no arm's {title} is known."
    nearest = max(question.arms, key=lambda arm: question.probability(arm, question.limits) or 0.0)
    if share := question.probability(nearest, question.limits):
        yield f"The nearest to all of it is {nearest.label}, which meets it in {percent(share)} of the resamples."


def _listed(labels: Sequence[str]) -> str:
    """Return a few labels by name, and how many more there are."""
    named, more = labels[:5], len(labels) - 5
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def changes(question: Question, choice: Candidate | None, runner_up: Candidate | None) -> Iterable[str]:
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


def _relaxations(question: Question, limit: Limit, choice: Candidate | None) -> Iterable[tuple[Limit, Candidate]]:
    """Yield looser bounds of one limit that change the choice, the nearest first, with the arm then chosen."""
    sign = limit.criterion.sign
    needed = [question.needed(arm, limit, question.confidence) for arm in question.arms]
    for bound in sorted({sign * value for value in needed if value is not None and sign * value > sign * limit.bound}):
        loosened = limit.loosened_to(sign * bound)
        other = question.loosened((limit, loosened)).choose()
        if other is not None and (choice is None or other.label != choice.label):
            yield loosened, other


def _several(question: Question) -> str:
    """Return which arm would need the fewest limits loosened, and those the least."""
    needs = [need for arm in question.arms if (need := _needs(question, arm)) is not None]
    if not needs:
        return "Not enough is known of any arm to say what would help."
    label, pairs = min(needs, key=lambda need: (len(need[1]), sum(_distance(*pair) for pair in need[1])))
    loosened = " and ".join(f"{new} (not {old.write(old.bound)})" for old, new in pairs)
    return f"No single limit is in the way; the nearest is {label}, which would need {loosened}."


def _needs(question: Question, arm: Candidate) -> tuple[str, list[tuple[Limit, Limit]]] | None:
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


def _better_score(question: Question, choice: Candidate) -> Iterable[str]:
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


def _gain(question: Question, arm: Candidate) -> float | None:
    """Return by how much better an arm must score to be good enough; None where that cannot be enough."""
    score, best = question.score, question.best()
    assert best is not None
    if question.prefer.key == SCORE:
        return score.sign * (arm.points[SCORE] - best.points[SCORE]) + 0.001
    if not question.score_is_limited:
        if not question.feasible(arm):
            return None
        if arm is best:
            return 0.0
        behind = score.sign * (arm.draws[SCORE] - best.draws[SCORE])
        # Worse in less than 95 % of the resamples: the gap that is closed in a little more than 5 %. Where either has no score
        # in a resample, no gain closes it.
        gain = float(np.quantile(np.where(np.isnan(behind), np.inf, behind), 1 - CLEARLY, method="higher"))
        return gain if math.isfinite(gain) else None
    gains = []
    for limit in question.limits:
        if limit.criterion.key == SCORE:
            unit = question.reference.draws[SCORE] if limit.relative and question.reference else 1.0
            behind = score.sign * (arm.draws[SCORE] - limit.bound * unit)
            gains.append(question.least(behind, arm, limit, question.confidence))
    return max((gain for gain in gains if gain is not None), default=None)


def _better_preferred(question: Question, choice: Candidate, runner_up: Candidate) -> Iterable[str]:
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
