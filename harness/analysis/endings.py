"""Whether the training of stored runs ended too early: validation was still improving."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from harness.analysis.cache import AnalysisCache
from harness.records import Outcome, Run
from harness.store import Store

Ending = Literal["last epoch", "maximum of steps"]
"""Where training ended while validation was still improving."""
_KIND = "ending"


class EndingBook:
    """Reads the endings of stored runs; cached, because logs are long."""

    def __init__(self, store: Store, *, cached: bool = True) -> None:
        """Read nothing yet; with `cached=False`, the cache is neither read nor written."""
        self._store, self._cache = store, AnalysisCache(store.cache / "analysis.sqlite") if cached else None
        self._fresh: dict[tuple[str, str], bytes] = {}

    def get(self, run: Run, outcome: Outcome) -> Ending | None:
        """Return where a finished run's training ended while validation was still improving; None if it was not."""
        key = f"{_KIND} {outcome.log_sha256}"
        known = self._cache.read(run.id, _KIND) if self._cache and outcome.log_sha256 else {}
        if key in known:
            found: Ending | None = json.loads(known[key])
            return found
        found = ending(self._store.log(run))
        if outcome.log_sha256:
            self._fresh[run.id, key] = json.dumps(found).encode()
        return found

    def save(self) -> None:
        """Write new endings to the cache."""
        if self._cache:
            self._cache.keep(self._fresh)
        self._fresh = {}


def ending(log: Sequence[Mapping[str, Any]]) -> Ending | None:
    """Return where a training ended while validation was still improving: where its last score was its best by far.

    Args:
        log: The events of the run.

    Returns:
        None if validation had stopped improving in every stage, or if that is not known: there is one score only.
    """
    for stage in {event["stage"] for event in log if "stage" in event}:
        events = [event for event in log if event.get("stage") == stage]
        ended = [event["ended"] for event in events if "ended" in event]
        if "maximum" in ended:
            return "maximum of steps"
        scores = [event["validation"] for event in events if event.get("validation") is not None and "epoch" in event]
        if not ended and len(scores) > 1 and scores[-1] > max(scores[:-1]):
            return "last epoch"
    return None
