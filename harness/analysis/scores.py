"""Compute score matrices from stored predictions.

A score depends only on the stored predictions and on the metric's name and version, so scores are cached. Metrics,
whose libraries are slow to import, run only for new predictions.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

from harness.analysis.cache import AnalysisCache
from harness.analysis.items import score as score_of
from harness.catalog import Catalog
from harness.contracts import Metric
from harness.errors import MetricError, UndefinedError
from harness.records import Evaluation, Outcome, Run
from harness.store import Store

_SEAL = 16
"""Number of hash digits that identify predictions."""


class Score(NamedTuple):
    """A metric's value, or why there is none."""

    value: float | None = None
    undefined: str | None = None


class Scores:
    """The scores of one finished run, by moment and problem."""

    def __init__(self, store: Store, catalog: Catalog, cache: AnalysisCache, run: Run, outcome: Outcome) -> None:
        """Prepare to score a finished run; nothing is read yet."""
        self._store, self._catalog, self._cache, self._run, self._outcome = store, catalog, cache, run, outcome
        # Part of the cache key, so that scores of other predictions are not used.
        self._seal = (outcome.predictions_sha256 or store.seal(run))[:_SEAL]

    def get(self, metric: str, moment: int, problem: int) -> Score:
        """Return the metric's score on the problem at the moment (0: before tuning, i: after stage i)."""
        evaluation = self._evaluations.get((moment, problem))
        if evaluation is None:
            return Score(undefined="not tuned on yet")
        if evaluation.undefined is not None:
            return Score(undefined=evaluation.undefined)
        version = self._catalog.find(Metric, metric).version
        key = f"score {metric}@{version}:{self._seal}:{moment}:{problem}"
        known = self._cache.get(self._outcome.run_id, key)
        if known is not None:
            return Score(*from_json(known))
        try:
            score = self._compute(self._catalog.make(Metric, metric, {}), moment, problem)
        except MetricError as error:
            return Score(undefined=str(error))
        self._cache.put(self._outcome.run_id, key, to_json(score))
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
