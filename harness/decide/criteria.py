"""The criteria by which the arms of a comparison are judged, and the limits a user sets on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness import quantities as q
from harness.analysis.comparison import Compared, Measured
from harness.decide.choice import SCORE, Candidate, Criterion, Draws, Limit
from harness.errors import HarnessError, unknown
from harness.experiment.plan import Arm, Plan
from harness.reports import Column

FORGETTING = "forgetting"
"""Key of the worst forgetting over all datasets; that of a single dataset is `forgetting=DATASET`."""


class Bound(NamedTuple):
    """A limit as it was typed, not yet matched with a measured criterion."""

    key: str
    value: float
    option: str
    write: Callable[[float], str]
    relative: bool = False


@dataclass(frozen=True)
class Source:
    """A criterion and the columns it is computed from."""

    criterion: Criterion
    columns: tuple[str, ...]
    """Keys of the columns whose mean or maximum it is."""
    join: Callable[..., Draws] = np.max


def read_bounds(
    *,
    min_score: str | None,
    max_forgetting: Sequence[str],
    max_memory: str | None,
    max_time: str | None,
    max_size: str | None,
    max_cost: str | None,
) -> list[Bound]:
    """Return the limits set by options.

    Raises:
        HarnessError: An option cannot be parsed.
    """
    bounds: list[Bound] = []
    if min_score is not None:
        value, relative = q.parse_share(min_score, "--min-score")
        write = _multiple if relative else q.write_number
        bounds.append(Bound(SCORE, value, "--min-score ", write, relative))
    for text in max_forgetting:
        dataset, equals, amount = text.rpartition("=")
        most = q.parse_number(amount, "--max-forgetting")
        option = f"--max-forgetting {dataset}{equals}"
        bounds.append(Bound(f"{FORGETTING}{equals}{dataset}", most, option, q.write_number))
    if max_memory is not None:
        bounds.append(Bound("memory", q.parse_size(max_memory, "--max-memory"), "--max-memory ", _typed(q.write_size)))
    if max_time is not None:
        bounds.append(Bound("time", q.parse_duration(max_time, "--max-time"), "--max-time ", _duration))
    if max_size is not None:
        bounds.append(Bound("size", q.parse_size(max_size, "--max-size"), "--max-size ", _typed(q.write_size)))
    if max_cost is not None:
        bounds.append(Bound("cost", q.parse_number(max_cost, "--max-cost"), "--max-cost ", q.write_number))
    return bounds


def sources(plan: Plan, columns: Sequence[Column], bounds: Sequence[Bound], prefer: str) -> list[Source]:
    """Return the criteria: score, forgetting, time or money, memory, and any other that is limited or preferred.

    Args:
        plan: The plan of the comparison.
        columns: The measured columns.
        bounds: The limits.
        prefer: Key of the criterion that decides.

    Raises:
        HarnessError: The stages have no common metric, or a limited or preferred criterion was not measured.
    """
    asked = {prefer, *(bound.key for bound in bounds)}
    lost = [column for column in columns if column.group == FORGETTING]
    found = [_score(plan, columns)]
    # Each dataset is a criterion of its own on the front, because units may differ.
    found += [
        Source(Criterion(column.key, f"forgetting on {column.title}", write=_signed), (column.key,)) for column in lost
    ]
    named = sorted(key for key in asked if key.startswith(f"{FORGETTING}="))
    if lost and (FORGETTING in asked or not named):
        keys = tuple(column.key for column in lost)
        title = "forgetting" if len(lost) == 1 else "worst forgetting"
        found.append(Source(Criterion(FORGETTING, title, write=_signed, on_front=False), keys))
    for key in named:
        dataset = key.removeprefix(f"{FORGETTING}=")
        keys = tuple(column.key for column in lost if _dataset(column) == dataset)
        if not keys:
            raise unknown("dataset in --max-forgetting", dataset, {_dataset(column) for column in lost})
        found.append(Source(Criterion(key, f"forgetting on {dataset}", write=_signed, on_front=False), keys))
    in_money = any(column.key == "money" for column in columns)
    if in_money:
        found.append(Source(Criterion("cost", "cost", write=q.write_number), ("money",)))
    if not in_money or "time" in asked:
        time = Criterion("time", "tuning time", write=q.write_duration, on_front=not in_money)
        found.append(Source(time, ("tune_seconds",)))
    found.append(Source(Criterion("memory", "memory", write=q.write_size), ("peak_memory_bytes",)))
    if "size" in asked:
        found.append(Source(Criterion("size", "saved size", write=q.write_size), ("ship_bytes",)))
    if FORGETTING in asked and not lost:
        message = "this comparison measures no forgetting: add a dataset with --watch and run harness compare again"
        raise HarnessError(message)
    return found


def candidate(arm: Arm, compared: Compared, found: Sequence[Source]) -> Candidate:
    """Return the known criteria of an arm; values without known uncertainty are the same in every draw.

    Args:
        arm: One of the compared arms.
        compared: Where its numbers are.
        found: The criteria.
    """
    size, sampled = resamples(compared), len(compared.runs[arm.label]) > 1
    points: dict[str, float] = {}
    draws: dict[str, Draws] = {}
    for source in found:
        known: list[tuple[float, Draws]] = []
        for key in source.columns:
            measured = compared.find(key)
            figure = measured.figures[arm.label] if measured else None
            if measured is None or figure is None or figure.mean is None:
                continue
            if figure.draws is not None and sampled:
                known.append((figure.mean, figure.draws))
            elif not is_sampled(measured) or (figure.draws is not None and not sampled):
                known.append((figure.mean, np.full(size, figure.mean)))
        if len(known) == len(source.columns):
            points[source.criterion.key] = float(source.join([mean for mean, _ in known]))
            draws[source.criterion.key] = source.join(np.stack([drawn for _, drawn in known]), axis=0)
    # The baseline keeps its role even if it is the reference.
    if arm.role == "baseline":
        return Candidate(arm.label, "baseline", points, draws, sampled)
    if arm.label == compared.plan.reference:
        return Candidate(arm.label, "reference", points, draws, sampled)
    return Candidate(arm.label, "contender", points, draws, sampled)


def limit_on(bound: Bound, found: Sequence[Source]) -> Limit:
    """Return the limit that a bound sets on its criterion."""
    criterion = next(source.criterion for source in found if source.criterion.key == bound.key)
    return Limit(criterion, bound.value, bound.option, bound.write, relative=bound.relative)


def is_sampled(measured: Measured) -> bool:
    """Return whether a column's uncertainty is known: not of costs, and not scores that cannot be split into items."""
    return any(figure.draws is not None for figure in measured.figures.values())


def resamples(compared: Compared) -> int:
    """Return the number of draws."""
    figures = (figure for measured in compared.measured for figure in measured.figures.values())
    return next((len(figure.draws) for figure in figures if figure.draws is not None), 1)


def _score(plan: Plan, columns: Sequence[Column]) -> Source:
    """Return the main score, or its mean over the stages."""
    columns = [column for column in columns if column.group == "score"]
    if len(plan.stage_metrics) == 1:
        columns = columns[:1]
    names = {metrics[0] for metrics in plan.stage_metrics}
    if len(names) > 1:
        message = (
            f"the stages use different metrics ({' and '.join(sorted(names))}), which cannot be averaged: choose one "
            "for all stages with --metric"
        )
        raise HarnessError(message)
    title = columns[0].title if len(columns) == 1 else f"mean {names.pop()}"
    criterion = Criterion(SCORE, title, columns[0].better or "higher", "{:.3f}".format)
    return Source(criterion, tuple(column.key for column in columns), np.mean)


def _dataset(column: Column) -> str:
    """Return the dataset of a forgetting column, whose key is `forgetting.DATASET.TASK`."""
    return column.key.split(".", 1)[1].rpartition(".")[0]


def _multiple(value: float) -> str:
    return f"{q.write_number(value)}x"


def _signed(value: float) -> str:
    return f"{value:+.3f}" if value else "0"


def _typed(write: Callable[[float], str]) -> Callable[[float], str]:
    """Return a function that writes a quantity as typed after an option: without a space."""
    return lambda value: write(value).replace(" ", "")


def _duration(value: float) -> str:
    """Return seconds as typed, without rounding: a suggested bound must admit the value it is suggested for."""
    for factor, unit in ((3600, "h"), (60, "m")):
        if value >= factor and value % (factor / 4) == 0:
            return f"{value / factor:g}{unit}"
    return f"{value:.15g}s"
