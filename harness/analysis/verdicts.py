"""Resample the arms of a table column from stored predictions, and compare them with the reference."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from harness.analysis.cache import AnalysisCache
from harness.analysis.items import Items, take_apart
from harness.analysis.statistics import Sample, difference, holm, interval, ranks, resample, verdict
from harness.catalog import Catalog
from harness.contracts import Metric
from harness.errors import MetricError, UndefinedError
from harness.records import Outcome, Run
from harness.store import Store

ONE_SEED = "1 seed"
_KIND = "items-3"
"""Includes the version of `take_apart`; raise it when the same predictions give other items."""


class Term(NamedTuple):
    """A stored score that is part of a column's value, and its factor."""

    factor: float
    metric: str
    moment: int
    problem: int


class Judgement(NamedTuple):
    """Uncertainty and verdict of an arm in a column."""

    half_width: float | None
    verdict: str | None = None
    """Compared with the reference; None for the reference itself, or if there is no reference."""
    difference: float | None = None
    difference_half_width: float | None = None
    p: float | None = None
    rank: int | None = None


class ItemBook:
    """Scores of stored runs, split into items; cached, because metrics are slow."""

    def __init__(self, store: Store, catalog: Catalog, *, cached: bool = True) -> None:
        """Read nothing yet; with `cached=False`, the cache is neither read nor written."""
        self._store, self._catalog = store, catalog
        self._cache = AnalysisCache(store.cache / "analysis.sqlite") if cached else None
        self._known: dict[str, dict[str, Items | str]] = {}
        self._fresh: dict[tuple[str, str], bytes] = {}

    def get(self, run: Run, outcome: Outcome, part: Term) -> Items:
        """Return a score of a finished run, split into items.

        Raises:
            UndefinedError: It cannot be split; the message says why.
        """
        cells = {(cell.moment, cell.problem): cell for cell in outcome.evaluations}
        cell = cells.get((part.moment, part.problem))
        if cell is None or cell.undefined is not None:
            raise UndefinedError("not tuned on yet" if cell is None or cell.undefined is None else cell.undefined)
        known = self._known.setdefault(outcome.run_id, {})
        if not known:
            known.update(self._read(outcome.run_id))
        metric = self._catalog.find(Metric, part.metric)
        key = f"{_KIND} {part.metric}@{metric.version} {self._store.seal(run)} {part.moment} {part.problem}"
        if key not in known:
            predictions = self._store.predictions(run, part.moment, part.problem)
            try:
                known[key] = take_apart(self._catalog.make(Metric, part.metric, {}), predictions)
            except MetricError:
                raise
            except UndefinedError as error:
                known[key] = str(error)
            self._fresh[outcome.run_id, key] = _packed(known[key])
        found = known[key]
        if isinstance(found, str):
            raise UndefinedError(found)
        return found

    def save(self) -> None:
        """Write new items to the cache."""
        if self._cache:
            self._cache.keep(self._fresh)
        self._fresh = {}

    def _read(self, run_id: str) -> dict[str, Items | str]:
        read = self._cache.read(run_id, _KIND) if self._cache else {}
        return {key: found for key, value in read.items() if (found := _unpacked(value)) is not None}


def _packed(found: Items | str) -> bytes:
    """Return the cached form of a score's items, or of the reason why there are none."""
    if isinstance(found, str):
        return json.dumps([found, None]).encode()
    return json.dumps([found.key, len(found.statistics)]).encode() + b"\n" + found.statistics.astype("<f8").tobytes()


def _unpacked(value: bytes) -> Items | str | None:
    """Return what was packed; None if it is damaged and must be recomputed."""
    try:
        head, _, rest = value.partition(b"\n")
        key, units = json.loads(head)
        if units is None:
            return str(key)
        return Items(np.frombuffer(rest, dtype="<f8").reshape(units, 2), str(key))
    except (ValueError, TypeError):
        return None


def sample(
    arms: Mapping[str, Sequence[tuple[Run, Outcome]]], parts: Sequence[Term], first: str | None, book: ItemBook
) -> tuple[dict[str, Sample], dict[str, str]]:
    """Return the resampled arms of a column, and the reasons why others cannot be resampled.

    Args:
        arms: By label, the finished runs.
        parts: The terms whose sum is the column's value.
        first: The label of the arm whose items the others must share; None for the first arm.
        book: Splits scores into items.
    """
    taken: dict[str, list[list[tuple[float, Items]]]] = {}
    reasons: dict[str, str] = {}
    for label, runs in arms.items():
        try:
            taken[label] = [[(part.factor, book.get(*item, part)) for part in parts] for item in runs]
        except UndefinedError as error:
            reasons[label] = str(error)
    taken = {label: seeds for label, seeds in taken.items() if seeds}
    leader = first if first in taken else next(iter(taken), None)
    if leader is None:
        return {}, reasons
    key = taken[leader][0][0][1].key
    for label, seeds in list(taken.items()):
        if any(items.key != key for seed in seeds for _, items in seed):
            reasons[label] = (
                f"{label}: its test items differ from those of {leader}, so it is not tested for significance"
            )
            del taken[label]
    arrays = {
        label: [[(factor, items.statistics) for factor, items in seed] for seed in seeds]
        for label, seeds in taken.items()
    }
    # Items of different datasets may have the same ids, such as row numbers, but must be drawn independently.
    run, _ = arms[leader][0]
    dataset = run.task_data[parts[0].problem].dataset.model_dump_json(exclude={"location"})
    return resample(arrays, f"{dataset} {key}"), reasons


def judge(
    samples: Mapping[str, Sample],
    reference: str | None,
    better: Literal["higher", "lower"],
    margin: float | None,
    ranked: Sequence[str],
) -> dict[str, Judgement]:
    """Return the judgement on each arm in a column.

    Args:
        samples: By label.
        reference: The arm with which the others are compared; None for no comparison.
        better: Which direction is better.
        margin: Equivalence margin; None for no test of equivalence.
        ranked: The arms that get a rank.
    """
    standing = samples.get(reference) if reference else None
    others = [label for label in samples if label != reference] if standing else []
    compared = {label: difference(samples[label], standing) for label in others} if standing else {}
    found = {label: result for label, result in compared.items() if result is not None}
    adjusted = dict(zip(found, holm([result.p for result in found.values()]), strict=True))
    places = ranks({label: samples[label] for label in ranked if label in samples}, better)
    judged: dict[str, Judgement] = {}
    for label, one in samples.items():
        base = Judgement(interval(one), rank=places.get(label))
        result = found.get(label)
        if result is not None:
            p = adjusted[label]
            base = base._replace(
                verdict=verdict(result, p, better, margin),
                difference=result.value,
                difference_half_width=result.half_width,
                p=p,
            )
        elif label in others:
            base = base._replace(verdict=ONE_SEED)
        judged[label] = base
    # There are fewer comparisons with the reference than among all pairs, so more can be significant: ranks must agree.
    beaten = {label for label, one in judged.items() if one.verdict == "worse"}
    beaten |= {reference} if reference and any(judged[label].verdict == "better" for label in places) else set()
    return {
        label: one._replace(rank=max(2, one.rank)) if label in beaten and one.rank is not None else one
        for label, one in judged.items()
    }
