"""What a column of a table shows of the arms: resampled from stored predictions, and judged against the reference."""

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
"""With the version of how scores are taken apart; raised when the same predictions give other items."""


class Term(NamedTuple):
    """A stored score that a column's value is made of, and what it is multiplied by."""

    factor: float
    metric: str
    moment: int
    problem: int


class Judgement(NamedTuple):
    """What is known of an arm in a column."""

    half_width: float | None
    verdict: str | None = None
    """Against the reference; None for the reference itself, and where there is none."""
    difference: float | None = None
    difference_half_width: float | None = None
    p: float | None = None
    rank: int | None = None


class ItemBook:
    """Scores of stored runs, taken apart; kept, because metrics, which are slow, need then be asked but once."""

    def __init__(self, store: Store, catalog: Catalog, *, cached: bool = True) -> None:
        """Read nothing yet; without a cache, nothing is read or kept."""
        self._store, self._catalog = store, catalog
        self._cache = AnalysisCache(store.cache / "analysis.sqlite") if cached else None
        self._known: dict[str, dict[str, Items | str]] = {}
        self._fresh: dict[tuple[str, str], bytes] = {}

    def get(self, run: Run, outcome: Outcome, part: Term) -> Items:
        """Return a score of a finished run, taken apart.

        Raises:
            UndefinedError: It cannot be; the message says why.
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
        """Keep what was computed for the next time."""
        if self._cache:
            self._cache.keep(self._fresh)
        self._fresh = {}

    def _read(self, run_id: str) -> dict[str, Items | str]:
        read = self._cache.read(run_id, _KIND) if self._cache else {}
        return {key: found for key, value in read.items() if (found := _unpacked(value)) is not None}


def _packed(found: Items | str) -> bytes:
    """Return a score, taken apart, as it is kept; a reason why it is not is a text alone."""
    if isinstance(found, str):
        return json.dumps([found, None]).encode()
    return json.dumps([found.key, len(found.statistics)]).encode() + b"\n" + found.statistics.astype("<f8").tobytes()


def _unpacked(value: bytes) -> Items | str | None:
    """Return what was packed; None if it is damaged, and is made again."""
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
    """Return what resampling makes of the arms in a column, and why it can make nothing of others.

    Args:
        arms: By label, the finished runs.
        parts: What the column's value is the sum of.
        first: The label of the arm whose items the others must share; None for the first there is.
        book: Where scores are taken apart.
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
            reasons[label] = f"{label}: its test items are not those of {leader}, so that it is compared with no other"
            del taken[label]
    arrays = {
        label: [[(factor, items.statistics) for factor, items in seed] for seed in seeds]
        for label, seeds in taken.items()
    }
    # Items of different datasets may have the same ids, such as their numbers, and are drawn apart all the same.
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
    """Return what is known of each arm in a column.

    Args:
        samples: By label.
        reference: What the others are compared with; None for nothing.
        better: Which direction is good.
        margin: Within which two arms are as good as each other; None to leave that open.
        ranked: The arms that are ranked among each other.
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
    # Fewer comparisons are made with the reference than among all, so that more may be shown: a rank must not deny it.
    beaten = {label for label, one in judged.items() if one.verdict == "worse"}
    beaten |= {reference} if reference and any(judged[label].verdict == "better" for label in places) else set()
    return {
        label: one._replace(rank=max(2, one.rank)) if label in beaten and one.rank is not None else one
        for label, one in judged.items()
    }
