"""Compare the arms of a table with the reference, from stored predictions."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

from harness.analysis.cache import AnalysisCache
from harness.analysis.items import Items, take_apart
from harness.analysis.planning import Needed, needed
from harness.analysis.statistics import (
    LEVEL,
    Bounds,
    Contrast,
    Interval,
    Pooled,
    Sample,
    could_be_best,
    difference,
    graphical,
    interval,
    of_folds,
    pool,
    verdict,
)
from harness.catalog import Catalog
from harness.contracts import Metric
from harness.errors import MetricError, UndefinedError
from harness.records import Outcome, Run
from harness.store import Store

ONE_SEED = "1 seed"
_KIND = "items-5"
"""Includes the version of `take_apart`; raise it when the same predictions give other items."""


class Term(NamedTuple):
    """A stored score that is part of a column's value, and its factor."""

    factor: float
    metric: str
    moment: int
    problem: int


class Judgement(NamedTuple):
    """Uncertainty and verdict of an arm in a column."""

    interval: Interval | None
    verdict: str | None = None
    """Compared with the reference; None for the reference itself, or if there is no reference."""
    difference: float | None = None
    difference_half_width: float | None = None
    p: float | None = None
    """Adjusted for all comparisons in the table."""
    could_be_best: bool | None = None
    """Whether no other arm is shown to be better; None if it does not compete, or with one seed."""
    needed: Needed | None = None
    """What would probably show the difference, if none is shown."""
    above_baseline: bool | None = None
    """Whether it is shown to be better than every baseline; None if it is one, or if there is none."""


class ItemBook:
    """Scores of stored runs, split into items; cached, because metrics are slow."""

    def __init__(self, store: Store, catalog: Catalog, cache: AnalysisCache) -> None:
        """Read nothing yet."""
        self._store, self._catalog, self._cache = store, catalog, cache

    def get(self, run: Run, outcome: Outcome, part: Term) -> Items:
        """Return a score of a finished run, split into items.

        Raises:
            UndefinedError: It cannot be split; the message says why.
        """
        at = (part.moment, part.problem)
        cell = next((cell for cell in outcome.evaluations if (cell.moment, cell.problem) == at), None)
        if cell is None or cell.undefined is not None:
            raise UndefinedError("not tuned on yet" if cell is None or cell.undefined is None else cell.undefined)
        version = self._catalog.find(Metric, part.metric).version
        seal = outcome.predictions_sha256 or self._store.seal(run)
        key = f"{_KIND} {part.metric}@{version} {seal} {part.moment} {part.problem}"
        known = self._cache.get(outcome.run_id, key)
        found = None if known is None else _unpacked(known)
        if found is None:
            found = self._take_apart(run, part)
            self._cache.put(outcome.run_id, key, _packed(found))
        if isinstance(found, str):
            raise UndefinedError(found)
        return found

    def _take_apart(self, run: Run, part: Term) -> Items | str:
        predictions = self._store.predictions(run, part.moment, part.problem)
        try:
            return take_apart(self._catalog.make(Metric, part.metric, {}), predictions)
        except MetricError:
            raise
        except UndefinedError as error:
            return str(error)


def _packed(found: Items | str) -> bytes:
    """Return the cached form of a score's items, or of the reason why there are none."""
    if isinstance(found, str):
        return to_json([found])
    head = to_json([found.value, found.units, found.key, found.linear, found.centre])
    return head + b"\n" + found.deviations.astype(_stored(found.centre)).tobytes()


def _unpacked(value: bytes) -> Items | str | None:
    """Return what was packed; None if it is damaged and must be recomputed."""
    try:
        end = value.find(b"\n")
        if end < 0:
            (reason,) = from_json(value)
            return str(reason)
        score, units, key, linear, centre = from_json(value[:end])
        deviations = np.frombuffer(value, dtype=_stored(centre), offset=end + 1)
        return Items(float(score), deviations, int(units), str(key), bool(linear), centre)
    except (ValueError, TypeError):
        return None


def _stored(centre: float | None) -> str:
    return "<f8" if centre is None else "<f4"


class Samples(NamedTuple):
    """The arms of a column, as samples of seeds and items."""

    arms: dict[str, Sample]
    """By label."""
    reasons: dict[str, str]
    """By label, why other arms have none."""
    key: str
    """Identifies the items."""


def sample(
    arms: Mapping[str, Sequence[tuple[Run, Outcome]]], parts: Sequence[Term], first: str | None, book: ItemBook
) -> Samples:
    """Return the arms of a column as samples.

    Args:
        arms: By label, the finished runs.
        parts: The terms whose sum is the column's value.
        first: The label of the arm whose items the others must share; None for the first arm.
        book: Splits scores into items.
    """
    taken: dict[str, list[list[tuple[Term, Items]]]] = {}
    reasons: dict[str, str] = {}
    for label, runs in arms.items():
        try:
            taken[label] = [[(part, book.get(*item, part)) for part in parts] for item in runs]
        except UndefinedError as error:
            reasons[label] = str(error)
    taken = {label: seeds for label, seeds in taken.items() if seeds}
    leader = first if first in taken else next(iter(taken), None)
    if leader is None:
        return Samples({}, reasons, "")
    run, _ = arms[leader][0]
    folds = next((found for part in parts if (found := run.task_data[part.problem].dataset.params.get("folds"))), None)

    def tested(label: str) -> list[list[str]]:
        each = [[items.key for _, items in seed] for seed in taken[label]]
        return each if folds else [list(keys) for keys in dict.fromkeys(map(tuple, each))]

    expected = tested(leader)
    for label in list(taken):
        if tested(label) != expected or (not folds and len(expected) > 1):
            what = "folds" if folds else "test items"
            reasons[label] = f"{label}: its {what} differ from those of {leader}, so it is not tested for significance"
            del taken[label]
    # Items of different datasets may have the same ids, such as row numbers, but must be drawn independently.
    keys = {part.problem: items.key for part, items in taken[leader][0]} if leader in taken else {}
    named = (f"{run.task_data[at].dataset.model_dump_json(exclude={'location'})} {keys[at]}" for at in sorted(keys))
    made = {label: _of_folds(seeds, int(str(folds))) if folds else _sample(seeds) for label, seeds in taken.items()}
    return Samples(made, reasons, " ".join(named))


def _of_folds(seeds: Sequence[Sequence[tuple[Term, Items]]], folds: int) -> Sample:
    """Return an arm as a sample of the folds of a cross-validation, one for each seed."""
    values = np.array([sum(part.factor * items.value for part, items in seed) for seed in seeds])
    return of_folds(values, sum(seed[0][1].units for seed in seeds), 1 / (folds - 1))


def _sample(seeds: Sequence[Sequence[tuple[Term, Items]]]) -> Sample:
    """Return an arm as a sample: for each seed, the terms whose sum is its value."""
    some = seeds[0][0][1]
    # Items of different datasets are independent. Resampled scores already are: their sum is one resampled value.
    apart = some.centre is None
    sizes = {part.problem: len(items.deviations) for part, items in seeds[0]}
    starts = dict(zip(sizes, itertools.accumulate(sizes.values(), initial=0), strict=False)) if apart else {}
    deviations = np.zeros((len(seeds), sum(sizes.values()) if apart else len(some.deviations)))
    for row, seed in zip(deviations, seeds, strict=True):
        for part, items in seed:
            start = starts.get(part.problem, 0)
            row[start : start + len(items.deviations)] += part.factor * items.deviations
    return Sample(
        seeds=np.array([sum(part.factor * items.value for part, items in seed) for seed in seeds]),
        deviations=deviations,
        items=min(items.units for _, items in seeds[0]),
        linear=some.linear and len(sizes) == 1,
        centre=None
        if some.centre is None
        else float(np.mean([sum(part.factor * (items.centre or 0.0) for part, items in seed) for seed in seeds])),
    )


class Comparisons(NamedTuple):
    """What a column's arms are compared by."""

    samples: Mapping[str, Sample]
    """By label."""
    better: Literal["higher", "lower"]
    bounds: Bounds
    """The ends of the scale of the column's values."""
    span: Bounds
    """The ends of the scale of the scores that the values are made of."""
    first: bool
    """Whether the column is what the table is read for: the first score, or forgetting; else a further score."""
    leads: bool
    """Whether it is a first score, after which further scores are tested."""
    competing: Sequence[str]
    """The arms that can be the best."""
    baselines: Sequence[str] = ()
    """The arms that learning must beat."""


def judge(
    columns: Sequence[Comparisons], reference: str | None, margin: float | None, level: float = 1 - LEVEL
) -> list[dict[str, Judgement]]:
    """Return the judgement on each arm in each column of a table.

    All comparisons of a table with the reference are tested together, so that a table of equal arms has any false
    verdict with a probability of at most 5 %. First scores and forgetting are tested first; the further scores of an arm
    are tested once its first score is shown to differ.

    Args:
        columns: The columns.
        reference: The arm with which the others are compared; None for no comparison.
        margin: Equivalence margin; None for no test of equivalence.
        level: Level of each test before the correction: lower than 5 % if verdicts are looked at several times.
    """
    compared = [_contrasts(column, reference) for column in columns]
    places = [(at, label) for at, found in enumerate(compared) for label, one in found.items() if one is not None]
    often = (1 - LEVEL) / level
    ps = [min(1.0, often * found.p) for at, label in places if (found := compared[at][label]) is not None]
    first = np.array([columns[at].first for at, _ in places], dtype=bool)
    weights = first / max(first.sum(), 1)
    adjusted = dict(zip(places, graphical(ps, list(weights), _passes(columns, places)), strict=True))
    share = level / max(first.sum(), 1)
    return [
        _judged(
            column,
            found,
            {label: p for (of, label), p in adjusted.items() if of == at},
            reference,
            margin,
            level,
            share,
        )
        for at, (column, found) in enumerate(zip(columns, compared, strict=True))
    ]


def _passes(columns: Sequence[Comparisons], places: Sequence[tuple[int, str]]) -> NDArray[np.float64]:
    """Return the shares in which each comparison passes on its part of the permitted error, `[m, m]`.

    A first score passes half to the further scores of its arm, and the rest to the first columns of all arms. A further
    score passes half to the other further scores of its arm.
    """
    first = np.array([columns[at].first for at, _ in places], dtype=bool)
    leads = np.array([columns[at].leads for at, _ in places], dtype=bool)
    labels = np.array([label for _, label in places])
    further = (labels[:, None] == labels[None, :]) & ~first[None, :]
    further[first & ~leads] = False
    others = np.broadcast_to(first, further.shape).copy()
    for shares in (further, others):
        np.fill_diagonal(shares, val=False)
    counts, alone = further.sum(1, keepdims=True), others.sum(1, keepdims=True)
    half = np.where(counts == 0, 0.0, np.where(alone == 0, 1.0, 0.5))
    return np.asarray(half * further / np.maximum(counts, 1) + (1 - half) * others / np.maximum(alone, 1))


def _contrasts(column: Comparisons, reference: str | None) -> dict[str, Contrast | None]:
    """Return the comparison of each other arm with the reference; None with one seed."""
    standing = column.samples.get(reference) if reference else None
    if standing is None:
        return {}
    others = {label: one for label, one in column.samples.items() if label != reference}
    among = pool(column.samples.values())
    return {label: difference(one, standing, column.span, among) for label, one in others.items()}


def _judged(
    column: Comparisons,
    compared: Mapping[str, Contrast | None],
    adjusted: Mapping[str, float],
    reference: str | None,
    margin: float | None,
    level: float,
    share: float,
) -> dict[str, Judgement]:
    competing = {label: column.samples[label] for label in column.competing if label in column.samples}
    best = could_be_best(competing, column.better, column.span, level)
    judged: dict[str, Judgement] = {}
    among = pool(column.samples.values())
    for label, one in column.samples.items():
        base = Judgement(
            interval(one, column.bounds, among),
            could_be_best=best.get(label),
            above_baseline=_above(column, label, among),
        )
        result = compared.get(label)
        if result is not None:
            p, against = adjusted[label], column.samples[str(reference)]
            said = verdict(result, p, column.better, margin)
            base = base._replace(
                verdict=said,
                needed=needed(one, against, column.span, among, share)
                if column.first and said == "no difference shown"
                else None,
                difference=result.value,
                difference_half_width=result.half_width,
                p=p,
            )
        elif label in compared:
            base = base._replace(verdict=ONE_SEED)
        judged[label] = base
    # The last steps of the table's procedure may show a little more than a comparison with the best: both must agree.
    beaten = {label for label, one in judged.items() if one.verdict == "worse"}
    beaten |= {reference} if reference and any(judged[label].verdict == "better" for label in best) else set()
    return {
        label: one._replace(could_be_best=False) if label in beaten and one.could_be_best else one
        for label, one in judged.items()
    }


def _above(column: Comparisons, label: str, among: Pooled) -> bool | None:
    """Return whether an arm is shown to be better than every baseline, each tested by itself at 95 %."""
    below = [column.samples[other] for other in column.baselines if other in column.samples]
    found = [difference(column.samples[label], other, column.span, among) for other in below]
    if label in column.baselines or not found or None in found:
        return None
    return all(verdict(one, one.p, column.better, None) == "better" for one in found if one is not None)
