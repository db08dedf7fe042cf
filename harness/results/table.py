"""From stored runs to a table: arms as rows; score, forgetting and cost as groups of columns."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.catalog import Catalog
from harness.errors import DamagedError
from harness.experiment.plan import Arm, Plan
from harness.records import Cell, Row, Run, Table
from harness.results.about import about_costs, about_noise, about_runs, about_verdicts
from harness.results.comparability import Finished
from harness.results.guard import divide, guard
from harness.results.measures import (
    TRANSFER,
    Measure,
    ScoredRun,
    cost_measures,
    forgetting_measures,
    inference_measures,
    moment_measures,
    score_measures,
    transfer_measures,
)
from harness.results.noise import Noise, measure_noise
from harness.results.scores import ScoreBook, Scores
from harness.results.statistics import mean_of_seeds
from harness.results.verdicts import ItemBook, Judgement, judge, sample
from harness.results.writing import (
    with_interval,
)
from harness.store import Store

View = Literal["comparison", "matrix"]


def tabulate(
    plan: Plan,
    store: Store,
    catalog: Catalog,
    view: View = "comparison",
    price: float | None = None,
    *,
    cached: bool = True,
) -> Table:
    """Return the table of what is stored of a plan; what is missing is blank and says so.

    Args:
        plan: What was asked.
        store: Where the runs are.
        catalog: Where the metrics come from.
        view: `comparison` has what each strategy scores, forgets and costs; `matrix` has every score at every moment.
        price: Money for each second that a device is held; None to leave money out.
        cached: Whether to use scores that were computed before, and to keep new ones.
    """
    book, items = ScoreBook(store, cached=cached), ItemBook(store, catalog, cached=cached)
    # Thousands of records that all stay: looking for garbage among them again and again would take a quarter of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _tabulate(plan, store, catalog, book, items, view, price)
    finally:
        book.save()
        items.save()
        if collecting:
            gc.enable()


def draws(plan: Plan, store: Store, catalog: Catalog) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return what scores and forgetting might have been: by a column's key and an arm's label, one value per resample.

    The same index is the same resample of seeds and items everywhere.
    """
    book, items = ScoreBook(store), ItemBook(store, catalog)
    finished = {arm.label: list(_finished(arm.runs, store, catalog, book)) for arm in plan.arms}
    runs = {label: [(item.run, item.outcome) for item in some] for label, some in finished.items()}
    found = {
        measure.column.key: sample(runs, measure.parts, plan.reference, items)[0]
        for measure in (*score_measures(plan, catalog), *forgetting_measures(plan, catalog))
    }
    items.save()
    return {key: {label: one.draws for label, one in of.items()} for key, of in found.items()}


def _tabulate(
    plan: Plan,
    store: Store,
    catalog: Catalog,
    book: ScoreBook,
    items: ItemBook,
    view: View,
    price: float | None,
) -> Table:
    finished = {arm.label: list(_finished(arm.runs, store, catalog, book)) for arm in plan.arms}
    again = {
        arm.label: list(_finished((arm.runs[0], *arm.repeats), store, catalog, book))
        for arm in plan.arms
        if arm.repeats
    }
    parts = divide(
        plan, {label: [Finished(item.run, item.outcome, store) for item in items] for label, items in finished.items()}
    )
    first, *others = (
        guard(_table(part.plan(plan), finished, again, store, catalog, items, view, price), part, parts)
        for part in parts
    )
    return first.model_copy(update={"others": tuple(others)})


def _table(
    plan: Plan,
    finished: Mapping[str, Sequence[ScoredRun]],
    again: Mapping[str, Sequence[ScoredRun]],
    store: Store,
    catalog: Catalog,
    items: ItemBook,
    view: View,
    price: float | None,
) -> Table:
    reference = plan.reference
    everything = [item for arm in plan.arms for item in finished[arm.label]]
    absences = {arm.label: _absences(arm, finished[arm.label], store) for arm in plan.arms}
    about = about_runs(plan, everything)
    if view == "matrix":
        # Every score at every moment is much already: the verdicts are the other view's.
        plan = plan.model_copy(update={"reference": None})
        about = (*TRANSFER, *about)
        measures = [*moment_measures(plan, catalog), *transfer_measures(plan, catalog)]
    else:
        costs = (*cost_measures(everything, price), *inference_measures(everything))
        measures = [*score_measures(plan, catalog), *forgetting_measures(plan, catalog), *costs]
        about = (*about, *about_costs(everything, price))
    footnotes: list[str] = []
    judged = [_judge(measure, plan, finished, items) for measure in measures]
    again = {arm.label: again[arm.label] for arm in plan.arms if arm.label in again}
    noise = [
        measure_noise(measure.read, finished, again) if measure.parts and view == "comparison" else None
        for measure in measures
    ]
    about = (*about, *about_verdicts(plan, measures), *about_noise(measures, noise))
    rows = [
        Row(
            label=arm.label,
            role="reference" if arm.label == reference else ("floor" if arm.role == "floor" else "contender"),
            cells=tuple(
                _cell(measure, finished[arm.label], absences[arm.label], footnotes, found.get(arm.label), smallest)
                for measure, found, smallest in zip(measures, judged, noise, strict=True)
            ),
            runs=tuple(item.outcome.run_id for item in finished[arm.label]),
        )
        for arm in plan.arms
    ]
    return Table(
        title=plan.name,
        question=plan.question,
        columns=tuple(measure.column for measure in measures),
        rows=tuple(_with_best(rows, measures)),
        footnotes=tuple(footnotes),
        about=tuple(about),
    )


def _finished(runs: Sequence[Run], store: Store, catalog: Catalog, book: ScoreBook) -> Iterable[ScoredRun]:
    for run in runs:
        outcome = store.sound(run)  # of one that is damaged, the row says so
        if outcome is not None:
            yield ScoredRun(run, outcome, Scores(store, catalog, book, run, outcome))


def _judge(
    measure: Measure, plan: Plan, finished: Mapping[str, Sequence[ScoredRun]], book: ItemBook
) -> dict[str, Judgement | str]:
    """Return what is known of each arm in a column, or why nothing is beyond its mean; empty for what is no score."""
    if not measure.parts or measure.column.better is None:
        return {}
    runs = {arm.label: [(item.run, item.outcome) for item in finished[arm.label]] for arm in plan.arms}
    samples, reasons = sample(runs, measure.parts, plan.reference, book)
    ranked = [arm.label for arm in plan.arms if measure.counts_floor or arm.role != "floor"]
    return {**judge(samples, plan.reference, measure.column.better, plan.margin, ranked), **reasons}


def _cell(
    measure: Measure,
    finished: Sequence[ScoredRun],
    absences: Sequence[str],
    footnotes: list[str],
    judged: Judgement | str | None,
    noise: Noise | None,
) -> Cell:
    values = [measure.read(item) for item in finished]
    defined = [value for value in values if value.value is not None]
    reasons = [value.undefined for value in values if value.undefined] or list(absences)
    if isinstance(judged, str) and judged not in reasons:
        reasons.append(judged)
    note = _footnote(footnotes, "; ".join(dict.fromkeys(reasons))) if reasons else None
    if not defined:
        return Cell(text="", note=note)
    result = mean_of_seeds([float(value.value or 0) for value in defined])
    known = judged if isinstance(judged, Judgement) else None
    if measure.parts:
        result = result._replace(half_width=known.half_width if known else None)
    cell = Cell(
        text=with_interval(result, measure.write) if measure.interval else measure.write(result.mean),
        detail=measure.detail(defined),
        value=result.mean,
        half_width=result.half_width,
        note=note,
    )
    if known is None:
        return cell
    told = {key: value for key, value in known._asdict().items() if key != "half_width"}
    dimmed = noise is not None and known.difference is not None and abs(known.difference) < noise.floor
    return cell.model_copy(update={**told, "dimmed": dimmed})


def _absences(arm: Arm, finished: Sequence[ScoredRun], store: Store) -> list[str]:
    """Return why an arm has fewer runs than seeds, if it has."""
    reasons = []
    there = {item.run.seed for item in finished}
    absent = [run for run in arm.runs if run.seed not in there]
    failures = [(run, store.failure(run)) for run in absent]
    damaged = [told for run in absent if (told := _damage(run, store)) is not None]
    waiting = sum(failure is None for _, failure in failures) - len(damaged)
    if waiting:
        reasons.append(f"{arm.label}: {waiting} of {len(arm.runs)} seeds not run yet")
    reasons += [
        f"{arm.label}: seed {run.seed} {failure.status}: {failure.reason}" for run, failure in failures if failure
    ]
    return [*reasons, *(f"{arm.label}: {told}" for told in damaged)]


def _damage(run: Run, store: Store) -> str | None:
    """Return why what is stored of a run is not used; None if it is sound, or there is nothing."""
    try:
        store.outcome(run)
    except DamagedError as error:
        return str(error)
    return None


def _footnote(footnotes: list[str], text: str) -> int:
    if text not in footnotes:
        footnotes.append(text)
    return footnotes.index(text) + 1


def _with_best(rows: Sequence[Row], measures: Sequence[Measure]) -> Iterable[Row]:
    """Mark the best of columns: all of rank 1 where arms are ranked, else the lowest or highest; equals share the mark."""
    marked: list[set[str]] = []
    for position, measure in enumerate(measures):
        values = {
            row.label: row.cells[position]
            for row in rows
            if row.cells[position].value is not None and (measure.counts_floor or row.role != "floor")
        }
        if values and all(cell.rank is not None for cell in values.values()):
            marked.append({label for label, cell in values.items() if cell.rank == 1})
            continue
        if measure.interval and not measure.parts:
            marked.append(set())  # of what may be chance and is not judged, none is the best
            continue
        pick = max if measure.column.better == "higher" else min
        best = pick((cell.value for cell in values.values() if cell.value is not None), default=None)
        marked.append({label for label, cell in values.items() if cell.value == best})
    for row in rows:
        cells = (
            cell.model_copy(update={"best": row.label in labels})
            for cell, labels in zip(row.cells, marked, strict=True)
        )
        yield row.model_copy(update={"cells": tuple(cells)})
