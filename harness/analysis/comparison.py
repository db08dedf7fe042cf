"""Compute the numbers of a comparison from stored runs: score, forgetting and costs of each arm, with uncertainty.

    Plan + stored runs ──► Analysis: parts whose scores can be compared ──► measures ──► a Figure for each arm

Tables, recommendations and the Python API are built on this. Nothing is formatted as text here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.analysis.cache import AnalysisCache
from harness.analysis.comparability import Finished
from harness.analysis.endings import Ending, read_ending
from harness.analysis.measures import (
    Measure,
    ScoredRun,
    Value,
    beside,
    cost_measures,
    forgetting_measures,
    inference_measures,
    moment_measures,
    score_measures,
    transfer_measures,
)
from harness.analysis.noise import Noise, measure_noise
from harness.analysis.parts import Part, divide
from harness.analysis.planning import Needed, level_of_looks
from harness.analysis.scores import Scores
from harness.analysis.statistics import Interval, draw, mean_of_seeds
from harness.analysis.verdicts import Comparisons, ItemBook, Judgement, judge, sample
from harness.catalog import Catalog
from harness.errors import DamagedError
from harness.experiment.plan import Arm, Plan
from harness.records import Failure, Run
from harness.store import Store

Scope = Literal["comparison", "matrix"]
"""What is measured: score, forgetting and costs of each strategy; or every score at every moment."""


@dataclass(frozen=True)
class Figure:
    """The values of one arm for one measure."""

    values: tuple[Value, ...]
    """One for each finished run."""
    mean: float | None
    """Over the runs that have a value; None if no run has one."""
    interval: Interval | None
    """Its 95 % interval."""
    beside: Mapping[str, float]
    """Means of the details shown next to it, by name."""
    judgement: Judgement | None
    """Comparison with the other arms; None if not tested for significance."""
    draws: NDArray[np.float64] | None
    """Values that the true mean could have, `[B]`; the same index belongs together in every arm and measure. None if
    its uncertainty is not known."""
    reasons: tuple[str, ...]
    """Why it is blank or incomplete."""
    within_noise: bool = False
    """Whether its difference from the reference is below the noise between runs that should be equal."""
    best: bool = False
    """If tested for significance: whether it could be the best; otherwise whether it is lowest or highest."""


@dataclass(frozen=True)
class Measured:
    """One measure for all arms of a part."""

    measure: Measure
    figures: Mapping[str, Figure]
    """By the arm's label."""
    noise: Noise | None


@dataclass(frozen=True)
class Compared:
    """Arms whose scores can be compared, with all their measures."""

    plan: Plan
    """The plan reduced to these arms."""
    part: Part
    runs: Mapping[str, Sequence[ScoredRun]]
    """The finished runs, by the arm's label."""
    measured: tuple[Measured, ...]
    early: Mapping[str, str] = field(default_factory=dict)
    """By label, that training ended while validation was still improving."""
    best_steps: Mapping[str, Sequence[tuple[int, ...]]] = field(default_factory=dict)
    """By label, for each seed trained until validation was flat, the steps to the best weights of each stage."""

    def find(self, key: str) -> Measured | None:
        """Return the measure with this column key; None if there is none."""
        return next((found for found in self.measured if found.measure.column.key == key), None)

    @property
    def unsettled(self) -> str | None:
        """Return how many seeds or test items would probably settle the scores in which no difference is shown."""
        found = [
            f"{label} in {measured.measure.column.title} ({known.difference:+.3f}) "
            + _ways(known.needed, "groups of test items" if self._in_groups(measured.measure) else "test items")
            for measured in self.measured
            if measured.measure.column.group == "score"
            for label, figure in measured.figures.items()
            if (known := figure.judgement) is not None and known.needed is not None and known.difference is not None
        ]
        if not found:
            return None
        looks = f"; to look again, plan it: --looks {len(self.plan.arms[0].runs)},..." if not self.plan.looks else ""
        return f"to show a difference as large as measured in 80 % of cases: {'; '.join(found)}{looks}"

    def _in_groups(self, measure: Measure) -> bool:
        """Return whether the test items of a score belong together in groups, which are drawn together."""
        notes = self.everything[0].outcome.data
        return any(notes[part.problem].splits["test"].groups for part in measure.parts)

    @property
    def everything(self) -> list[ScoredRun]:
        """Return all finished runs, arm by arm."""
        return [run for arm in self.plan.arms for run in self.runs[arm.label]]


@dataclass(frozen=True)
class Analysis:
    """The numbers of a comparison."""

    plan: Plan
    scope: Scope
    price: float | None
    """Price of one device for one second; None to leave out money."""
    parts: tuple[Compared, ...]
    """The part of the reference comes first; most comparisons have only one."""


def analyse(
    plan: Plan,
    store: Store,
    catalog: Catalog,
    scope: Scope = "comparison",
    price: float | None = None,
    *,
    cached: bool = True,
) -> Analysis:
    """Return the numbers of a plan's stored runs; missing values come with a reason.

    Args:
        plan: The plan of the comparison.
        store: Where the runs are.
        catalog: Where the metrics come from.
        scope: What is measured.
        price: Price of one device for one second; None to leave out money.
        cached: Whether to read scores from the cache and to write new ones to it.
    """
    cache = AnalysisCache(store.cache / "analysis.sqlite" if cached else None)
    cache.read(run.id for arm in plan.arms for run in (*arm.runs, *arm.repeats))
    runs = {arm.label: list(_finished(arm.runs, store, catalog, cache)) for arm in plan.arms}
    again = {
        arm.label: list(_finished((arm.runs[0], *arm.repeats), store, catalog, cache))
        for arm in plan.arms
        if arm.repeats
    }
    happened = {label: [Finished(one.run, one.outcome, store) for one in some] for label, some in runs.items()}
    try:
        parts = tuple(
            _compared(part, part.plan(plan), runs, again, store, catalog, cache, scope, price)
            for part in divide(plan, happened)
        )
    finally:
        cache.save()
    return Analysis(plan, scope, price, parts)


def _compared(
    part: Part,
    plan: Plan,
    runs: Mapping[str, Sequence[ScoredRun]],
    again: Mapping[str, Sequence[ScoredRun]],
    store: Store,
    catalog: Catalog,
    cache: AnalysisCache,
    scope: Scope,
    price: float | None,
) -> Compared:
    labels = [arm.label for arm in plan.arms]
    runs = {label: runs[label] for label in labels}
    again = {label: again[label] for label in labels if label in again}
    absences = {arm.label: tuple(_absences(arm, runs[arm.label], store)) for arm in plan.arms}
    alone, measured = plan.model_copy(update={"reference": None}), []
    ended = {label: [read_ending(store, cache, one.run, one.outcome) for one in some] for label, some in runs.items()}
    early = {label: _ended_early(some) for label, some in ended.items()}
    measures = list(_measures(plan, catalog, [run for some in runs.values() for run in some], scope, price))
    # The matrix already has many columns: verdicts are only given in the scope "comparison".
    items = ItemBook(store, catalog, cache)
    all_judged = _judged(measures, plan if scope == "comparison" else alone, runs, items)
    for measure, judged in zip(measures, all_judged, strict=True):
        noise = measure_noise(measure.read, runs, again) if measure.parts and scope == "comparison" else None
        figures = {
            label: _figure(measure, runs[label], absences[label], judged.get(label), noise, part, label, early[label])
            for label in labels
        }
        measured.append(Measured(measure, _with_best(measure, figures, plan, part), noise))
    return Compared(
        plan=plan,
        part=part,
        runs=runs,
        measured=tuple(measured),
        early={label: told for label, told in early.items() if told},
        best_steps={
            label: steps
            for label, some in ended.items()
            if (steps := [one.best_steps for one in some if one.best_steps])
        },
    )


def _ways(needed: Needed, units: str) -> str:
    ways = [f"{needed.seeds:,} seeds"] if needed.seeds else []
    ways += [f"{needed.items:,} {units}"] if needed.items else []
    return " or ".join(ways) if ways else "more than 100 times the seeds or items"


def _ended_early(endings: Sequence[Ending]) -> str | None:
    """Return that an arm's validation was still improving when its training ended, if that is so for most seeds."""
    found = [one.early for one in endings if one.early is not None]
    if 2 * len(found) <= len(endings):
        return None
    more = "-o train.epochs=flat" if found[0] == "last epoch" else "a higher train.max_steps"
    return (
        f"validation was still improving at the {found[0]} in {len(found)} of {len(endings)} seeds: longer "
        f"training ({more}) may change this"
    )


def _measures(
    plan: Plan, catalog: Catalog, finished: Sequence[ScoredRun], scope: Scope, price: float | None
) -> Iterable[Measure]:
    if scope == "matrix":
        yield from moment_measures(plan, catalog)
        yield from transfer_measures(plan, catalog)
    else:
        yield from score_measures(plan, catalog)
        yield from forgetting_measures(plan, catalog)
        yield from cost_measures(finished, price)
        yield from inference_measures(finished)


def _finished(runs: Sequence[Run], store: Store, catalog: Catalog, cache: AnalysisCache) -> Iterable[ScoredRun]:
    for run in runs:
        outcome = store.sound(run)  # a damaged run is reported in the reasons
        if outcome is not None:
            yield ScoredRun(run, outcome, Scores(store, catalog, cache, run, outcome))


_Judged = tuple[NDArray[np.float64] | None, Judgement | str | None]
"""An arm's draws, and its judgement or why there is none."""


def _judged(
    measures: Sequence[Measure], plan: Plan, runs: Mapping[str, Sequence[ScoredRun]], book: ItemBook
) -> list[dict[str, _Judged]]:
    """Return, for each measure, what is known about each arm; empty for measures that are not scores."""
    happened = {arm.label: [(one.run, one.outcome) for one in runs[arm.label]] for arm in plan.arms}
    scores = [at for at, measure in enumerate(measures) if measure.parts and measure.column.better is not None]
    samples = {at: sample(happened, measures[at].parts, plan.reference, book) for at in scores}
    columns = [
        Comparisons(
            samples=samples[at].arms,
            better=measures[at].column.better or "higher",
            bounds=measures[at].bounds,
            span=measures[at].span,
            first=measures[at].first,
            leads=measures[at].first and measures[at].column.group == "score",
            competing=[arm.label for arm in plan.arms if measures[at].counts_baseline or arm.role != "baseline"],
            baselines=[arm.label for arm in plan.arms if arm.role == "baseline" and measures[at].counts_baseline],
        )
        for at in scores
    ]
    judged = judge(columns, plan.reference, plan.margin, level_of_looks(plan.looks))
    known = dict(zip(scores, judged, strict=True))
    found: list[dict[str, _Judged]] = [{} for _ in measures]
    for at in scores:
        arms, reasons, key = samples[at]
        drawn = draw(arms, key)
        found[at] = {
            arm.label: (drawn.get(arm.label), known[at].get(arm.label, reasons.get(arm.label))) for arm in plan.arms
        }
    return found


def _figure(
    measure: Measure,
    runs: Sequence[ScoredRun],
    absences: Sequence[str],
    judged: _Judged | None,
    noise: Noise | None,
    part: Part,
    label: str,
    early: str | None,
) -> Figure:
    drawn, known = judged or (None, None)
    values = tuple(measure.read(run) for run in runs)
    defined = [value for value in values if value.value is not None]
    reasons = [value.undefined for value in values if value.undefined] or list(absences)
    if isinstance(known, str):
        reasons.append(known)
    judgement = known if isinstance(known, Judgement) else None
    if not defined:
        return Figure(values, None, None, {}, None, None, tuple(dict.fromkeys(reasons)))
    if elsewhere := part.measured_elsewhere(label, measure.column):
        reasons.append(elsewhere)
    if measure.first and measure.column.group == "score":
        unproven = judgement is not None and judgement.above_baseline is False
        limits = ["not shown to be better than the baseline"] * unproven + ([early] if early else [])
        if limits:
            reasons.append(f"{label}: {'; '.join(limits)}")
    mean = mean_of_seeds([value.value for value in defined if value.value is not None])
    interval = mean.interval if not measure.parts else judgement.interval if judgement else None
    difference = judgement.difference if judgement else None
    return Figure(
        values=values,
        mean=mean.mean,
        interval=interval,
        beside=beside(defined),
        judgement=judgement,
        draws=drawn,
        reasons=tuple(dict.fromkeys(reasons)),
        within_noise=noise is not None and difference is not None and abs(difference) < noise.threshold,
    )


def _with_best(measure: Measure, figures: Mapping[str, Figure], plan: Plan, part: Part) -> dict[str, Figure]:
    """Mark all that could be the best if that is tested, else the lowest or highest; ties are all marked."""
    best = _best(measure, figures, plan, part)
    return {label: replace(figure, best=label in best) for label, figure in figures.items()}


def _best(measure: Measure, figures: Mapping[str, Figure], plan: Plan, part: Part) -> set[str]:
    if part.is_measured(measure.column):
        return set()  # not all measured on the same kind of machine
    candidates = {
        arm.label: figures[arm.label]
        for arm in plan.arms
        if figures[arm.label].mean is not None and (measure.counts_baseline or arm.role != "baseline")
    }
    tested = {label: one.judgement.could_be_best if one.judgement else None for label, one in candidates.items()}
    if candidates and None not in tested.values():
        return {label for label, possible in tested.items() if possible}
    if measure.interval and not measure.parts:
        return set()  # varies by chance and is not tested for significance
    means = {label: one.mean for label, one in candidates.items() if one.mean is not None}
    pick = max if measure.column.better == "higher" else min
    best = pick(means.values(), default=None)
    return {label for label, mean in means.items() if mean == best}


def _absences(arm: Arm, finished: Sequence[ScoredRun], store: Store) -> Iterable[str]:
    """Yield why an arm has fewer finished runs than seeds."""
    there = {one.run.seed for one in finished}
    absent = [run for run in arm.runs if run.seed not in there]
    failures: list[tuple[Run, Failure | None]] = [(run, store.failure(run)) for run in absent]
    damaged = [told for run in absent if (told := _damage(run, store)) is not None]
    waiting = sum(failure is None for _, failure in failures) - len(damaged)
    if waiting:
        yield f"{arm.label}: {waiting} of {len(arm.runs)} seeds not run yet"
    for run, failure in failures:
        if failure:
            yield f"{arm.label}: seed {run.seed} {failure.status}: {failure.reason}"
    for told in damaged:
        yield f"{arm.label}: {told}"


def _damage(run: Run, store: Store) -> str | None:
    """Return why a stored run is not used; None if it is sound or not stored."""
    try:
        store.outcome(run)
    except DamagedError as error:
        return str(error)
    return None
