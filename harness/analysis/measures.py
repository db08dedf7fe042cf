"""The measures of a comparison, read from each run: scores, forgetting, costs, speed. Numbers only, no text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.analysis.costs import device_seconds, energy_joules, tuning_phases, why_no_energy
from harness.analysis.forgetting import Matrix, backward_transfer, forgetting, forward_transfer, maximal_forgetting
from harness.analysis.names import called, distinct
from harness.analysis.scores import Scores
from harness.analysis.statistics import Bounds
from harness.analysis.verdicts import Term
from harness.catalog import Catalog
from harness.contracts import Metric, Task
from harness.experiment.plan import Plan
from harness.records import Inference, Outcome, Run, Speed, TaskData, largest
from harness.reports import Column, Quantity


class ScoredRun(NamedTuple):
    """A finished run with its outcome and scores."""

    run: Run
    outcome: Outcome
    scores: Scores


class Value(NamedTuple):
    """The value of one run in one column."""

    value: float | None
    beside: Mapping[str, float] = MappingProxyType({})
    """Details shown next to it, by name; nan if unknown, which makes their mean unknown too."""
    undefined: str | None = None


@dataclass(frozen=True)
class Measure:
    """A column, and how to read a run's value in it."""

    column: Column
    read: Callable[[ScoredRun], Value]
    interval: bool = True
    """Whether an arm's mean has an interval: not where seeds hardly matter, to save space."""
    counts_baseline: bool = True
    """Whether the baseline can be marked as best: not in costs, because an untuned model costs nothing."""
    parts: tuple[Term, ...] = ()
    """The stored scores whose sum it is; empty if it is not a score."""
    bounds: Bounds = (None, None)
    """The lowest and the highest possible value."""
    span: Bounds = (None, None)
    """The lowest and the highest possible value of the scores that it is a sum of."""
    first: bool = True
    """Whether it is what a table is read for: the first score of a dataset, or forgetting."""


def score_measures(plan: Plan, catalog: Catalog) -> Iterable[Measure]:
    """Yield a column for each metric of a single stage, or one column per stage if there are several."""
    stages = plan.arms[0].runs[0].stages
    keys, titles = _keys(stages), _titles(plan)
    for position, metrics in enumerate(plan.stage_metrics):
        for name in metrics if len(stages) == 1 else metrics[:1]:
            metric = catalog.find(Metric, name)
            prefix = "" if len(stages) == 1 else f"{titles[position]} "

            def read(item: ScoredRun, name: str = name, position: int = position) -> Value:
                score = item.scores.get(name, position + 1, position)
                return Value(score.value, undefined=score.undefined)

            column = Column(
                key=f"{keys[position]}.{name}" if prefix else name,
                group="score",
                title=f"{prefix}{metric.title}",
                unit=metric.unit,
                better=metric.better,
                main=name == metrics[0],
            )
            parts = (Term(1.0, name, position + 1, position),)
            first = name == metrics[0]
            yield Measure(column, read, parts=parts, bounds=metric.bounds, span=metric.bounds, first=first)


def forgetting_measures(plan: Plan, catalog: Catalog) -> Iterable[Measure]:
    """Yield a column for each dataset that can be forgotten: its earlier score minus its final score."""
    first = plan.arms[0].runs[0]
    stages, problems = len(first.stages), first.task_data
    names, signs, learned_at = _matrix_shape(plan, catalog)
    # The dataset of the last stage cannot be forgotten yet.
    positions = [position for position in range(len(problems)) if position != stages - 1]
    keys, titles = _keys([problems[position] for position in positions]), _titles(plan)
    for key, position in zip(keys, positions, strict=True):
        problem = problems[position]
        metric = catalog.find(Metric, names[position])

        def read(item: ScoredRun, position: int = position) -> Value:
            at = learned_at[position]
            known, last = (item.scores.get(names[position], moment, position) for moment in (at, stages))
            if known.value is None or last.value is None:
                return Value(None, undefined=known.undefined or last.undefined)
            lost = forgetting(item.scores.matrix(names) * signs, learned_at)[position]
            return Value(float(lost), {"before": known.value, "after": last.value})

        column = Column(
            key=f"forgetting.{key}.{problem.task.name}",
            group="forgetting",
            title=f"{titles[position]} {metric.title}",
            unit=metric.unit,
            quantity="difference",
            better="lower",
            main=True,
        )
        moments = ((signs[position], learned_at[position]), (-signs[position], stages))
        parts = tuple(Term(factor, names[position], moment, position) for factor, moment in moments)
        yield Measure(column, read, counts_baseline=False, parts=parts, span=metric.bounds)


def _keys(problems: Sequence[TaskData]) -> list[str]:
    """Return the name of each problem's dataset in column keys."""
    return distinct([problem.dataset for problem in problems], lambda dataset: dataset.name)


def _titles(plan: Plan) -> list[str]:
    """Return the name of each problem's dataset in column titles."""
    return distinct([problem.dataset for problem in plan.arms[0].runs[0].task_data], called)


def _matrix_shape(plan: Plan, catalog: Catalog) -> tuple[list[str], NDArray[np.float64], list[int]]:
    """Return each problem's metric, the sign that makes higher better, and the stage after which it is known."""
    first = plan.arms[0].runs[0]
    names = [*(metrics[0] for metrics in plan.stage_metrics), *plan.watch_metrics]
    signs = np.array([1.0 if catalog.find(Metric, name).better == "higher" else -1.0 for name in names])
    return names, signs, [*range(1, len(first.stages) + 1), *(0 for _ in first.watch)]


def moment_measures(plan: Plan, catalog: Catalog) -> Iterable[Measure]:
    """Yield a group of columns for each dataset: its score at every moment where it has one."""
    first = plan.arms[0].runs[0]
    names, _, learned_at = _matrix_shape(plan, catalog)
    keys, titles = _keys(first.task_data), _titles(plan)
    headings = ["before", *(f"after {title}" for title in titles[: len(first.stages)])]
    for position, problem in enumerate(first.task_data):
        metric = catalog.find(Metric, names[position])
        watchable = catalog.find(Task, problem.task.name).watchable
        for moment in range(0 if watchable else learned_at[position], len(headings)):

            def read(item: ScoredRun, position: int = position, moment: int = moment) -> Value:
                score = item.scores.get(names[position], moment, position)
                return Value(score.value, undefined=score.undefined)

            column = Column(
                key=f"{keys[position]}.{problem.task.name}.{moment}",
                group=f"{titles[position]} {metric.title}",
                title=headings[moment],
                unit=metric.unit,
                better=metric.better,
            )
            parts = (Term(1.0, names[position], moment, position),)
            yield Measure(column, read, parts=parts, bounds=metric.bounds, span=metric.bounds)


def transfer_measures(plan: Plan, catalog: Catalog) -> Iterable[Measure]:
    """Yield the summary measures of the score matrix; datasets that are only watched do not count."""
    names, signs, learned_at = _matrix_shape(plan, catalog)
    stages = len(plan.stage_metrics)

    alike = len(set(names[:stages])) == 1
    scale = catalog.find(Metric, names[0]).bounds

    def measure(
        key: str,
        title: str,
        better: Literal["higher", "lower"],
        of: Callable[[Matrix], float],
        terms: Iterable[tuple[float, int, int]] = (),
    ) -> Measure:
        def read(item: ScoredRun) -> Value:
            if not alike:
                return Value(None, undefined="the stages use different metrics, which cannot be averaged")
            value = of((item.scores.matrix(names) * signs)[:, :stages])
            return Value(None, undefined=_NO_TRANSFER[key]) if np.isnan(value) else Value(float(value))

        # Each term: factor, moment, dataset.
        parts = tuple(Term(factor, names[position], moment, position) for factor, moment, position in terms if alike)
        column = Column(key=key, group="transfer", title=title, better=better)
        if key == "average":
            return Measure(column, read, parts=parts, bounds=scale, span=scale)
        return Measure(column, read, counts_baseline=False, parts=parts)

    def earlier(values: NDArray[np.float64]) -> float:
        return float(np.mean(values[:-1])) if len(values) > 1 else np.nan

    at = learned_at[:stages]
    direction: Literal["higher", "lower"] = "higher" if signs[0] > 0 else "lower"
    share = float(signs[0]) / max(stages - 1, 1)
    kept = [term for j in range(stages - 1) for term in ((share, stages, j), (-share, at[j], j))]
    ahead = [term for j in range(1, stages) for term in ((share, j, j), (-share, 0, j))]
    lost = [(-factor, moment, position) for factor, moment, position in kept]
    ended = [(1 / stages, stages, j) for j in range(stages)]
    yield measure("average", "average", direction, lambda matrix: float(signs[0] * np.mean(matrix[-1])), ended)
    yield measure("backward_transfer", "backward transfer", "higher", lambda one: backward_transfer(one, at), kept)
    yield measure("forward_transfer", "forward transfer", "higher", lambda one: forward_transfer(one, at), ahead)
    yield measure("final_forgetting", "final forgetting", "lower", lambda one: earlier(forgetting(one, at)), lost)
    # The maximum is not a sum of scores: its interval is over seeds only.
    yield measure(
        "maximal_forgetting", "maximal forgetting", "lower", lambda matrix: earlier(maximal_forgetting(matrix, at))
    )


_ONE_STAGE = "only one stage"


_NO_TRANSFER = {
    "average": "a stage has no score",
    "backward_transfer": _ONE_STAGE,
    "forward_transfer": "a dataset has no score before its own stage, which creates its head",
    "final_forgetting": _ONE_STAGE,
    "maximal_forgetting": _ONE_STAGE,
}


def cost_measures(finished: Sequence[ScoredRun], price: float | None) -> Iterable[Measure]:
    """Yield the costs of tuning; energy and money only if they are known."""

    def measure(
        key: str, title: str, quantity: Quantity, read: Callable[[ScoredRun], Value], *, main: bool = False
    ) -> Measure:
        column = Column(key=key, group="cost", title=title, quantity=quantity, better="lower", main=main)
        return Measure(column, read, interval=False, counts_baseline=False)

    def trained(item: ScoredRun) -> Value:
        share = item.outcome.parameters_trained / max(item.outcome.parameters_total, 1)
        return Value(item.outcome.parameters_trained, {"share": share})

    # Cached features are cheap for this run but not for the strategy, so both costs are shown.
    def flops(item: ScoredRun) -> Value:
        return Value(sum(phase.flops for phase in tuning_phases(item.outcome)) + item.outcome.shared.flops)

    def shipped(item: ScoredRun) -> Value:
        return Value(item.outcome.ship_bytes)

    def seconds(item: ScoredRun) -> Value:
        warm, shared = sum(phase.wall_seconds for phase in tuning_phases(item.outcome)), item.outcome.shared.seconds
        return Value(warm + shared, {"warm": warm} if shared else {})

    def money(item: ScoredRun) -> Value:
        return Value(device_seconds(item.outcome) * (price or 0.0))

    if price is not None:
        yield measure("money", "money", "money", money, main=True)
    yield measure("tune_seconds", "time", "seconds", seconds, main=True)
    yield measure("peak_memory_bytes", "memory", "bytes", _memory, main=True)
    yield measure("ship_bytes", "saved size", "bytes", shipped, main=True)
    yield measure("flops", "compute", "operations", flops)
    yield measure("parameters_trained", "trained", "parameters", trained)
    if any(energy_joules(item.outcome) is not None for item in finished):
        yield measure("energy_joules", "energy", "energy", _energy)


def _memory(item: ScoredRun) -> Value:
    # For runs that read cached features, the memory of the run that extracted them counts too.
    parts = [*tuning_phases(item.outcome), item.outcome.shared]
    resident, on_device, held = (
        largest(getattr(part, name) for part in parts)
        for name in ("peak_memory_bytes", "peak_device_bytes", "peak_reserved_bytes")
    )
    peak = resident if on_device is None else on_device
    return Value(
        peak,
        {} if held is None else {"reserved": float(held)},
        undefined=None if peak is not None else "this system does not report peak memory",
    )


def _energy(item: ScoredRun) -> Value:
    joules = energy_joules(item.outcome)
    return Value(joules, {} if joules is None else {"watt_hours": joules / 3600}, why_no_energy(item.outcome))


def inference_measures(finished: Sequence[ScoredRun]) -> Iterable[Measure]:
    """Yield the inference speed of tuned models; nothing if no run has measured it."""
    if all(item.outcome.inference is None for item in finished):
        return

    def measure(column: Column, of: Callable[[Speed], float], slow: Callable[[Speed], float | None]) -> Measure:
        def read(item: ScoredRun) -> Value:
            found = item.outcome.inference or Inference(undefined="stored before inference was measured")
            shown = found.whole or found.apart
            if shown is None:
                return Value(None, undefined=found.undefined)
            apart = found.apart if found.whole else None
            beside = {"p95": slow(shown), "apart": None if apart is None else of(apart)}
            return Value(of(shown), {k: np.nan if v is None else v for k, v in beside.items()}, found.undefined)

        return Measure(column, read, interval=False, counts_baseline=False)

    latency = Column(key="latency_p50_ms", group="inference", title="latency", quantity="latency", better="lower")
    throughput = Column(key="throughput", group="inference", title="throughput", quantity="throughput", better="higher")
    yield measure(latency, lambda speed: speed.latency_p50_ms, lambda speed: speed.latency_p95_ms)
    yield measure(throughput, lambda speed: speed.throughput, lambda _: None)


def beside(values: Sequence[Value]) -> dict[str, float]:
    """Return the mean of each detail over the values that have it; a detail that is unknown for one is left out."""
    names = dict.fromkeys(name for value in values for name in value.beside)
    means = {name: float(np.mean([value.beside[name] for value in values if name in value.beside])) for name in names}
    return {name: mean for name, mean in means.items() if not np.isnan(mean)}
