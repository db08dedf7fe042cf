"""What a user asks for: an experiment file, or the same thing from flags.

    question = "..."
    model = "..."
    stages = [{ dataset = "...", limit = { train = 1000 } }]
    watch = ["..."]
    strategies = ["...", { name = "...", rank = 16, label = "rank 16" }]
    seeds = [0, 1, 2]
    train = { epochs = 3 }

A component is named by a string (`"name"`, `"name:argument"`, or a path some component opens) or by a table whose other
keys are its parameters.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import Field, JsonValue, NonNegativeInt, PositiveInt, ValidationError, model_validator

from harness.catalog import explain
from harness.errors import HarnessError, unknown
from harness.records import Record

E = TypeVar("E", bound="Entry")


class Entry(Record):
    """A component as the user names it."""

    name: str
    params: dict[str, JsonValue] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_toml(cls, value: Any) -> Any:  # whatever TOML holds
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
    """A dataset, and what is made of it."""

    task: str | None = None
    """None for the dataset's own."""
    task_params: dict[str, JsonValue] = {}
    """In TOML, the other keys of a table given as `task`."""


class StrategyEntry(Entry):
    """A strategy, and what goes with it alone."""

    label: str | None = None
    """What its row is called; None for its name."""
    train: dict[str, JsonValue] = {}
    """Training settings for it alone."""


class ExperimentSpec(Record):
    """One question and how to ask it."""

    name: str
    question: str = Field("", description="what the table is to answer, in words")
    model: Entry | None = Field(None, description="the base model; blank: the default one")
    stages: tuple[DatasetEntry, ...] = Field((), description="datasets to tune on, in order")
    watch: tuple[DatasetEntry, ...] = Field((), description="datasets measured before and after, never tuned on")
    strategies: tuple[StrategyEntry, ...] = Field((), description="what is compared; blank: the default ones")
    seeds: tuple[NonNegativeInt, ...] = Field((0, 1, 2), min_length=1, description="one run of every arm for each")
    metrics: tuple[str, ...] = Field((), description="score columns; blank: the task's own")
    reference: str | None = Field(None, description="label of the arm the others are compared with")
    train: dict[str, JsonValue] = Field({}, description="training settings for every arm")
    margin: float | None = Field(
        None, gt=0, description="difference within which two arms are as good as each other; blank: none"
    )
    tune: PositiveInt | str | None = Field(
        None, description="trials, or device time such as '20m', in which each arm's settings are chosen on validation"
    )
    repeat: PositiveInt = Field(
        1, description="times each arm's first seed is run, to see how much a run differs from itself"
    )

    @model_validator(mode="after")
    def _no_seed_twice(self) -> Self:
        if len(set(self.seeds)) < len(self.seeds):
            message = f"a seed stands twice: {list(self.seeds)}"
            raise ValueError(message)
        return self


def read_spec(path: Path) -> ExperimentSpec:
    """Return the experiment a TOML file describes; its name is the file's.

    Raises:
        HarnessError: The file is missing, is not TOML, or has an unknown or mistyped setting.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        message = f"no experiment file {str(path)!r}"
        raise HarnessError(message) from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"experiment file {str(path)!r} cannot be read: {error}"
        raise HarnessError(message) from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = f"{path}: not valid TOML: {error}"
        raise HarnessError(message) from None
    return make_spec({"name": path.stem, **table}, where=str(path))


def make_spec(table: Mapping[str, Any], where: str) -> ExperimentSpec:
    """Return the checked experiment.

    Raises:
        HarnessError: A setting is unknown or mistyped; `where` begins the message.
    """
    try:
        return ExperimentSpec(**table)
    except ValidationError as error:
        raise HarnessError(explain(error, ExperimentSpec, where)) from None


def with_overrides(spec: ExperimentSpec, options: Sequence[str]) -> ExperimentSpec:
    """Return the experiment with `NAME.KEY=VALUE` options put in.

    NAME is `train`, `model`, the label or name of a strategy, or the name of a dataset or of the model; VALUE is read as TOML, and
    as a plain string where it is none. `train` settings given here hold for every arm; `DATASET.task=NAME` is what is made of
    a dataset, `DATASET.task.KEY=VALUE` a setting of that. No VALUE is blank.

    Raises:
        HarnessError: An option has another form, or names nothing in the experiment.
    """
    for option in options:
        target, dot, rest = option.partition(".")
        key, equals, text = rest.partition("=")
        if not (target and dot and key and equals):
            message = f"option {option!r} is not of the form NAME.KEY=VALUE, such as train.epochs=2"
            raise HarnessError(message)
        spec = _override(spec, target, key, toml_value(text))
    return spec


def toml_value(text: str) -> JsonValue:
    """Return a value as TOML reads it, or the text itself where it is not TOML; None, which TOML lacks, for no text."""
    if not text:
        return None
    try:
        value: JsonValue = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value


def with_limits(spec: ExperimentSpec, limits: Sequence[str]) -> ExperimentSpec:
    """Return the experiment with `split=rows` limits put on every stage.

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
        if isinstance(entry, StrategyEntry) and key.startswith("train."):
            return entry.model_copy(update={"train": {**entry.train, key.removeprefix("train."): value}})
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
    """Return the names by which an option may mean an entry."""
    label = entry.label if isinstance(entry, StrategyEntry) else None
    return {entry.name, entry.name.partition(":")[0], *([label] if label else [])}


def _put(params: Mapping[str, JsonValue], key: str, value: JsonValue) -> dict[str, JsonValue]:
    first, dot, rest = key.partition(".")
    if not dot:
        return {**params, first: value}
    inner = params.get(first, {})
    return {**params, first: _put(inner if isinstance(inner, dict) else {}, rest, value)}
