"""How the training of stored runs ended: when its best weights were reached, and whether it was still improving."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from harness.analysis.cache import AnalysisCache
from harness.records import Outcome, Run
from harness.store import Store

_KIND = "ending-2"


class Ending(NamedTuple):
    """How a training ended."""

    early: Literal["last epoch", "maximum of steps"] | None = None
    """Where it ended while validation was still improving; None if it was not, or if that is not known."""
    best_steps: tuple[int, ...] = ()
    """For each stage that was trained until validation was flat, the steps to the best weights."""


class EndingBook:
    """Reads the endings of stored runs; cached, because logs are long."""

    def __init__(self, store: Store, *, cached: bool = True) -> None:
        """Read nothing yet; with `cached=False`, the cache is neither read nor written."""
        self._store, self._cache = store, AnalysisCache(store.cache / "analysis.sqlite") if cached else None
        self._fresh: dict[tuple[str, str], bytes] = {}

    def get(self, run: Run, outcome: Outcome) -> Ending:
        """Return how a finished run's training ended."""
        if run.train.refit:
            return Ending(None, ())  # validation was trained on
        key = f"{_KIND} {outcome.log_sha256}"
        known = self._cache.read(outcome.run_id, _KIND) if self._cache and outcome.log_sha256 else {}
        if key in known:
            early, best_steps = json.loads(known[key])
            return Ending(early, tuple(best_steps))
        found = ending(self._store.log(run))
        if outcome.log_sha256:
            self._fresh[outcome.run_id, key] = json.dumps(found).encode()
        return found

    def save(self) -> None:
        """Write new endings to the cache."""
        if self._cache:
            self._cache.keep(self._fresh)
        self._fresh = {}


def ending(log: Sequence[Mapping[str, Any]]) -> Ending:
    """Return how a training ended: too early if the last validation score of a stage is its best by itself.

    Args:
        log: The events of the run.
    """
    best_steps = tuple(event["best_step"] for event in log if "ended" in event)
    for stage in sorted({event["stage"] for event in log if "stage" in event}):
        events = [event for event in log if event.get("stage") == stage]
        ended = [event["ended"] for event in events if "ended" in event]
        if "maximum" in ended:
            return Ending("maximum of steps", best_steps)
        scores = [event["validation"] for event in events if event.get("validation") is not None and "epoch" in event]
        if not ended and len(scores) > 1 and scores[-1] > max(scores[:-1]):
            return Ending("last epoch", best_steps)
    return Ending(None, best_steps)
