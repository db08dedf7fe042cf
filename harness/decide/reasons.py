"""Explain in sentences why an arm is or is not recommended, and what would change the choice."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

from harness.decide.choice import SCORE, Candidate, Limit, Question


def percent(share: float) -> str:
    """Return a share as a percentage; only an exact 0 or 1 is written as 0 % or 100 %."""
    if 0 < share < 0.01:
        return "less than 1 %"
    if 0.99 < share < 1:
        return "more than 99 %"
    return f"{100 * share:.0f} %"


def chance(question: Question, share: float) -> str:
    """Return a probability in words; without known uncertainty there is none."""
    return f"with a probability of {percent(share)}" if question.sampled else "as measured"


def reasons(question: Question, choice: Candidate | None, runner_up: Candidate | None) -> Iterable[str]:
    """Yield the reasons for the choice, or why there is none."""
    if not question.arms:
        yield "No recommendation: no strategy learned anything."
        return
    if choice is None:
        yield from _nobody(question)
        return
    possible = [arm for arm in question.arms if question.feasible(arm)]
    share = question.probability(choice, question.limits) or 0.0
    met = chance(question, question.corrected(share))
    asked = f"it meets all constraints {met}, and " if question.limits else ""
    yield f"Use {choice.label}: {asked}{_merit(question, choice, possible)}."
    best = question.best()
    if best is not None and round(question.behind(choice, best), 9) > 0:  # more than rounding
        yield (
            f"Best {question.score.title} among eligible strategies: {best.label}, "
            f"{question.score.write(best.points[SCORE])}, better by {_digits(question.behind(choice, best))}"
            f"{_within(question, choice, best)}."
        )
    if runner_up is None:
        yield "No runner-up: no other strategy " + (
            "meets all constraints." if question.limits else "learned anything."
        )
    else:
        yield f"Runner-up: {runner_up.label} ({why_not(question, runner_up, choice)})."


def _within(question: Question, choice: Candidate, best: Candidate) -> str:
    """Return the margin within which the choice is as good as the best, and how probable it is that it is not."""
    if question.score_is_limited or question.prefer.key == SCORE:
        return ""
    margin = question.allowed(choice, best)
    if question.margin is not None:
        what = f"within the margin of {question.margin:g}"
    elif margin:
        what = f"within one standard error ({_digits(margin)})"
    else:
        return ""
    share = f"; worse by more than that {chance(question, question.worse(choice, best))}" if question.sampled else ""
    return f", {what}{share}"


def why_not(question: Question, arm: Candidate, choice: Candidate | None) -> str:
    """Return why an arm that learned something is not the choice."""
    if not question.feasible(arm):
        return "; ".join(_missed(question, arm, limit) for limit in question.failing(arm)) or (
            f"meets all limits at once {chance(question, question.probability(arm, question.limits) or 0)}"
        )
    best = question.best()
    assert best is not None
    assert choice is not None
    if question.prefer.key != SCORE and not question.score_is_limited and not question.good_enough(arm, best):
        margin = question.allowed(arm, best)
        more = (
            f", more than {'one standard error' if question.margin is None else 'the margin'} ({_digits(margin)})"
            if margin
            else ""
        )
        return f"scores worse than {best.label} by {_digits(question.behind(arm, best))}{more}"
    key, title = question.prefer.key, question.prefer.title
    own, theirs = arm.points.get(key), choice.points.get(key)
    if own is None or theirs is None:
        return f"its {title} is not known" if theirs is not None else "worse score"
    if own == theirs:
        return f"same {title}, lower score" if question.score.better == "higher" else f"same {title}, worse score"
    word = "lower" if own < theirs else "higher"
    return f"{word} {title}: {question.prefer.write(own)}, compared with {question.prefer.write(theirs)}"


def _missed(question: Question, arm: Candidate, limit: Limit) -> str:
    """Return how an arm fails to meet a limit."""
    share, title = question.probability(arm, (limit,)), limit.criterion.title
    if share is None:
        return f"its {title} is not known, so {limit} cannot be checked"
    value = limit.criterion.write(arm.points[limit.criterion.key])
    if share == 0:
        return f"{title} of {value} misses {limit}"
    return f"{title} of {value} meets {limit} {chance(question, share)}"


def _merit(question: Question, choice: Candidate, possible: Sequence[Candidate]) -> str:
    title, key = question.prefer.title, question.prefer.key
    if len(possible) == 1:
        return "no other strategy does" if question.limits else "no other strategy learned anything"
    if key not in choice.points:
        return f"its {question.score.title} is the best; no strategy's {title} is known"
    value = question.prefer.write(choice.points[key])
    if key == SCORE:
        return f"its {title} of {value} is the best of the {len(possible)} eligible strategies"
    if question.score_is_limited:
        return f"of the {len(possible)} strategies that do, it has the lowest {title}: {value}"
    margin = "one standard error" if question.margin is None else f"the margin of {question.margin:g}"
    return f"of the strategies whose score is within {margin} of the best, it has the lowest {title}: {value}"


def _nobody(question: Question) -> Iterable[str]:
    """Yield which limits exclude the arms, and which arm is nearest to meeting them."""
    yield (
        "No recommendation: no strategy that learned anything meets all constraints "
        f"{chance(question, question.confidence)}."
    )
    for limit in question.limits:
        key, title = limit.criterion.key, limit.criterion.title
        meeting = [arm.label for arm in question.arms if limit not in question.failing(arm)]
        known = [arm for arm in question.arms if key in arm.points]
        if meeting:
            yield f"{limit} is met by {_listed(meeting)}."
        elif known:
            nearest = min(known, key=lambda arm: limit.criterion.sign * arm.points[key])
            enough = " with the required probability" if question.probability(nearest, (limit,)) else ""
            yield f"No strategy meets {limit}{enough}; the nearest is {nearest.label}, whose {_missed(question, nearest, limit)}."
        else:
            yield f"No strategy meets {limit}: no strategy's {title} is known."
    nearest = max(question.arms, key=lambda arm: question.probability(arm, question.limits) or 0.0)
    if share := question.probability(nearest, question.limits):
        met = chance(question, question.corrected(share))
        yield f"The nearest overall is {nearest.label}: it meets all constraints {met}."


def _listed(labels: Sequence[str]) -> str:
    """Return the first few labels, and how many more there are."""
    named, more = labels[:5], len(labels) - 5
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def changes(question: Question, choice: Candidate | None, runner_up: Candidate | None) -> Iterable[str]:
    """Yield what would change the choice: the smallest loosening of each limit, and the smallest change of an arm."""
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
        yield "Loosening a single limit would not change the choice."
    yield from _better_score(question, choice)
    if runner_up is not None:
        yield from _better_preferred(question, choice, runner_up)


def _relaxations(question: Question, limit: Limit, choice: Candidate | None) -> Iterable[tuple[Limit, Candidate]]:
    """Yield looser bounds of one limit that change the choice, nearest first, each with the arm it would choose."""
    sign = limit.criterion.sign
    needed = [question.needed(arm, limit, question.required) for arm in question.arms]
    for bound in sorted({sign * value for value in needed if value is not None and sign * value > sign * limit.bound}):
        loosened = limit.loosened_to(sign * bound)
        other = question.loosened((limit, loosened)).choose()
        if other is not None and (choice is None or other.label != choice.label):
            yield loosened, other


def _several(question: Question) -> str:
    """Return which arm needs the fewest limits loosened; ties are broken by how far."""
    needs = [need for arm in question.arms if (need := _needs(question, arm)) is not None]
    if not needs:
        return "Too little is known about the strategies to suggest a change."
    label, pairs = min(needs, key=lambda need: (len(need[1]), sum(_distance(*pair) for pair in need[1])))
    loosened = " and ".join(f"{new} (not {old.write(old.bound)})" for old, new in pairs)
    return f"Loosening a single limit is not enough; the nearest is {label}, which would need {loosened}."


def _needs(question: Question, arm: Candidate) -> tuple[str, list[tuple[Limit, Limit]]] | None:
    """Return the bound an arm needs for each limit that it does not meet; None if that is unknown."""
    alone = dataclasses.replace(question, limits=())
    failing = question.failing(arm) or list(question.limits)
    for confidence in (question.required, 1.0):
        bounds = [(limit, alone.needed(arm, limit, confidence)) for limit in failing]
        pairs = [(limit, limit.loosened_to(bound)) for limit, bound in bounds if bound is not None]
        if question.loosened(*pairs).feasible(arm):
            return arm.label, pairs
    return None


def _distance(limit: Limit, loosened: Limit) -> float:
    """Return how far a limit must be loosened, as a share of the larger bound."""
    return abs(loosened.bound - limit.bound) / max(abs(loosened.bound), abs(limit.bound), 1e-12)


def _better_score(question: Question, choice: Candidate) -> Iterable[str]:
    """Yield the smallest gain in score that would change the choice, and the arm that needs it."""
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
        yield (
            f"{arm.label} would be chosen if its {score.title} were {_digits(gain)} {word} "
            f"({score.write(arm.points[SCORE])} now)."
        )


def _gain(question: Question, arm: Candidate) -> float | None:
    """Return how much better an arm must score to be good enough; None if no gain is enough."""
    score, best = question.score, question.best()
    assert best is not None
    if question.prefer.key == SCORE:
        return score.sign * (arm.points[SCORE] - best.points[SCORE]) + 0.001
    if not question.score_is_limited:
        if not question.feasible(arm):
            return None
        if arm is best:
            return 0.0
        return question.behind(arm, best) - question.allowed(arm, best)
    gains = []
    for limit in question.limits:
        if limit.criterion.key == SCORE:
            unit = question.reference.draws[SCORE] if limit.relative and question.reference else 1.0
            behind = score.sign * (arm.draws[SCORE] - limit.bound * unit)
            gains.append(question.least(behind, arm, limit, question.required))
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
