"""From stored runs to a table: arms as rows; score, forgetting and cost as groups of columns."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.catalog import Catalog
from harness.contracts import Metric, Task
from harness.experiment.plan import Arm, Plan
from harness.records import Cell, Column, ComponentRef, DataNote, Inference, Outcome, Row, Run, Speed, SplitNote, Table
from harness.results.comparability import Finished
from harness.results.costs import device_seconds, energy_joules, tuning_phases, why_no_energy
from harness.results.forgetting import Matrix, backward_transfer, forgetting, forward_transfer, maximal_forgetting
from harness.results.guard import divide, guard
from harness.results.noise import Noise, measure_noise
from harness.results.scores import ScoreBook, Scores
from harness.results.statistics import RESAMPLES, Estimate, estimate
from harness.results.verdicts import ItemBook, Judgement, Part, judge, sample
from harness.store import Store


class _Finished(NamedTuple):
    """A finished run with what is needed to describe it."""

    run: Run
    outcome: Outcome
    scores: Scores


class _Value(NamedTuple):
    """What one run has to say in one column."""

    value: float | None
    detail: str = ""
    undefined: str | None = None


@dataclass(frozen=True)
class _Measure:
    """A column, how a run's value in it is found, and how an arm's mean is written."""

    column: Column
    read: Callable[[_Finished], _Value]
    write: Callable[[float], str]
    detail: Callable[[Sequence[_Value]], str]
    interval: bool = True
    """Whether the interval is written: where seeds hardly matter it only takes room."""
    counts_floor: bool = True
    """Whether the floor may be the best here: that it costs nothing is no merit."""
    parts: tuple[Part, ...] = ()
    """The stored scores it is the sum of, from which it is resampled; none for what is no score."""


_Detail = Callable[[Sequence[_Value]], str]
View = Literal["comparison", "matrix"]


def tabulate(
    plan: Plan, store: Store, catalog: Catalog, view: View = "comparison", price: float | None = None
) -> Table:
    """Return the table of what is stored of a plan; what is missing is blank and says so.

    Args:
        plan: What was asked.
        store: Where the runs are.
        catalog: Where the metrics come from.
        view: `comparison` has what each strategy scores, forgets and costs; `matrix` has every score at every moment.
        price: Money for each second that a device is held; None to leave money out.
    """
    book, items = ScoreBook(store), ItemBook(store, catalog)
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
    finished = {arm.label: list(_finished(arm, store, catalog, book)) for arm in plan.arms}
    runs = {label: [(item.run, item.outcome) for item in some] for label, some in finished.items()}
    found = {
        measure.column.key: sample(runs, measure.parts, plan.reference, items)[0]
        for measure in (*_score_measures(plan, catalog), *_forgetting_measures(plan, catalog))
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
    finished = {arm.label: list(_finished(arm, store, catalog, book)) for arm in plan.arms}
    again = {
        arm.label: list(_finished(arm.model_copy(update={"runs": arm.repeats}), store, catalog, book))
        for arm in plan.arms
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
    finished: Mapping[str, Sequence[_Finished]],
    again: Mapping[str, Sequence[_Finished]],
    store: Store,
    catalog: Catalog,
    items: ItemBook,
    view: View,
    price: float | None,
) -> Table:
    everything = [item for arm in plan.arms for item in finished[arm.label]]
    absences = {arm.label: _absences(arm, finished[arm.label], store) for arm in plan.arms}
    about = _about(plan, everything)
    if view == "matrix":
        about = (*_TRANSFER, *about)
        measures = [*_moment_measures(plan, catalog), *_transfer_measures(plan, catalog)]
    else:
        costs = (*_cost_measures(everything, price), *_inference_measures(everything))
        measures = [*_score_measures(plan, catalog), *_forgetting_measures(plan, catalog), *costs]
        about = (*about, *_about_costs(everything, price))
    footnotes: list[str] = []
    judged = [_judge(measure, plan, finished, items) for measure in measures]
    noise = [measure_noise(measure.read, finished, again) if measure.parts else None for measure in measures]
    about = (*about, *_about_verdicts(plan, measures), *_about_noise(measures, noise))
    rows = [
        Row(
            label=arm.label,
            role="reference" if arm.label == plan.reference else ("floor" if arm.role == "floor" else "contender"),
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


def _finished(arm: Arm, store: Store, catalog: Catalog, book: ScoreBook) -> Iterable[_Finished]:
    for run in arm.runs:
        outcome = store.outcome(run)
        if outcome is not None:
            yield _Finished(run, outcome, Scores(store, catalog, book, run, outcome))


def _score_measures(plan: Plan, catalog: Catalog) -> Iterable[_Measure]:
    stages = plan.arms[0].runs[0].stages
    for position, (problem, metrics) in enumerate(zip(stages, plan.stage_metrics, strict=True)):
        for name in metrics if len(stages) == 1 else metrics[:1]:
            metric = catalog.find(Metric, name)
            prefix = "" if len(stages) == 1 else f"{_called(problem.dataset)} "

            def read(item: _Finished, name: str = name, position: int = position) -> _Value:
                score = item.scores.get(name, position + 1, position)
                return _Value(score.value, undefined=score.undefined)

            column = Column(
                key=f"{problem.dataset.name}.{name}" if prefix else name,
                group="score",
                title=f"{prefix}{metric.title}",
                unit=metric.unit,
                better=metric.better,
            )
            parts = (Part(1.0, name, position + 1, position),)
            yield _Measure(column, read, _three_decimals, _no_detail, parts=parts)


def _forgetting_measures(plan: Plan, catalog: Catalog) -> Iterable[_Measure]:
    first = plan.arms[0].runs[0]
    stages, problems = len(first.stages), first.problems
    names, signs, learned_at = _matrix_shape(plan, catalog)
    for position, problem in enumerate(problems):
        if position == stages - 1:
            continue  # What was learned last has had no time to be forgotten.
        metric = catalog.find(Metric, names[position])

        def read(item: _Finished, position: int = position) -> _Value:
            at = learned_at[position]
            known, last = (item.scores.get(names[position], moment, position) for moment in (at, stages))
            if known.value is None or last.value is None:
                return _Value(None, undefined=known.undefined or last.undefined)
            lost = forgetting(item.scores.matrix(names) * signs, learned_at)[position]
            return _Value(float(lost), detail=f"{known.value} {last.value}")

        column = Column(
            key=f"forgetting.{problem.dataset.name}.{problem.task.name}",
            group="forgetting",
            title=f"{_called(problem.dataset)} {metric.title}",
            unit=metric.unit,
            better="lower",
        )
        moments = ((signs[position], learned_at[position]), (-signs[position], stages))
        parts = tuple(Part(factor, names[position], moment, position) for factor, moment in moments)
        yield _Measure(column, read, _signed, _before_after, counts_floor=False, parts=parts)


def _matrix_shape(plan: Plan, catalog: Catalog) -> tuple[list[str], NDArray[np.float64], list[int]]:
    """Return each problem's metric, the sign that makes higher better, and the stage after which it is known."""
    first = plan.arms[0].runs[0]
    names = [*(metrics[0] for metrics in plan.stage_metrics), *plan.watch_metrics]
    signs = np.array([1.0 if catalog.find(Metric, name).better == "higher" else -1.0 for name in names])
    return names, signs, [*range(1, len(first.stages) + 1), *(0 for _ in first.watch)]


def _moment_measures(plan: Plan, catalog: Catalog) -> Iterable[_Measure]:
    """Yield a group of columns for each dataset: its score at every moment at which it has one."""
    first = plan.arms[0].runs[0]
    names, _, learned_at = _matrix_shape(plan, catalog)
    called = ["before", *(f"after {_called(problem.dataset)}" for problem in first.stages)]
    for position, problem in enumerate(first.problems):
        metric = catalog.find(Metric, names[position])
        watchable = catalog.find(Task, problem.task.name).watchable
        for moment in range(0 if watchable else learned_at[position], len(called)):

            def read(item: _Finished, position: int = position, moment: int = moment) -> _Value:
                score = item.scores.get(names[position], moment, position)
                return _Value(score.value, undefined=score.undefined)

            column = Column(
                key=f"{problem.dataset.name}.{problem.task.name}.{moment}",
                group=f"{_called(problem.dataset)} {metric.title}",
                title=called[moment],
                unit=metric.unit,
                better=metric.better,
            )
            yield _Measure(column, read, _three_decimals, _no_detail)


_TRANSFER = (
    "R[i, j] is the score on dataset j after stage i (0: before tuning); stage j teaches dataset j; S stages",
    "average: mean over j of R[S, j] (this and the next two: Lopez-Paz and Ranzato 2017, equations 2 to 4)",
    "backward transfer: mean over j < S of R[S, j] - R[j, j]; final forgetting is the same, negated",
    "forward transfer: mean over j > 1 of R[j-1, j] - R[0, j]",
    "maximal forgetting: mean over j < S of max over j <= i < S of R[i, j] - R[S, j] (Chaudhry et al. 2018, equation 3)",
)


def _transfer_measures(plan: Plan, catalog: Catalog) -> Iterable[_Measure]:
    """Yield what the matrix comes to over the stages; datasets that are only watched do not count."""
    names, signs, learned_at = _matrix_shape(plan, catalog)
    stages = len(plan.stage_metrics)

    def measure(key: str, title: str, better: Literal["higher", "lower"], of: Callable[[Matrix], float]) -> _Measure:
        def read(item: _Finished) -> _Value:
            if len(set(names[:stages])) > 1:
                return _Value(None, undefined="the stages are scored by different metrics, which have no mean")
            value = of((item.scores.matrix(names) * signs)[:, :stages])
            return _Value(None, undefined=_NO_TRANSFER[key]) if np.isnan(value) else _Value(float(value))

        return _Measure(
            Column(key=key, group="transfer", title=title, better=better), read, _three_decimals, _no_detail
        )

    def earlier(values: NDArray[np.float64]) -> float:
        return float(np.mean(values[:-1])) if len(values) > 1 else np.nan

    at = learned_at[:stages]
    yield measure("average", "average", "higher", lambda matrix: float(signs[0] * np.mean(matrix[-1])))
    yield measure("backward_transfer", "backward transfer", "higher", lambda matrix: backward_transfer(matrix, at))
    yield measure("forward_transfer", "forward transfer", "higher", lambda matrix: forward_transfer(matrix, at))
    yield measure("final_forgetting", "final forgetting", "lower", lambda matrix: earlier(forgetting(matrix, at)))
    yield measure(
        "maximal_forgetting", "maximal forgetting", "lower", lambda matrix: earlier(maximal_forgetting(matrix, at))
    )


_ONE_STAGE = "one stage only: nothing was learned before or after it"
_NO_TRANSFER = {
    "average": "a stage has no score",
    "backward_transfer": _ONE_STAGE,
    "forward_transfer": "a dataset has no score before its own stage, which makes its head",
    "final_forgetting": _ONE_STAGE,
    "maximal_forgetting": _ONE_STAGE,
}


def _cost_measures(finished: Sequence[_Finished], price: float | None) -> Iterable[_Measure]:
    def measure(
        key: str, title: str, read: Callable[[_Finished], _Value], write: Callable[[float], str], detail: _Detail
    ) -> _Measure:
        column = Column(key=key, group="cost", title=title, better="lower")
        return _Measure(column, read, write, detail, interval=False, counts_floor=False)

    def trained(item: _Finished) -> _Value:
        share = item.outcome.parameters_trained / max(item.outcome.parameters_total, 1)
        return _Value(item.outcome.parameters_trained, detail=f"{share:.2%}")

    # Reading features that an earlier run extracted is cheap for this run and not for the strategy: both are told.
    def flops(item: _Finished) -> _Value:
        return _Value(sum(phase.flops for phase in tuning_phases(item.outcome)) + item.outcome.shared.flops)

    def shipped(item: _Finished) -> _Value:
        return _Value(item.outcome.ship_bytes)

    def seconds(item: _Finished) -> _Value:
        warm, shared = sum(phase.wall_seconds for phase in tuning_phases(item.outcome)), item.outcome.shared.seconds
        return _Value(warm + shared, detail=f"{warm}" if shared else "")

    def money(item: _Finished) -> _Value:
        return _Value(device_seconds(item.outcome) * (price or 0.0))

    yield measure("parameters_trained", "trained", trained, _count, _first_detail)
    yield measure("flops", "compute", flops, _in("FLOP"), _no_detail)
    yield measure("ship_bytes", "to ship", shipped, _in("B"), _no_detail)
    yield measure("tune_seconds", "time", seconds, _seconds, _also(_seconds, " warm"))
    yield measure("peak_memory_bytes", "memory", _memory, _in("B"), _also(_in("B"), " reserved"))
    if any(energy_joules(item.outcome) is not None for item in finished):
        yield measure("energy_joules", "energy", _energy, _in("J"), _also(_in("Wh")))
    if price is not None:
        yield measure("money", "money", money, _plain(), _no_detail)


def _memory(item: _Finished) -> _Value:
    tune = item.outcome.phases["tune"]
    peak = tune.peak_memory_bytes if tune.peak_device_bytes is None else tune.peak_device_bytes
    held = "" if tune.peak_reserved_bytes is None else f"{tune.peak_reserved_bytes}"
    return _Value(peak, held, undefined=None if peak is not None else "this system does not tell peak memory")


def _energy(item: _Finished) -> _Value:
    joules = energy_joules(item.outcome)
    return _Value(joules, "" if joules is None else f"{joules / 3600}", undefined=why_no_energy(item.outcome))


def _inference_measures(finished: Sequence[_Finished]) -> Iterable[_Measure]:
    """Yield how fast what was tuned answers; nothing where no run has measured it."""
    if all(item.outcome.inference is None for item in finished):
        return

    def measure(
        column: Column,
        of: Callable[[Speed], float],
        slow: Callable[[Speed], float | None],
        write: Callable[[float], str],
    ) -> _Measure:
        def read(item: _Finished) -> _Value:
            found = item.outcome.inference or Inference(undefined="stored before inference was measured")
            shown = found.whole or found.apart
            if shown is None:
                return _Value(None, undefined=found.undefined)
            apart = found.apart if found.whole else None
            beside = (slow(shown), None if apart is None else of(apart))
            return _Value(
                of(shown), " ".join("nan" if value is None else f"{value}" for value in beside), found.undefined
            )

        def detail(values: Sequence[_Value]) -> str:
            columns = np.array([[float(part) for part in value.detail.split()] for value in values]).T
            named = zip(("p95", "apart"), columns, strict=True)
            # Of some runs alone it would be another mean than the one it stands beside.
            return ", ".join(f"{name} {write(np.mean(seen))}" for name, seen in named if not np.isnan(seen).any())

        return _Measure(column, read, write, detail, interval=False, counts_floor=False)

    latency = Column(key="latency_p50_ms", group="inference", title="latency", better="lower")
    throughput = Column(key="throughput", group="inference", title="throughput", better="higher")
    yield measure(latency, lambda speed: speed.latency_p50_ms, lambda speed: speed.latency_p95_ms, _plain(" ms"))
    yield measure(throughput, lambda speed: speed.throughput, lambda _: None, _plain(" items/s"))


def _about_costs(finished: Sequence[_Finished], price: float | None) -> Iterable[str]:
    """Return what a reader must know of energy, money and speed."""
    yield from sorted({item.outcome.energy for item in finished if item.outcome.energy is not None})
    if price is not None:
        yield f"money: {_plain()(price * 3600)} an hour for each device, for what the time counts"
    if any(item.outcome.inference for item in finished):
        yield (
            "inference: the last stage's model, adapters merged where they can be ('apart': beside the weights); latency: median of "
            "single test items; throughput: in batches like scoring's"
        )


def _judge(
    measure: _Measure, plan: Plan, finished: Mapping[str, Sequence[_Finished]], book: ItemBook
) -> dict[str, Judgement | str]:
    """Return what is known of each arm in a column, or why nothing is beyond its mean; empty for what is no score."""
    if not measure.parts or measure.column.better is None:
        return {}
    runs = {arm.label: [(item.run, item.outcome) for item in finished[arm.label]] for arm in plan.arms}
    samples, reasons = sample(runs, measure.parts, plan.reference, book)
    ranked = [arm.label for arm in plan.arms if measure.counts_floor or arm.role != "floor"]
    return {**judge(samples, plan.reference, measure.column.better, plan.margin, ranked), **reasons}


def _cell(
    measure: _Measure,
    finished: Sequence[_Finished],
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
    result = estimate([float(value.value or 0) for value in defined])
    known = judged if isinstance(judged, Judgement) else None
    if measure.parts:
        result = result._replace(half_width=known.half_width if known else None)
    cell = Cell(
        text=_with_interval(result, measure.write) if measure.interval else measure.write(result.mean),
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


def _absences(arm: Arm, finished: Sequence[_Finished], store: Store) -> list[str]:
    """Return why an arm has fewer runs than seeds, if it has."""
    reasons = []
    there = {item.run.seed for item in finished}
    absent = [run for run in arm.runs if run.seed not in there]
    failures = [(run, store.failure(run)) for run in absent]
    waiting = sum(failure is None for _, failure in failures)
    if waiting:
        reasons.append(f"{arm.label}: {waiting} of {len(arm.runs)} seeds not run yet")
    reasons += [
        f"{arm.label}: seed {run.seed} {failure.status}: {failure.reason}" for run, failure in failures if failure
    ]
    return reasons


def _footnote(footnotes: list[str], text: str) -> int:
    if text not in footnotes:
        footnotes.append(text)
    return footnotes.index(text) + 1


def _with_best(rows: Sequence[Row], measures: Sequence[_Measure]) -> Iterable[Row]:
    """Mark the best of every column: all of rank 1 where arms are ranked, else the lowest or highest; equals share the mark."""
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
        pick = max if measure.column.better == "higher" else min
        best = pick((cell.value for cell in values.values() if cell.value is not None), default=None)
        marked.append({label for label, cell in values.items() if cell.value == best})
    for row in rows:
        cells = (
            cell.model_copy(update={"best": row.label in labels})
            for cell, labels in zip(row.cells, marked, strict=True)
        )
        yield row.model_copy(update={"cells": tuple(cells)})


def _about_verdicts(plan: Plan, measures: Sequence[_Measure]) -> Iterable[str]:
    """Return what the verdicts mean."""
    if plan.reference is None or len(plan.arms[0].runs) < 2 or not any(measure.parts for measure in measures):
        return
    within = "" if plan.margin is None else f"; equivalent: the interval of the difference lies within ±{plan.margin:g}"
    yield (
        f"verdicts are against {plan.reference}, paired by test item, at 95 % for all arms of a column together (Holm){within}; "
        "bold: no arm is shown to be better"
    )


def _about_noise(measures: Sequence[_Measure], noise: Sequence[Noise | None]) -> Iterable[str]:
    """Return how much runs differ that should not."""
    told = [
        f"{measure.column.title} {_three_decimals(found.identical)} and {_three_decimals(found.seeds)}"
        if found.seeds is not None
        else f"{measure.column.title} {_three_decimals(found.identical)}"
        for measure, found in zip(measures, noise, strict=True)
        if found is not None
    ]
    if told:
        yield (
            "noise: run again with the same seed, values differ by at most the first number, with another seed by the second "
            f"(standard deviation); smaller differences from the reference are dimmed: {'; '.join(told)}"
        )


def _about(plan: Plan, finished: Sequence[_Finished]) -> Iterable[str]:
    """Return what a reader must know to trust or repeat the table."""
    run = plan.arms[0].runs[0]
    seeds = ", ".join(str(item.seed) for item in plan.arms[0].runs)
    if len(plan.arms[0].runs) > 1:
        yield (
            f"± of scores and forgetting is the 95 % interval of the mean over n = {len(plan.arms[0].runs)} seeds ({seeds}) and "
            f"over test items (crossed bootstrap of {RESAMPLES:,} resamples, Student's t with Satterthwaite's degrees of freedom)"
        )
    else:
        yield f"1 seed ({seeds}): no interval; a difference may be noise"
    if len(run.problems) > 1:
        yield (
            "forgetting: score when known (before tuning; for a stage, when learned) minus score at the end, so that "
            "0 is nothing lost (negated backward transfer, Lopez-Paz and Ranzato 2017)"
        )
    if not finished:
        yield "no run has finished yet"
        return
    outcome = finished[0].outcome
    source = f" ({run.model.fingerprint[:12]})" if run.model.fingerprint else ""
    yield f"model: {_called(run.model)}{source}, {_count(outcome.parameters_total)} parameters"
    for position, problem in enumerate(run.problems):
        # The floor looks at fewer splits than the strategies that learn.
        notes = [item.outcome.data[position] for item in finished]
        note = max(notes, key=lambda note: len(note.splits))
        sizes = ", ".join(_split_size(name, split, run.train.max_length) for name, split in note.splits.items())
        moved = f"; {note.moved:,} rows left out: their text is in another split" if note.moved else ""
        classes = f", {note.classes} classes" if note.classes else ""
        yield f"{'watched' if problem in run.watch else 'tuned on'}: {_called(problem.dataset)} by {problem.task.name}: {'; '.join([sizes + classes + moved, *_leaks(notes, run), *note.notes])}"
    yield _training(plan)
    yield from _about_tuning(plan)
    if any(item.outcome.shared.seconds for item in finished):
        yield (
            "tune: features of an unchanged body are extracted once and shared; the time counts their extraction, "
            "'warm' is without it"
        )
    for title, values in (
        ("device", {f"{item.outcome.device}, {_processes(item.outcome.processes)}" for item in finished}),
        ("versions", {", ".join(f"{k} {v}" for k, v in item.outcome.versions.items()) for item in finished}),
    ):
        mixed = " (runs differ in this: compare with care)" if len(values) > 1 else ""
        yield f"{title}: {' | '.join(sorted(values))}{mixed}"
    yield from sorted({note for item in finished for note in item.outcome.notes})


def _about_tuning(plan: Plan) -> Iterable[str]:
    """Return how settings were chosen, or that they were not where it matters."""
    if plan.budget is None:
        by_rate: dict[float, list[str]] = {}
        for arm in plan.arms:
            if (rate := arm.runs[0].train.learning_rate) is not None and arm.role != "floor":
                by_rate.setdefault(rate, []).append(arm.label)
        for rate, labels in by_rate.items():
            if len(labels) > 1:
                yield (
                    f"{' and '.join(labels)} share the learning rate {rate:g}, which was not searched for: what suits one may not "
                    "suit the other; --tune chooses for each"
                )
        return
    yield f"settings were chosen on validation, {plan.budget} for each strategy, with a seed that no run of the table has:"
    for arm in plan.arms:
        if arm.tuning is None:
            if arm.role != "floor":
                why = "they are still to be chosen: harness compare" if arm.space else "it has none to choose"
                yield f"{arm.label}: {why}"
            continue
        trials = arm.tuning.trials
        pruned = sum(trial.status == "pruned" for trial in trials)
        failed = sum(trial.status == "failed" for trial in trials)
        count = f"{len(trials)} trials" + (" (all there are)" if arm.tuning.exhausted else "")
        count += (f", {pruned} pruned" if pruned else "") + (f", {failed} failed" if failed else "")
        chosen = ", ".join(f"{key} {_setting(value)}" for key, value in arm.tuning.chosen.items())
        edge = f"; at the end of what was searched: {', '.join(arm.tuning.edges)}" if arm.tuning.edges else ""
        yield f"{arm.label}: {chosen} ({count}, {_seconds(sum(trial.seconds for trial in trials))}){edge}"


def _setting(value: object) -> str:
    # Those that a search has found have more digits than anybody reads.
    return f"{value:.4g}" if isinstance(value, float) and f"{value:g}" != f"{value}" else f"{value}"


def _split_size(name: str, split: SplitNote, max_length: int) -> str:
    """Return how many rows a split has, and what had to be done to long ones."""
    done = [f"in {split.windows:,} windows"] if split.windows is not None else []
    done += [f"{split.truncated:,} cut to {max_length} tokens"] if split.truncated else []
    return f"{split.items:,} {name}" + (f" ({', '.join(done)})" if done else "")


def _leaks(notes: Sequence[DataNote], run: Run) -> Iterable[str]:
    """Yield how many test texts are no test of a model that was tuned on them, or on nearly the same."""
    items = max((note.splits["test"].items for note in notes if "test" in note.splits), default=0)
    for leak in next((note.leaks for note in notes if note.leaks is not None), ()):
        place = leak.split if leak.stage is None else f"{leak.split} of {_called(run.stages[leak.stage].dataset)}"
        if leak.exact:
            more = f", and {leak.near:,} more but for punctuation or Unicode form" if leak.near else ""
            yield f"{leak.exact:,} of {items:,} test texts stand in {place} too{more}"
        else:
            yield f"{leak.near:,} of {items:,} test texts stand in {place} too but for punctuation or Unicode form"


def _called(reference: ComponentRef) -> str:
    """Return a component's name, with the file or folder it was read from."""
    given = [place if isinstance(place, list) else [place] for place in reference.location.values()]
    places = [Path(str(place)).name for paths in given for place in paths if place is not None]
    return " ".join([reference.name, *places])


def _training(plan: Plan) -> str:
    """Return the training settings: those all arms share, then those in which they differ."""
    configs = {arm.label: arm.runs[0].train.model_dump() for arm in plan.arms if arm.role != "floor"}
    first = next(iter(configs.values()), plan.arms[0].runs[0].train.model_dump())
    shared = {key: value for key, value in first.items() if all(config[key] == value for config in configs.values())}
    shown = ", ".join(
        f"{key} {_setting(value)}" for key, value in shared.items() if value is not None and value is not False
    )
    differing = [key for key in first if key not in shared]
    parts = [
        f"{key}: " + ", ".join(f"{label} {_blank(config[key])}" for label, config in configs.items())
        for key in differing
    ]
    return "; ".join([f"training: {shown}", *parts])


def _blank(value: object) -> str:
    return "-" if value is None else _setting(value)


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _with_interval(result: Estimate, write: Callable[[float], str]) -> str:
    text = write(result.mean)
    if not result.half_width:
        return text
    return f"{text} ± {write(result.half_width).lstrip('+')}"


def _three_decimals(value: float) -> str:
    return f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}" if value else "0"


def _seconds(value: float) -> str:
    return f"{value:,.1f} s"


def _plain(unit: str = "") -> Callable[[float], str]:
    """Return how to write three significant digits without prefix or exponent."""

    def write(value: float) -> str:
        return np.format_float_positional(float(f"{value:.3g}"), trim="-") + unit

    return write


def _count(value: float) -> str:
    """Return a number with three significant digits and an SI prefix."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if round(abs(value) / factor, 3) >= 1:
            return f"{value / factor:.3g} {prefix}"
    return f"{value:.3g}"


def _in(unit: str) -> Callable[[float], str]:
    """Return how to write a quantity of this unit."""

    def write(value: float) -> str:
        number = _count(value)
        return f"{number}{unit}" if number[-1].isalpha() else f"{number} {unit}"

    return write


def _no_detail(values: Sequence[_Value]) -> str:
    del values
    return ""


def _first_detail(values: Sequence[_Value]) -> str:
    return values[0].detail


def _before_after(values: Sequence[_Value]) -> str:
    before, after = np.mean([[float(part) for part in value.detail.split()] for value in values], axis=0)
    return f"{before:.3f} → {after:.3f}"


def _also(write: Callable[[float], str], word: str = "") -> _Detail:
    """Return how to write the mean of what some values have beside them."""

    def text(values: Sequence[_Value]) -> str:
        beside = [float(value.detail) for value in values if value.detail]
        return f"{write(float(np.mean(beside)))}{word}" if beside else ""

    return text
