"""Hyperparameter search on validation, with the same budget for every arm: the search space and the choice.

The search itself is in `harness.runner.search`.
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
"""Trials use seeds from here on, which no final run uses, so that no choice profits from a reported run's luck."""
_LEARNING_RATE = "train.learning_rate"
_TENFOLD = 10.0
"""Factor above and below a strategy's default learning rate that is searched."""
_EDGE = 0.1
"""Share of a span, on its own scale, that counts as its edge."""
SPREAD = (0.25, 0.75, 0.125, 0.875)
"""Positions on its span at which the first setting is tried after the default, before the sampler decides: a few random
draws could all lie close together."""


class Budget(Record):
    """The search budget of each arm: a number of trials, or device time."""

    trials: PositiveInt | None = None
    seconds: PositiveFloat | None = None

    def spent(self, trials: int, seconds: float) -> bool:
        """Return whether the budget is used up."""
        return trials >= self.trials if self.trials is not None else seconds >= (self.seconds or 0)

    def within(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the first trials that fit this budget: another command may have had a larger one."""
        taken: list[Trial] = []
        for trial in trials:
            if self.spent(len(taken), sum(other.seconds for other in taken)):
                break
            taken.append(trial)
        return taken

    def __str__(self) -> str:
        """Return the budget in words."""
        if self.trials is not None:
            return f"{self.trials} trial{'s' * (self.trials > 1)}"
        return f"{self.seconds:g} s of device time"


def parse_budget(text: int | str) -> Budget:
    """Return the budget for a text such as `8` or `20m`.

    Raises:
        HarnessError: The text is not a budget.
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
    """Check that trials differ from final runs and can be compared with each other.

    Raises:
        HarnessError: A seed is too large, or the stages have different metrics.
    """
    if max(seeds) >= SEED:
        message = f"seed {max(seeds)} is reserved for trials of --tune: choose a seed below {SEED:,}"
        raise HarnessError(message)
    if (
        not (select_by and all(select_by in task.metrics for task in tasks))
        and len(metrics := sorted({task.metrics[0] for task in tasks})) > 1
    ):
        shared = set.intersection(*(set(task.metrics) for task in tasks))
        mend = f": choose one they share, such as -o train.select_by={min(shared)}" if shared else ""
        message = f"--tune needs a single metric, but the stages use {' and '.join(metrics)}{mend}"
        raise HarnessError(message)


def search_space(
    strategy: Strategy, tasks: Sequence[Task], train: TrainConfig, given: Mapping[str, JsonValue]
) -> dict[str, Span | tuple[JsonValue, ...]]:
    """Return the search space of a strategy: its learning rate and declared settings, except those the user gave.

    Args:
        strategy: The strategy with its parameters.
        tasks: The tasks of the stages.
        train: Its training settings.
        given: Settings and parameters given by the user.
    """
    space: dict[str, Span | tuple[JsonValue, ...]] = {}
    if strategy.role == "baseline":
        return space
    if train.learning_rate is not None and "learning_rate" not in given:
        space[_LEARNING_RATE] = Span(train.learning_rate / _TENFOLD, train.learning_rate * _TENFOLD, log=True)
    return space | {key: values for key, values in strategy.searched(tasks).items() if key not in given}


def most_trials(space: Space, budget: Budget) -> int | None:
    """Return the maximum number of trials of an arm; None if only time limits it."""
    lists = [len(values) for values in space.values() if not isinstance(values, Span)]
    every = [math.prod(lists)] if len(lists) == len(space) else []
    return min([*every, *([budget.trials] if budget.trials is not None else [])], default=None)


def default_values(run: Run, space: Space) -> dict[str, JsonValue]:
    """Return the default values of the searched settings: always the first trial."""
    settings: dict[str, JsonValue] = {_LEARNING_RATE: run.train.learning_rate, **run.strategy.params}
    # A parameter added in a later version is not in the record if it has its default, which is the first of its values.
    return {key: settings.get(key, _first_of(values)) for key, values in space.items()}


def _first_of(values: Span | tuple[JsonValue, ...]) -> JsonValue:
    return values.low if isinstance(values, Span) else values[0]


def first_values(run: Run, space: Space) -> list[dict[str, JsonValue]]:
    """Return the values tried before the sampler decides: the defaults, then points across every span and list.

    All settings move at once, each along its own order, so that few trials vary every setting.
    """
    return [
        default_values(run, space),
        *(
            {key: _spread(values, at, place) for place, (key, values) in enumerate(space.items())}
            for at in range(len(SPREAD))
        ),
    ]


def _spread(values: Span | tuple[JsonValue, ...], at: int, place: int) -> JsonValue:
    """Return the value of the setting at a place in the space, in a trial after the default."""
    if not isinstance(values, Span):
        return values[(at + 1) % len(values)]
    share = SPREAD[(at + place) % len(SPREAD)]
    low, high = (math.log(end) if values.log else end for end in (values.low, values.high))
    value = low + share * (high - low)
    return math.exp(value) if values.log else value


def with_values(run: Run, values: Mapping[str, JsonValue], catalog: Catalog) -> Run:
    """Return the run with settings found by a search."""
    rate = values.get(_LEARNING_RATE, run.train.learning_rate)
    params = {key: value for key, value in values.items() if key != _LEARNING_RATE}
    strategy = catalog.restore(Strategy, run.strategy, **params)
    train = TrainConfig(**{**run.train.model_dump(), "learning_rate": rate})
    return run.model_copy(update={"strategy": strategy.reference(), "train": train})


def trial_run(run: Run, values: Mapping[str, JsonValue], catalog: Catalog) -> Run:
    """Return the trial run for settings: it scores validation only and watches nothing."""
    return _as_trial(with_values(run, values, catalog))


def _as_trial(run: Run) -> Run:
    # Other seeds are another experiment with its own search.
    return run.model_copy(update={"seed": SEED + run.seed, "watch": (), "trial": True})


def study_id(arm: Arm) -> str:
    """Return the id of an arm's search, from its template run and search space, but not its budget."""
    template = _as_trial(arm.runs[0])
    space = {key: list(values) for key, values in arm.space.items()}
    return digest([template.id, space])[:12]


def choose(trials: Sequence[Trial], space: Space, label: str, *, exhausted: bool) -> SearchResult:
    """Return the search result: the values of the best trial, the first one in a tie.

    Raises:
        HarnessError: No trial has a score.
    """
    scored = [trial for trial in trials if trial.status == "done" and trial.score is not None]
    if not scored:
        message = (
            f"strategy {label!r}: none of its {len(trials)} trials has a validation score, so no settings can be chosen"
        )
        raise HarnessError(message)
    best = max(scored, key=lambda trial: trial.score or 0.0)
    edges = tuple(key for key, values in space.items() if _at_edge(best.values[key], values))
    return SearchResult(trials=tuple(trials), chosen=best.values, edges=edges, exhausted=exhausted)


def kept_at(arm: Arm, budget: Budget, store: Store) -> Path:
    """Return the file with the search result of an arm for this budget; the trials are stored next to it."""
    name = f"{budget.trials}-trials" if budget.trials is not None else f"{budget.seconds:g}-seconds"
    return store.study(arm.runs[0], study_id(arm)) / f"{name}.json"


def find_search(arm: Arm, budget: Budget, store: Store) -> SearchResult | None:
    """Return the search result of an arm for this budget; None if there is none yet.

    Raises:
        HarnessError: The stored result cannot be read.
    """
    path = kept_at(arm, budget, store)
    try:
        return SearchResult.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        message = f"{str(path)!r} cannot be read ({error}): move it away to rebuild it from the stored trials"
        raise HarnessError(message) from None


def settle(plan: Plan, store: Store, catalog: Catalog) -> Plan:
    """Return the plan with the chosen settings of each arm; arms without a search result are unchanged."""
    if plan.budget is None:
        return plan
    arms = []
    for arm in plan.arms:
        found = find_search(arm, plan.budget, store) if arm.space else None
        arms.append(_settled(arm, found, catalog) if found else arm)
    return plan.model_copy(update={"arms": tuple(arms)})


def unsettled(plan: Plan) -> list[Arm]:
    """Return the arms whose search is not done yet."""
    return [arm for arm in plan.arms if arm.space and arm.search is None] if plan.budget else []


def _settled(arm: Arm, found: SearchResult, catalog: Catalog) -> Arm:
    """Return the arm with its chosen settings."""
    runs, repeats = (tuple(with_values(run, found.chosen, catalog) for run in some) for some in (arm.runs, arm.repeats))
    return arm.model_copy(update={"runs": runs, "repeats": repeats, "search": found})


def _at_edge(value: JsonValue, values: Span | tuple[JsonValue, ...]) -> bool:
    """Return whether a value is at the edge of its span, so that a better one may lie outside."""
    if not isinstance(values, Span) or not isinstance(value, int | float):
        return False
    scale = math.log if values.log else float
    low, high, at = scale(values.low), scale(values.high), scale(value)
    return not _EDGE < (at - low) / (high - low) < 1 - _EDGE
