"""Recommend an arm, with its probability and the reasons.

An arm that learned nothing costs little and forgets nothing, so it would lie on every Pareto front and meet every limit
on cost. Such an arm is never recommended and is left out of the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from harness.decide.choice import CLEARLY, CONFIDENCE, SCORE, Candidate, Criterion, Draws, Limit, Question, better_than
from harness.decide.reasons import changes, percent, reasons, why_not
from harness.errors import HarnessError
from harness.records import Record

Verdict = Literal["choice", "runner-up", "possible", "excluded"]


class Judged(Record):
    """The assessment of one arm."""

    label: str
    role: Literal["baseline", "reference", "contender"]
    values: dict[str, float]
    """By criterion; unknown values are absent."""
    learned: bool
    front: float | None
    """Probability of lying on the Pareto front; None if the arm is left out of it."""
    meets: dict[str, float | None]
    """Probability of meeting each limit; None if the arm's value is not known."""
    meets_all: float | None
    """Probability of meeting all limits at once; None if that is not known."""
    verdict: Verdict
    why: str


class Recommendation(Record):
    """The recommended arm, with reasons."""

    choice: str | None
    runner_up: str | None
    confidence: float
    """Required probability that the chosen arm meets all limits."""
    required: float
    """The same for each arm, because one of several is chosen."""
    reasons: tuple[str, ...]
    """Why this arm is chosen, in sentences."""
    changes: tuple[str, ...]
    """What would change the choice, in sentences."""
    arms: tuple[Judged, ...]
    front: tuple[str, ...]
    """Keys of the criteria of the Pareto front."""
    notes: tuple[str, ...]


def advise(
    arms: Sequence[Candidate],
    criteria: Sequence[Criterion],
    limits: Sequence[Limit] = (),
    *,
    reference: str | None = None,
    prefer: str = SCORE,
    confidence: float = CONFIDENCE,
    baseline: float | None = None,
    margin: float | None = None,
) -> Recommendation:
    """Return the recommended arm.

    An arm is eligible if it learned something and meets all limits at once with a probability that is `confidence`
    corrected for the number of arms. The choice is the eligible arm that is best by `prefer` and whose score is good
    enough: the score meets its limit or, if there is no limit on the score, is not worse than the best eligible score
    by more than the margin. If `prefer` is the score, the highest wins.

    An arm learned something if its score is better than that of every arm with the role `baseline`, and than
    `baseline`, with a probability of 95 %. If neither is given, the chance level is unknown: an arm whose score is less
    than half as good as that of the best arm counts as having learned nothing.

    Args:
        arms: What is known about each arm.
        criteria: The criteria they are judged by; one has the key `score`.
        limits: The limits they must meet.
        reference: Label of the arm that relative limits refer to.
        prefer: Key of the criterion that decides among the eligible arms.
        confidence: Probability with which all limits must be met.
        baseline: Score without learning, such as the share of the most frequent class.
        margin: How much worse than the best score is good enough; None for one standard error of the
            difference.

    Raises:
        HarnessError: No arm has a score, or a limit is relative to a reference without a value.
    """
    scored = [arm for arm in arms if SCORE in arm.draws]
    if not scored:
        message = "no strategy has a score yet: run harness compare first"
        raise HarnessError(message)
    named = {criterion.key: criterion for criterion in criteria}
    score = named[SCORE]
    learning = _learning(arms, score, baseline)
    learned = tuple(arm for arm in scored if arm.label in learning.learned)
    compared_with = next((arm for arm in scored if arm.label == reference), None)
    for limit in limits:
        _check_reference(limit, compared_with)
    question = Question(learned, tuple(limits), score, named[prefer], confidence, compared_with, margin)
    choice = question.choose()
    runner_up = question.without(choice).choose() if choice else None
    on_front = [criterion for criterion in criteria if criterion.on_front]
    counted = [criterion for criterion in on_front if any(criterion.key in arm.draws for arm in learned)]
    front = pareto_probability(learned, counted) if question.sampled else {}
    judged = []
    for arm in arms:
        verdict, why = _verdict(question, arm, choice, runner_up, learning)
        judged.append(
            Judged(
                label=arm.label,
                role=arm.role,
                values=dict(arm.points),
                learned=arm.label in learning.learned,
                front=front.get(arm.label),
                meets={str(limit): question.probability(arm, (limit,)) for limit in limits},
                meets_all=question.probability(arm, limits) if question.sampled else None,
                verdict=verdict,
                why=why,
            )
        )
    return Recommendation(
        choice=choice.label if choice else None,
        runner_up=runner_up.label if runner_up else None,
        confidence=confidence,
        required=question.required,
        reasons=tuple(reasons(question, choice, runner_up)),
        changes=tuple(changes(question, choice, runner_up)),
        arms=tuple(judged),
        front=tuple(criterion.key for criterion in counted),
        notes=(learning.rule,),
    )


def pareto_probability(arms: Sequence[Candidate], criteria: Sequence[Criterion]) -> dict[str, float]:
    """Return the probability that each arm lies on the Pareto front.

    An arm lies on the front unless another is at least as good in every criterion and better in one. An arm with an
    unknown criterion is left out and has no probability.
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


def _verdict(
    question: Question, arm: Candidate, choice: Candidate | None, runner_up: Candidate | None, learning: _Learning
) -> tuple[Verdict, str]:
    """Return the verdict on an arm, and the reason."""
    if arm is choice:
        return "choice", "recommended"
    if arm.label in learning.failed:
        return "excluded", learning.failed[arm.label]
    if arm.label not in learning.learned:
        return "excluded", "no score yet"
    why = why_not(question, arm, choice)
    if choice is None or not question.feasible(arm):
        return "excluded", why
    return "runner-up" if arm is runner_up else "possible", why


class _Learning(NamedTuple):
    learned: frozenset[str]
    failed: dict[str, str]
    """Why the other arms learned nothing, by label."""
    rule: str


def _learning(arms: Sequence[Candidate], score: Criterion, baseline: float | None) -> _Learning:
    """Return which arms learned something, and the rule that decides it."""
    baselines = [arm for arm in arms if arm.role == "baseline"]
    bars: list[tuple[str, Draws | float]] = [
        (f"{arm.label}'s", arm.draws[SCORE]) for arm in baselines if SCORE in arm.draws
    ]
    bars += [] if baseline is None else [(score.write(baseline), baseline)]
    failed = {arm.label: "the baseline: not tuned" for arm in baselines}
    contenders = [arm for arm in arms if arm.role != "baseline" and SCORE in arm.draws]
    if bars:
        for arm in contenders:
            shares = [(float(np.mean(better_than(arm.draws[SCORE], bar, score))), called) for called, bar in bars]
            share, called = min(shares)
            if share < CLEARLY:
                how = f"only with a probability of {percent(share)}" if arm.sampled else "not as measured"
                failed[arm.label] = f"learned nothing: better than {called} {how}"
        over = " and ".join(called for called, _ in bars)
        rule = f"learned: a score better than {over} with a probability of {percent(CLEARLY)}"
    else:
        best = min((score.sign * arm.points[SCORE] for arm in contenders), default=0.0) * score.sign
        if score.better == "lower":
            nothing, what = [arm for arm in contenders if arm.points[SCORE] > 2 * best], "more than twice the best"
        elif best > 0:
            nothing, what = [arm for arm in contenders if arm.points[SCORE] < best / 2], "less than half of the best"
        else:
            nothing, what = [arm for arm in contenders if arm.points[SCORE] <= 0], "not above 0, like the best"
        for arm in nothing:
            value = f"{score.write(arm.points[SCORE])} is {what}"
            failed[arm.label] = f"learned nothing: its score of {value} ({score.write(best)})"
        known = "the baseline has no such score" if baselines else "no baseline was measured"
        rule = (
            f"learned: {known}, so the chance level is unknown; a score that is {what} counts as nothing learned; set "
            "the chance level with --baseline"
        )
    return _Learning(frozenset(arm.label for arm in contenders) - failed.keys(), failed, rule)


def _check_reference(limit: Limit, reference: Candidate | None) -> None:
    if not limit.relative:
        return
    key, what = limit.criterion.key, f"{limit} is relative to the reference's {limit.criterion.title}"
    if reference is None or key not in reference.draws:
        message = f"{what}, which is not known: give an absolute value, or name another strategy with --reference"
        raise HarnessError(message)
    if reference.points[key] <= 0:
        message = f"{what}, which is {limit.criterion.write(reference.points[key])}: give an absolute value"
        raise HarnessError(message)
