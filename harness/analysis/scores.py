"""Compute score matrices from stored predictions.

A score depends only on the stored predictions and on the metric's name and version, so scores are cached. Metrics,
whose libraries are slow to import, run only for new predictions.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.analysis.cache import AnalysisCache
from harness.analysis.items import score as score_of
from harness.catalog import Catalog
from harness.contracts import Metric
from harness.errors import MetricError, UndefinedError
from harness.records import Evaluation, Outcome, Run
from harness.store import Store

_KIND = "score"
_SEAL = 16
"""Number of hash digits that identify predictions."""


class Score(NamedTuple):
    """A metric's value, or why there is none."""

    value: float | None = None
    undefined: str | None = None


class ScoreBook:
    """The scores of a store's runs, with a cache."""

    def __init__(self, store: Store, *, cached: bool = True) -> None:
        """Read nothing yet; with `cached=False`, the cache is neither read nor written."""
        self._cache = AnalysisCache(store.cache / "analysis.sqlite") if cached else None
        self._known: dict[str, dict[str, Score]] = {}
        self._fresh: dict[tuple[str, str], bytes] = {}
        self._versions: dict[str, int] = {}

    def get(self, run_id: str, key: str) -> Score | None:
        """Return a score; None if it has not been computed."""
        if run_id not in self._known:
            read = self._cache.read(run_id, _KIND) if self._cache else {}
            self._known[run_id] = {name: Score(*json.loads(value)) for name, value in read.items()}
        return self._known[run_id].get(f"{_KIND} {key}")

    def version(self, metric: str, catalog: Catalog) -> int:
        """Return the version of a metric; looked up only once, because every score needs it."""
        if metric not in self._versions:
            self._versions[metric] = catalog.find(Metric, metric).version
        return self._versions[metric]

    def put(self, run_id: str, key: str, score: Score) -> None:
        """Add a computed score."""
        self._known.setdefault(run_id, {})[f"{_KIND} {key}"] = score
        self._fresh[run_id, f"{_KIND} {key}"] = json.dumps(score).encode()

    def save(self) -> None:
        """Write new scores to the cache; those written by other processes stay."""
        if self._cache:
            self._cache.keep(self._fresh)
        self._fresh = {}


class Scores:
    """The scores of one finished run, by moment and problem."""

    def __init__(self, store: Store, catalog: Catalog, book: ScoreBook, run: Run, outcome: Outcome) -> None:
        """Prepare to score a finished run; nothing is read yet."""
        self._store, self._catalog, self._book, self._run, self._outcome = store, catalog, book, run, outcome
        # Part of the cache key, so that scores of other predictions are not used.
        self._seal = (outcome.predictions_sha256 or store.seal(run))[:_SEAL]

    def get(self, metric: str, moment: int, problem: int) -> Score:
        """Return the metric's score on the problem at the moment (0: before tuning, i: after stage i)."""
        evaluation = self._evaluations.get((moment, problem))
        if evaluation is None:
            return Score(undefined="not tuned on yet")
        if evaluation.undefined is not None:
            return Score(undefined=evaluation.undefined)
        key = f"{metric}@{self._book.version(metric, self._catalog)}:{self._seal}:{moment}:{problem}"
        score = self._book.get(self._outcome.run_id, key)
        if score is None:
            try:
                score = self._compute(self._catalog.make(Metric, metric, {}), moment, problem)
            except MetricError as error:
                return Score(undefined=str(error))
            self._book.put(self._outcome.run_id, key, score)
        return score

    def matrix(self, metrics: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores `[stages + 1, problems]` by each problem's own metric; nan if undefined."""
        rows = [
            [_or_nan(self.get(metric, moment, problem)) for problem, metric in enumerate(metrics)]
            for moment in range(len(self._run.stages) + 1)
        ]
        return np.array(rows)

    @functools.cached_property
    def _evaluations(self) -> dict[tuple[int, int], Evaluation]:
        return {(evaluation.moment, evaluation.problem): evaluation for evaluation in self._outcome.evaluations}

    def _compute(self, metric: Metric, moment: int, problem: int) -> Score:
        predictions = self._store.predictions(self._run, moment, problem)
        try:
            return Score(value=score_of(metric, predictions.outputs, predictions.targets))
        except MetricError:
            raise
        except UndefinedError as error:
            return Score(undefined=str(error))


def _or_nan(score: Score) -> float:
    return np.nan if score.value is None else score.value
