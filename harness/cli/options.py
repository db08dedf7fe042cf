"""Options that several commands share, and the experiment they describe together."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from harness.catalog import Catalog
from harness.contracts import Dataset, Executor, Strategy
from harness.errors import HarnessError
from harness.experiment.plan import Plan, default_names, make_plan, opener
from harness.experiment.spec import (
    ExperimentSpec,
    StrategyEntry,
    make_spec,
    read_spec,
    toml_value,
    with_limits,
    with_overrides,
)
from harness.records import digest
from harness.store import Store

ASK = "What is asked"
HOW = "How it is run"

Target = Annotated[
    str | None,
    typer.Argument(help="An experiment file (.toml), or a data file of texts and labels.", show_default=False),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option("--dataset", "-d", help="Dataset to tune on; repeat for a sequence.", rich_help_panel=ASK),
]
ModelName = Annotated[
    str | None,
    typer.Option("--model", "-m", help="Base model: a name, a folder or hub:id@revision.", rich_help_panel=ASK),
]
Strategies = Annotated[
    list[str] | None, typer.Option("--strategy", "-s", help="Strategy to compare; repeat.", rich_help_panel=ASK)
]
Watch = Annotated[
    list[str] | None,
    typer.Option(
        "--watch", "-w", help="Dataset to watch for forgetting; repeat; 'none' for none.", rich_help_panel=ASK
    ),
]
Seeds = Annotated[str | None, typer.Option(help="Seeds, such as 0,1,2.", rich_help_panel=ASK)]
Limit = Annotated[
    list[str] | None, typer.Option(help="Rows kept of a split, such as train=500,test=1000.", rich_help_panel=ASK)
]
Metrics = Annotated[list[str] | None, typer.Option("--metric", help="Score to show; repeat.", rich_help_panel=ASK)]
Reference = Annotated[
    str | None, typer.Option(help="Label of the arm the others are compared with.", rich_help_panel=ASK)
]
TextColumn = Annotated[
    str | None, typer.Option("--text", help="Column of the text in a data file.", rich_help_panel=ASK)
]
LabelColumn = Annotated[
    str | None, typer.Option("--label", help="Column of the label in a data file.", rich_help_panel=ASK)
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        help="Any setting: train.epochs=2, or NAME.KEY=VALUE of what is named; repeat.",
        rich_help_panel=ASK,
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(
        help="Difference within which two strategies are as good as each other: shown as equivalent.",
        rich_help_panel=ASK,
    ),
]
Tune = Annotated[
    str | None,
    typer.Option(
        help="Choose each strategy's settings on validation: trials, such as 8, or device time, such as 20m.",
        rich_help_panel=ASK,
    ),
]
Repeat = Annotated[
    int | None,
    typer.Option(
        min=1, help="Runs of each strategy's first seed: how much a run differs from itself.", rich_help_panel=ASK
    ),
]
Price = Annotated[
    str | None,
    typer.Option(help="Money for an hour of a device, such as 2.50/h; shows what tuning took.", rich_help_panel=HOW),
]
Results = Annotated[Path, typer.Option(help="The results folder.", envvar="HARNESS_RESULTS", rich_help_panel=HOW)]
Without = Annotated[list[str] | None, typer.Option(help="Plugin to leave out; repeat.", rich_help_panel=HOW)]
ExecutorName = Annotated[
    str | None,
    typer.Option(
        "--executor",
        help="Where runs are computed: NAME, or NAME:KEY=VALUE,KEY=VALUE; harness list executors.",
        rich_help_panel=HOW,
    ),
]
Format = Annotated[str, typer.Option("--format", "-f", help="Reporter that prints the table.", rich_help_panel=HOW)]


@dataclass(frozen=True)
class Asked:
    """What the options of a command ask for; each field is one of them."""

    target: Target = None
    datasets: Datasets = None
    model: ModelName = None
    strategies: Strategies = None
    watch: Watch = None
    seeds: Seeds = None
    limit: Limit = None
    metrics: Metrics = None
    reference: Reference = None
    text: TextColumn = None
    label: LabelColumn = None
    options: Options = None
    tune: Tune = None
    repeat: Repeat = None
    margin: Margin = None

    def plan(self, catalog: Catalog) -> Plan:
        """Return the plan of what is asked.

        Raises:
            HarnessError: The options contradict each other or name something that is not there.
        """
        filed = self._filed()
        return make_plan(self.spec(catalog), catalog, named=bool(self.strategies or (filed and filed.strategies)))

    def spec(self, catalog: Catalog) -> ExperimentSpec:
        """Return the experiment: the file's, if there is one, with what the options add."""
        given = self._given(catalog)
        filed = self._filed()
        if filed is not None:
            if self.text or self.label:
                message = "--text and --label go with a data file, not with an experiment file"
                raise HarnessError(message)
            spec = make_spec({**filed.model_dump(exclude_unset=True), **given}, "options") if given else filed
            base = filed
        else:
            spec = base = make_spec({"name": self._name(), **self._defaults(catalog), **given}, "options")
        if self.options and not spec.strategies:
            # Named, so that an option can name one of them.
            named = tuple(StrategyEntry(name=name) for name in default_names(catalog, Strategy))
            spec = spec.model_copy(update={"strategies": named})
        spec = with_overrides(with_limits(spec, self.limit or ()), self.options or ())
        if spec == base and filed is not None:
            return spec
        # Another question must not take the place of the file's own table, nor one data file's that of another.
        return spec.model_copy(update={"name": f"{spec.name}-{digest(spec.model_dump(mode='json'))[:6]}"})

    def _filed(self) -> ExperimentSpec | None:
        """Return the experiment of the file that is named, if one is."""
        return read_spec(Path(self.target)) if self.target is not None and self.target.endswith(".toml") else None

    def _given(self, catalog: Catalog) -> dict[str, Any]:
        given = {
            "stages": [_named(catalog, name) for name in _split(self.datasets or ())],
            "model": self.model,
            "strategies": _split(self.strategies or ()),
            "seeds": _seeds(self.seeds) if self.seeds else None,
            "metrics": _split(self.metrics or ()),
            "reference": self.reference,
            "tune": self.tune,
            "repeat": self.repeat,
            "margin": self.margin,
        }
        given = {key: value for key, value in given.items() if value is not None and value != []}
        if self.watch:
            given["watch"] = [name for name in _split(self.watch) if name != "none"]
        return given

    def _defaults(self, catalog: Catalog) -> dict[str, Any]:
        """Return what a comparison without an experiment file starts from."""
        if self.target is not None and self.datasets:
            message = f"both a data file ({self.target!r}) and --dataset are given: name the data once"
            raise HarnessError(message)
        if self.target is None and not self.datasets:
            message = "nothing to compare on: give an experiment file, a data file, or --dataset"
            raise HarnessError(message)
        tuned_on = {name.partition(":")[0] for name in _split(self.datasets or ())}
        watch = [name for name in default_names(catalog, Dataset, "default_watch") if name not in tuned_on]
        defaults: dict[str, Any] = {"watch": watch}
        if self.target is not None:
            columns = {"text": self.text, "label": self.label}
            defaults["stages"] = [
                {
                    "dataset": f"{self._opener(catalog)}:{self.target}",
                    **{key: value for key, value in columns.items() if value is not None},
                }
            ]
        elif self.text or self.label:
            message = "--text and --label go with a data file: give its path first"
            raise HarnessError(message)
        return defaults

    def _opener(self, catalog: Catalog) -> str:
        """Return the name of the dataset that opens the data file."""
        found = opener(catalog, Dataset, str(self.target))
        if found is None:
            suffixes = {suffix for cls in catalog.every(Dataset) for suffix in cls.suffixes if suffix.startswith(".")}
            message = (
                f"{self.target!r} is neither an experiment file (.toml) nor a data file ({', '.join(sorted(suffixes))})"
            )
            raise HarnessError(message)
        return found.name

    def _name(self) -> str:
        if self.target is not None:
            return Path(self.target).stem
        return "-".join(name.partition(":")[0] for name in _split(self.datasets or ())) or "comparison"


def open_results(results: Path) -> Store:
    """Return the results folder that a command reads.

    Raises:
        HarnessError: There is none.
    """
    if not results.exists():
        message = f"no results folder {str(results)!r}: run harness compare first, or name another with --results"
        raise HarnessError(message)
    return Store(results)


def executor(catalog: Catalog, asked: str | None, flags: Mapping[str, Any], *, in_process: bool = False) -> Executor:
    """Return the executor that is asked for: by name with settings, or the default one.

    Args:
        catalog: Where executors are.
        asked: As `--executor` takes it.
        flags: Settings that have an option of their own; what is None or False was not given.
        in_process: Whether the one is asked for that computes in this process.

    Raises:
        HarnessError: There is none of that name, or it has no such setting.
    """
    if in_process and asked:
        message = f"--in-process and --executor {asked} exclude each other"
        raise HarnessError(message)
    name, _, text = (asked or "").partition(":")
    if not name:
        every = catalog.every(Executor)
        found = next((cls for cls in every if (cls.here if in_process else cls.default)), None)
        if found is None:
            message = (
                "no executor is installed that computes here" if in_process else "no default executor is installed"
            )
            raise HarnessError(f"{message}: name one with --executor")
        name = found.name
    settings: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            message = f"--executor {asked}: {part!r} is not of the form KEY=VALUE"
            raise HarnessError(message)
        settings[key] = toml_value(value)
    fields = catalog.find(Executor, name).model_fields
    for key, value in flags.items():
        if value in (None, False):
            continue
        if key not in fields:
            message = f"--{key.replace('_', '-')} cannot be used with executor {name!r}, which has no such setting"
            raise HarnessError(message)
        settings[key] = value
    return catalog.make(Executor, name, settings, "--executor: ")


def _named(catalog: Catalog, dataset: str) -> str:
    """Return a dataset as it is named; one that is a path by what opens it, so that options may name that."""
    found = opener(catalog, Dataset, dataset)
    return dataset if found is None else f"{found.name}:{dataset}"


def _split(values: Sequence[str]) -> list[str]:
    """Return names given one by one or with commas between them."""
    return [name.strip() for value in values for name in value.split(",") if name.strip()]


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        message = f"--seeds {text!r} is not a list of whole numbers, such as 0,1,2"
        raise HarnessError(message) from None


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose parameter `asked` is spread out into the options that say what is asked, the same for all."""
    hints = get_type_hints(Asked, include_extras=True)
    spread = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in dataclasses.fields(Asked)
    ]
    signature = inspect.signature(command, eval_str=True)
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if parameter.name != "asked"
    ]

    @functools.wraps(command)
    def gathered(**given: Any) -> None:
        asked = Asked(**{parameter.name: given.pop(parameter.name) for parameter in spread})
        command(asked=asked, **given)

    gathered.__signature__ = signature.replace(parameters=[*spread, *own])  # type: ignore[attr-defined]
    gathered.__annotations__ = {parameter.name: parameter.annotation for parameter in [*spread, *own]}
    return gathered
