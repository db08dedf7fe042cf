"""How the training of stored runs ended: when its best weights were reached, and whether it was still improving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic_core import from_json, to_json

from harness.analysis.cache import AnalysisCache
from harness.records import Outcome, Run
from harness.store import Store


class Ending(NamedTuple):
    """How a training ended."""

    early: Literal["last epoch", "maximum of steps"] | None = None
    """Where it ended while validation was still improving; None if it was not, or if that is not known."""
    best_steps: tuple[int, ...] = ()
    """For each stage that was trained until validation was flat, the steps to the best weights."""


def read_ending(store: Store, cache: AnalysisCache, run: Run, outcome: Outcome) -> Ending:
    """Return how a finished run's training ended; cached, because logs are long."""
    if run.train.refit:
        return Ending(None, ())  # validation was trained on
    key = f"ending-2 {outcome.log_sha256}"
    if outcome.log_sha256 and (known := cache.get(outcome.run_id, key)) is not None:
        early, best_steps = from_json(known)
        return Ending(early, tuple(best_steps))
    found = ending(store.log(run))
    if outcome.log_sha256:
        cache.put(outcome.run_id, key, to_json(found))
    return found


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
