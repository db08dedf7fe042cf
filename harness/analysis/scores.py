"""From stored predictions to score matrices.

A score depends only on the stored predictions and on the metric's name and version, so it is kept once computed: metrics, whose libraries
are slow to import, are run again only for new ones.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.analysis.items import score as score_of
from harness.catalog import Catalog
from harness.contracts import Metric
from harness.errors import MetricError, UndefinedError
from harness.records import Evaluation, Outcome, Run
from harness.store import Store, write_atomically

_SEAL = 16
"""Digits of a hash that tell predictions apart."""


class Score(NamedTuple):
    """A metric's value, or why there is none."""

    value: float | None = None
    undefined: str | None = None


class ScoreBook:
    """Every score ever computed of a store's runs: one file, because opening thousands takes longer than reading them."""

    def __init__(self, store: Store, *, cached: bool = True) -> None:
        """Read what is kept; or neither read nor keep anything."""
        self._path, self._cached = store.cache / "scores" / "scores.json", cached
        self._known = self._read() if cached else {}
        self._fresh: dict[str, dict[str, Score]] = {}
        self._versions: dict[str, int] = {}

    def get(self, run_id: str, key: str) -> Score | None:
        """Return a score; None if it has not been computed."""
        return self._known.get(run_id, {}).get(key)

    def version(self, metric: str, catalog: Catalog) -> int:
        """Return the version of a metric; looked up once, because it is asked for with every score."""
        if metric not in self._versions:
            self._versions[metric] = catalog.find(Metric, metric).version
        return self._versions[metric]

    def put(self, run_id: str, key: str, score: Score) -> None:
        """Take a score that was computed."""
        self._known.setdefault(run_id, {})[key] = score
        self._fresh.setdefault(run_id, {})[key] = score

    def save(self) -> None:
        """Keep what was computed for the next time, beside what others have kept meanwhile."""
        if self._fresh and self._cached:
            known = self._read()
            for run_id, scores in self._fresh.items():
                known.setdefault(run_id, {}).update(scores)
            write_atomically(self._path, json.dumps(known))
            self._fresh = {}

    def _read(self) -> dict[str, dict[str, Score]]:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            return {run_id: {key: Score(*score) for key, score in of.items()} for run_id, of in kept.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            # A cache that is missing or damaged is made again.
            return {}


class Scores:
    """The scores of one finished run, by moment and problem."""

    def __init__(self, store: Store, catalog: Catalog, book: ScoreBook, run: Run, outcome: Outcome) -> None:
        """Prepare to score a finished run; nothing is read yet."""
        self._store, self._catalog, self._book, self._run, self._outcome = store, catalog, book, run, outcome
        # Bound to the predictions themselves: what was computed of others is not used.
        self._seal = store.seal(run)[:_SEAL]

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
        """Return the scores `[stages + 1, problems]` by each problem's own metric; nan where undefined."""
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
