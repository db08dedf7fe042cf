"""The experiment as the user describes it, in a file or with flags.

    question = "..."
    model = "..."
    stages = [{ dataset = "...", limit = { train = 1000 } }]
    watch = ["..."]
    strategies = ["...", { name = "...", rank = 16, label = "rank 16" }]
    seeds = [0, 1, 2]
    train = { epochs = 3 }

A component is a string (`"name"`, `"name:argument"`, or a path that a component opens) or a table whose other keys are
its parameters.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, cast

from pydantic import Field, JsonValue, NonNegativeInt, PositiveInt, ValidationError, model_validator

from harness.catalog import explain
from harness.errors import HarnessError, unknown
from harness.records import Record
from harness.reports import Text

E = TypeVar("E", bound="Entry")


class Entry(Record):
    """A component as given by the user."""

    name: str
    params: dict[str, JsonValue] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_toml(cls, value: Any) -> Any:  # any TOML value
        if isinstance(value, str):
            return {"name": value}
        if not isinstance(value, dict):
            message = f"expected a name or a table with a name, but got {value!r}"
            raise ValueError(message)  # pydantic turns only a ValueError into a message
        table = dict(value)
        if "dataset" in table:
            table["name"] = table.pop("dataset")
        if "name" not in table:
            message = f"a table needs a name, but got {value!r}"
            raise ValueError(message)
        known = {key: table.pop(key) for key in cls.model_fields if key in table}
        if isinstance(known.get("task"), dict):
            known["task_params"] = dict(known["task"])
            known["task"] = known["task_params"].pop("name", None)
        return {**known, "params": {**known.get("params", {}), **table}}


class DatasetEntry(Entry):
    """A dataset and its task."""

    task: str | None = None
    """None for the dataset's default task."""
    task_params: dict[str, JsonValue] = {}
    """In TOML, the other keys of a table given as `task`."""


class StrategyEntry(Entry):
    """A strategy with its own label and training settings."""

    label: Text | None = None
    """Label of its row; None for its name."""
    train: dict[str, JsonValue] = {}
    """Training settings for this strategy only."""


class ExperimentSpec(Record):
    """An experiment: a question and the settings to answer it."""

    name: str
    question: str = Field("", description="the question that the table answers, in words")
    model: Entry | None = Field(None, description="base model; blank: the default model")
    stages: tuple[DatasetEntry, ...] = Field((), description="datasets to tune on, in order")
    watch: tuple[DatasetEntry, ...] = Field((), description="datasets measured before and after tuning, never tuned on")
    strategies: tuple[StrategyEntry, ...] = Field((), description="strategies to compare; blank: the default ones")
    seeds: tuple[NonNegativeInt, ...] = Field(
        (0, 1, 2), min_length=1, description="seeds; every arm has one run per seed"
    )
    metrics: tuple[str, ...] = Field((), description="metrics to show; blank: those of the task")
    reference: str | None = Field(None, description="label of the reference arm, which the others are compared with")
    train: dict[str, JsonValue] = Field({}, description="training settings for every arm")
    looks: tuple[PositiveInt, ...] = Field(
        (),
        description="numbers of seeds at which you look at the verdicts before you add more, such as [3, 5, 10]; blank: one look",
    )
    margin: float | None = Field(
        None, gt=0, description="equivalence margin: two arms that differ by less are equivalent; blank: none"
    )
    tune: PositiveInt | str | None = Field(
        None,
        description="budget of each arm's hyperparameter search on validation: trials, or device time such as '20m'",
    )
    repeat: PositiveInt = Field(
        1, description="number of runs of each arm's first seed, to measure run-to-run variation"
    )

    @model_validator(mode="after")
    def _no_seed_twice(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            message = f"duplicate seed: {list(self.seeds)}"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _a_planned_look(self) -> Self:
        if self.looks and (list(self.looks) != sorted(set(self.looks)) or min(self.looks) < 2):
            message = f"looks must be ascending numbers of seeds from 2, such as [3, 5, 10], not {list(self.looks)}"
            raise ValueError(message)
        if self.looks and len(self.seeds) not in self.looks:
            message = f"looks are planned with {', '.join(map(str, self.looks))} seeds, but there are {len(self.seeds)}"
            raise ValueError(message)
        return self


FILES = (".toml", ".yaml", ".yml", ".json")
"""Suffixes of experiment files; a `.json` file can also be data."""


def is_experiment(path: Path) -> bool:
    """Return whether a path is that of an experiment file, which need not exist: a `.json` file is one if it has stages."""
    if path.suffix.lower() != ".json":
        return path.suffix.lower() in FILES
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(table, dict) and "stages" in table


def read_spec(path: Path) -> ExperimentSpec:
    """Return the experiment in a TOML, YAML or JSON file; its default name is the name of the file.

    Raises:
        HarnessError: The file is missing, is not of its format, or has an unknown or mistyped setting.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        message = f"no experiment file {str(path)!r}"
        raise HarnessError(message) from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"experiment file {str(path)!r} cannot be read: {error}"
        raise HarnessError(message) from None
    table = _parse(path, text)
    if not isinstance(table, dict):
        message = (
            f"{path}: an experiment file is a table of settings, such as 'seeds: [0, 1]', not {type(table).__name__}"
        )
        raise HarnessError(message)
    return make_spec({"name": path.stem, **table}, where=str(path))


def _parse(path: Path, text: str) -> Any:
    import yaml

    suffix = path.suffix.lower()
    try:
        if suffix == ".json":
            return json.loads(text)
        return yaml.safe_load(text) if suffix in {".yaml", ".yml"} else tomllib.loads(text)
    except (tomllib.TOMLDecodeError, json.JSONDecodeError, yaml.YAMLError) as error:
        format_ = {".json": "JSON", ".yaml": "YAML", ".yml": "YAML"}.get(suffix, "TOML")
        message = f"{path}: not valid {format_}: {' '.join(str(error).split())}"
        raise HarnessError(message) from None


def make_spec(table: Mapping[str, Any], where: str) -> ExperimentSpec:
    """Return the checked experiment.

    Raises:
        HarnessError: A setting is unknown or mistyped; the message starts with `where`.
    """
    try:
        return ExperimentSpec(**table)
    except ValidationError as error:
        raise HarnessError(explain(error, ExperimentSpec, where)) from None


def with_overrides(spec: ExperimentSpec, options: Sequence[str]) -> ExperimentSpec:
    """Return the experiment with `NAME.KEY=VALUE` options applied.

    NAME is `train`, `model`, the label or name of a strategy, or the name of a dataset or of the model. VALUE is read as
    TOML, or as a plain string if it is not TOML; an empty VALUE means blank. `train` settings given here apply to every arm.
    `DATASET.task=NAME` sets the task of a dataset, `DATASET.task.KEY=VALUE` a setting of that task. Several values of a
    strategy's setting, separated by commas, make an arm of each: `lora.rank=4,16`.

    Raises:
        HarnessError: An option has another form, or NAME is not in the experiment.
    """
    for option in options:
        target, dot, rest = option.partition(".")
        key, equals, text = rest.partition("=")
        if not (target and dot and key and equals):
            message = f"option {option!r} is not of the form NAME.KEY=VALUE, such as train.epochs=2"
            raise HarnessError(message)
        value = toml_value(text)
        several = text.split(",") if isinstance(value, str) and value == text else [text]
        if len(several) > 1 and any(target in _handles(entry) for entry in spec.strategies):
            spec = _swept(spec, target, key, [part.strip() for part in several])
        else:
            spec = _override(spec, target, key, value)
    return spec


def entries_of(text: str) -> list[str | dict[str, JsonValue]]:
    """Return strategies named on the command line: `lora`, `lora,full`, or with settings, `lora:rank=4,alpha=8`.

    An entry with settings is labelled by them, so that the same strategy can be named several times.
    """
    found: list[str | dict[str, JsonValue]] = []
    for part in (part.strip() for part in text.split(",") if part.strip()):
        name, colon, setting = part.partition(":")
        if colon and "=" in setting:
            found.append({"name": name})
        else:
            setting = part
        last = found[-1] if found else None
        if "=" in setting and isinstance(last, dict):
            key, _, value = setting.partition("=")
            if key.startswith("train."):
                last["train"] = {
                    **cast("dict[str, JsonValue]", last.get("train", {})),
                    key.removeprefix("train."): toml_value(value),
                }
            else:
                last[key] = toml_value(value)
            last["label"] = f"{last.get('label', last['name'])} {key.removeprefix('train.')}={value}"
        else:
            found.append(part)
    return found


def _swept(spec: ExperimentSpec, target: str, key: str, values: Sequence[str]) -> ExperimentSpec:
    """Return the experiment with an arm for each value of a setting in place of each arm that has it."""

    def swept(entry: StrategyEntry) -> list[StrategyEntry]:
        if target not in _handles(entry):
            return [entry]
        short = key.removeprefix("train.")
        return [
            _with_setting(entry, key, toml_value(value)).model_copy(
                update={"label": f"{entry.label or entry.name} {short}={value}"}
            )
            for value in values
        ]

    return spec.model_copy(update={"strategies": tuple(one for entry in spec.strategies for one in swept(entry))})


def _with_setting(entry: StrategyEntry, key: str, value: JsonValue) -> StrategyEntry:
    if key.startswith("train."):
        return entry.model_copy(update={"train": {**entry.train, key.removeprefix("train."): value}})
    return entry.model_copy(update={"params": _put(entry.params, key, value)})


def toml_value(text: str) -> JsonValue:
    """Return a value parsed as TOML, or the text itself if it is not TOML; None, which TOML lacks, if empty."""
    if not text:
        return None
    try:
        value: JsonValue = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value


def parse_settings(text: str, where: str) -> dict[str, JsonValue]:
    """Return settings given as `KEY=VALUE,KEY=VALUE`.

    Raises:
        HarnessError: A part has another form; the message starts with `where`.
    """
    settings: dict[str, JsonValue] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            message = f"{where}: {part!r} is not of the form KEY=VALUE"
            raise HarnessError(message)
        settings[key.strip()] = toml_value(value)
    return settings


def with_limits(spec: ExperimentSpec, limits: Sequence[str]) -> ExperimentSpec:
    """Return the experiment with `split=rows` limits applied to every stage.

    Raises:
        HarnessError: A limit has another form.
    """
    table: dict[str, JsonValue] = {}
    for limit in (part for group in limits for part in group.split(",")):
        split, equals, count = limit.partition("=")
        if not equals or not count.isdigit():
            message = f"limit {limit!r} is not of the form SPLIT=ROWS, such as train=500"
            raise HarnessError(message)
        table[split.strip()] = int(count)
    if not table:
        return spec

    def limited(entry: DatasetEntry) -> DatasetEntry:
        old = entry.params.get("limit", {})
        return entry.model_copy(
            update={"params": {**entry.params, "limit": {**(old if isinstance(old, dict) else {}), **table}}}
        )

    return spec.model_copy(update={"stages": tuple(limited(entry) for entry in spec.stages)})


def with_folds(spec: ExperimentSpec, folds: int, *, seeds: bool) -> ExperimentSpec:
    """Return the experiment with cross-validation of every stage.

    Args:
        spec: The experiment.
        folds: Number of parts.
        seeds: Whether to have as many seeds, too.
    """
    stages = tuple(
        entry.model_copy(
            update={"params": {**{key: value for key, value in entry.params.items() if key != "draws"}, "folds": folds}}
        )
        for entry in spec.stages
    )
    return spec.model_copy(update={"stages": stages, **({"seeds": tuple(range(folds))} if seeds else {})})


def _override(spec: ExperimentSpec, target: str, key: str, value: JsonValue) -> ExperimentSpec:
    if target == "train":
        spec = spec.model_copy(update={"train": {**spec.train, key: value}})
        strategies = tuple(
            entry.model_copy(update={"train": {k: v for k, v in entry.train.items() if k != key}})
            for entry in spec.strategies
        )
        return spec.model_copy(update={"strategies": strategies})
    hit = False

    def put(entry: E) -> E:
        nonlocal hit
        if target not in _handles(entry):
            return entry
        hit = True
        if isinstance(entry, StrategyEntry):
            return cast("E", _with_setting(entry, key, value))
        if isinstance(entry, DatasetEntry) and key == "task":
            return entry.model_copy(update={"task": value, "task_params": {}})
        if isinstance(entry, DatasetEntry) and key.startswith("task."):
            params = _put(entry.task_params, key.removeprefix("task."), value)
            return entry.model_copy(update={"task_params": params})
        return entry.model_copy(update={"params": _put(entry.params, key, value)})

    groups: dict[str, Any] = {
        name: tuple(put(entry) for entry in getattr(spec, name)) for name in ("stages", "watch", "strategies")
    }
    groups["model"] = put(spec.model) if spec.model else None
    if target == "model" and spec.model and not hit:
        hit, groups["model"] = True, spec.model.model_copy(update={"params": _put(spec.model.params, key, value)})
    if not hit:
        entries = [*spec.stages, *spec.watch, *spec.strategies, *([spec.model] if spec.model else [])]
        raise unknown(
            "target of an option", target, {"train", *(name for entry in entries for name in _handles(entry))}
        )
    return spec.model_copy(update=groups)


def _handles(entry: Entry) -> set[str]:
    """Return the names by which an option can refer to an entry."""
    label = entry.label if isinstance(entry, StrategyEntry) else None
    return {entry.name, entry.name.partition(":")[0], *([label] if label else [])}


def _put(params: Mapping[str, JsonValue], key: str, value: JsonValue) -> dict[str, JsonValue]:
    first, dot, rest = key.partition(".")
    if not dot:
        return {**params, first: value}
    inner = params.get(first, {})
    return {**params, first: _put(inner if isinstance(inner, dict) else {}, rest, value)}
