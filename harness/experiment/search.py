"""Choosing each arm's settings on validation, every arm on the same budget: what is tried, and what was chosen.

The search itself is `harness.runner.search`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue, PositiveFloat, PositiveInt, ValidationError

from harness.catalog import Catalog
from harness.contracts import Span, Strategy, Task
from harness.errors import HarnessError
from harness.quantities import parse_duration
from harness.records import Record, Run, SearchResult, TrainConfig, Trial, digest
from harness.store import Store

if TYPE_CHECKING:
    from harness.experiment.plan import Arm, Plan

Space = Mapping[str, Span | tuple[JsonValue, ...]]
SEED = 1_000_000
"""Trials have seeds from here on, which no final run has, so that nothing is chosen for the luck of a run that is then shown."""
_LEARNING_RATE = "train.learning_rate"
_TENFOLD = 10.0
"""How far up and down from a strategy's own learning rate is looked."""
_EDGE = 0.1
"""Share of a span, on its own scale, that counts as its end."""
SPREAD = (0.25, 0.75, 0.125, 0.875)
"""Where on its span the first setting is tried after the default, before what was seen decides: drawn at random, a handful of
trials may all fall together."""


class Budget(Record):
    """What each arm may spend on trials: their number, or their device time."""

    trials: PositiveInt | None = None
    seconds: PositiveFloat | None = None

    def spent(self, trials: int, seconds: float) -> bool:
        """Return whether nothing is left."""
        return trials >= self.trials if self.trials is not None else seconds >= (self.seconds or 0)

    def within(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the first trials that this budget pays for: another command may have had more to spend."""
        taken: list[Trial] = []
        for trial in trials:
            if self.spent(len(taken), sum(other.seconds for other in taken)):
                break
            taken.append(trial)
        return taken

    def __str__(self) -> str:
        """Return it in words."""
        if self.trials is not None:
            return f"{self.trials} trial{'s' * (self.trials > 1)}"
        return f"{self.seconds:g} s of device time"


def parse_budget(text: int | str) -> Budget:
    """Return the budget that `8` or `20m` stands for.

    Raises:
        HarnessError: It stands for none.
    """
    written = str(text).strip()
    if written.isdigit() and int(written):
        return Budget(trials=int(written))
    try:
        return Budget(seconds=parse_duration(written))
    except (HarnessError, ValidationError):
        message = (
            f"--tune {written!r} is neither a number of trials, such as 8, nor a device time, such as 90s, 20m or 1h"
        )
        raise HarnessError(message) from None


def check_searchable(seeds: Collection[int], tasks: Sequence[Task], select_by: str | None = None) -> None:
    """Make sure that trials can be told apart from final runs and be compared with each other.

    Raises:
        HarnessError: They cannot.
    """
    if max(seeds) >= SEED:
        message = f"seed {max(seeds)} may be that of a trial of --tune: choose one below {SEED:,}"
        raise HarnessError(message)
    if (
        not (select_by and all(select_by in task.metrics for task in tasks))
        and len(metrics := sorted({task.metrics[0] for task in tasks})) > 1
    ):
        shared = set.intersection(*(set(task.metrics) for task in tasks))
        mend = f": name one they share, such as -o train.select_by={min(shared)}" if shared else ""
        message = f"--tune needs one score to choose by, but the stages are scored by {' and '.join(metrics)}{mend}"
        raise HarnessError(message)


def search_space(
    strategy: Strategy, tasks: Sequence[Task], train: TrainConfig, given: Mapping[str, JsonValue]
) -> dict[str, Span | tuple[JsonValue, ...]]:
    """Return what is searched for a strategy: its learning rate and what it declares, but for what the user gave.

    Args:
        strategy: With its parameters.
        tasks: Of the stages.
        train: Its training settings.
        given: Settings and parameters that the user gave by name.
    """
    space: dict[str, Span | tuple[JsonValue, ...]] = {}
    if strategy.role == "baseline":
        return space
    if train.learning_rate is not None and "learning_rate" not in given:
        space[_LEARNING_RATE] = Span(train.learning_rate / _TENFOLD, train.learning_rate * _TENFOLD, log=True)
    return space | {key: values for key, values in strategy.searched(tasks).items() if key not in given}


def most_trials(space: Space, budget: Budget) -> int | None:
    """Return how many trials an arm can get; None where time decides alone."""
    lists = [len(values) for values in space.values() if not isinstance(values, Span)]
    every = [math.prod(lists)] if len(lists) == len(space) else []
    return min([*every, *([budget.trials] if budget.trials is not None else [])], default=None)


def default_values(run: Run, space: Space) -> dict[str, JsonValue]:
    """Return the values that an untuned run has of what is searched: always the first trial."""
    settings: dict[str, JsonValue] = {_LEARNING_RATE: run.train.learning_rate, **run.strategy.params}
    # A parameter that came later is left out of the record where it has its default, which is the first of its values here.
    return {key: settings.get(key, _first_of(values)) for key, values in space.items()}


def _first_of(values: Span | tuple[JsonValue, ...]) -> JsonValue:
    return values.low if isinstance(values, Span) else values[0]


def first_values(run: Run, space: Space) -> list[dict[str, JsonValue]]:
    """Return what is tried before what was seen decides: the untuned values, then the first span from end to end."""
    default = default_values(run, space)
    key, span = next((key, values) for key, values in space.items() if isinstance(values, Span))
    low, high = (math.log(end) if span.log else end for end in (span.low, span.high))
    spread = [low + share * (high - low) for share in SPREAD]
    return [default, *({**default, key: math.exp(value) if span.log else value} for value in spread)]


def with_values(run: Run, values: Mapping[str, JsonValue], catalog: Catalog) -> Run:
    """Return the run with settings that a search has found."""
    rate = values.get(_LEARNING_RATE, run.train.learning_rate)
    params = {key: value for key, value in values.items() if key != _LEARNING_RATE}
    strategy = catalog.make(Strategy, run.strategy.name, {**run.strategy.params, **run.strategy.location, **params})
    train = TrainConfig(**{**run.train.model_dump(), "learning_rate": rate})
    return run.model_copy(update={"strategy": strategy.reference(), "train": train})


def trial_run(run: Run, values: Mapping[str, JsonValue], catalog: Catalog) -> Run:
    """Return the run that tries settings: validation alone is scored, and nothing watched."""
    return _as_trial(with_values(run, values, catalog))


def _as_trial(run: Run) -> Run:
    # Other seeds asked for are another experiment, whose settings are chosen anew.
    return run.model_copy(update={"seed": SEED + run.seed, "watch": (), "trial": True})


def study_id(arm: Arm) -> str:
    """Return what tells the search for an arm's settings from any other: what is tried, on what; not how often."""
    template = _as_trial(arm.runs[0])
    space = {key: list(values) for key, values in arm.space.items()}
    return digest([template.id, space])[:12]


def choose(trials: Sequence[Trial], space: Space, label: str, *, exhausted: bool) -> SearchResult:
    """Return what was chosen: the values of the best trial, the first of equals.

    Raises:
        HarnessError: No trial has a score.
    """
    scored = [trial for trial in trials if trial.status == "done" and trial.score is not None]
    if not scored:
        message = (
            f"strategy {label!r}: none of its {len(trials)} trials has a validation score, so nothing can be chosen"
        )
        raise HarnessError(message)
    best = max(scored, key=lambda trial: trial.score or 0.0)
    edges = tuple(key for key, values in space.items() if _at_edge(best.values[key], values))
    return SearchResult(trials=tuple(trials), chosen=best.values, edges=edges, exhausted=exhausted)


def kept_at(arm: Arm, budget: Budget, store: Store) -> Path:
    """Return the file in which the choice for an arm on this budget is kept; what was tried lies beside it."""
    name = f"{budget.trials}-trials" if budget.trials is not None else f"{budget.seconds:g}-seconds"
    return store.study(arm.runs[0], study_id(arm)) / f"{name}.json"


def find_search(arm: Arm, budget: Budget, store: Store) -> SearchResult | None:
    """Return how an arm's settings were chosen on this budget; None if they have not been yet.

    Raises:
        HarnessError: What was kept of it cannot be read.
    """
    path = kept_at(arm, budget, store)
    try:
        return SearchResult.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        message = f"{str(path)!r} cannot be read ({error}): move it away, and the stored trials are read again"
        raise HarnessError(message) from None


def settle(plan: Plan, store: Store, catalog: Catalog) -> Plan:
    """Return the plan with the settings that were chosen for each arm; those still to be chosen stay as they are."""
    if plan.budget is None:
        return plan
    arms = []
    for arm in plan.arms:
        found = find_search(arm, plan.budget, store) if arm.space else None
        arms.append(_settled(arm, found, catalog) if found else arm)
    return plan.model_copy(update={"arms": tuple(arms)})


def unsettled(plan: Plan) -> list[Arm]:
    """Return the arms whose settings are still to be chosen."""
    return [arm for arm in plan.arms if arm.space and arm.search is None] if plan.budget else []


def _settled(arm: Arm, found: SearchResult, catalog: Catalog) -> Arm:
    """Return the arm with the settings that were chosen for it."""
    runs, repeats = (tuple(with_values(run, found.chosen, catalog) for run in some) for some in (arm.runs, arm.repeats))
    return arm.model_copy(update={"runs": runs, "repeats": repeats, "search": found})


def _at_edge(value: JsonValue, values: Span | tuple[JsonValue, ...]) -> bool:
    """Return whether a better value may lie beyond what was searched."""
    if not isinstance(values, Span) or not isinstance(value, int | float):
        return False
    scale = math.log if values.log else float
    low, high, at = scale(values.low), scale(values.high), scale(value)
    return not _EDGE < (at - low) / (high - low) < 1 - _EDGE
