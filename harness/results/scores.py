"""From stored predictions to score matrices.

A score depends only on the run and on the metric's name and version, so it is kept once computed: metrics, whose libraries
are slow to import, are run again only for new ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.catalog import Catalog
from harness.contracts import Metric
from harness.errors import UndefinedError
from harness.records import Outcome, Record, Run
from harness.store import Store, dump, write_atomically


class Score(Record):
    """A metric's value, or why there is none."""

    value: float | None = None
    undefined: str | None = None


class Scores:
    """The scores of one finished run, by moment and problem."""

    def __init__(self, store: Store, catalog: Catalog, run: Run, outcome: Outcome) -> None:
        """Prepare to score a finished run; nothing is read yet."""
        self._store, self._catalog, self._run, self._outcome = store, catalog, run, outcome
        self._path: Path = store.cache / "scores" / f"{run.id}.json"
        self._known = _read_scores(self._path)
        self._fresh = False

    def get(self, metric: str, moment: int, problem: int) -> Score:
        """Return the metric's score on the problem at the moment (0: before tuning, i: after stage i)."""
        evaluation = next(
            (e for e in self._outcome.evaluations if (e.moment, e.problem) == (moment, problem)),
            None,
        )
        if evaluation is None:
            return Score(undefined="not tuned on yet")
        if evaluation.undefined is not None:
            return Score(undefined=evaluation.undefined)
        component = self._catalog.make(Metric, metric, {})
        key = f"{metric}@{component.version}:{self._outcome.started.isoformat()}:{moment}:{problem}"
        if key not in self._known:
            self._known[key] = self._compute(component, moment, problem)
            self._fresh = True
        return self._known[key]

    def matrix(self, metrics: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores `[stages + 1, problems]` by each problem's own metric; nan where undefined."""
        rows = [
            [_or_nan(self.get(metric, moment, problem)) for problem, metric in enumerate(metrics)]
            for moment in range(len(self._run.stages) + 1)
        ]
        return np.array(rows)

    def save(self) -> None:
        """Keep what was computed for the next time."""
        if self._fresh:
            write_atomically(
                self._path, dump({key: score.model_dump(mode="json") for key, score in self._known.items()})
            )

    def _compute(self, metric: Metric, moment: int, problem: int) -> Score:
        predictions = self._store.predictions(self._run, moment, problem)
        try:
            return Score(value=float(metric.score(predictions.outputs, predictions.targets)))
        except UndefinedError as error:
            return Score(undefined=str(error))


def _read_scores(path: Path) -> dict[str, Score]:
    try:
        return {key: Score(**value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, TypeError):
        # A cache that is missing or damaged is made again.
        return {}


def _or_nan(score: Score) -> float:
    return np.nan if score.value is None else score.value
