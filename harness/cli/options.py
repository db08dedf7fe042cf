"""Options shared by several commands, and the experiment they describe."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.completion import comparisons, names
from harness.records import LogLevel

ASK = "Experiment"
HOW = "Execution"

Target = Annotated[
    str | None,
    typer.Argument(
        help="Experiment file (.toml, .yaml, .json), data file with texts and labels, or name of a comparison.",
        autocompletion=comparisons,
        show_default=False,
    ),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset",
        "-d",
        autocompletion=names("dataset"),
        help="Dataset to tune on (repeatable, for a sequence).",
        rich_help_panel=ASK,
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        autocompletion=names("model"),
        help="Base model: name, folder or hub:id@revision.",
        rich_help_panel=ASK,
    ),
]
Strategies = Annotated[
    list[str] | None,
    typer.Option(
        "--strategy",
        "-s",
        autocompletion=names("strategy"),
        help="Strategy to compare: NAME or NAME:KEY=VALUE,KEY=VALUE (repeatable).",
        rich_help_panel=ASK,
    ),
]
Watch = Annotated[
    list[str] | None,
    typer.Option(
        "--watch",
        "-w",
        autocompletion=names("dataset"),
        help="Dataset to watch for forgetting (repeatable); 'none' disables watching.",
        rich_help_panel=ASK,
    ),
]
Seeds = Annotated[str | None, typer.Option(help="Seeds, such as 0,1,2.", rich_help_panel=ASK)]
Limit = Annotated[
    list[str] | None, typer.Option(help="Maximum rows per split, such as train=500,test=1000.", rich_help_panel=ASK)
]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", autocompletion=names("metric"), help="Metric to show (repeatable).", rich_help_panel=ASK),
]
Reference = Annotated[
    str | None,
    typer.Option(help="Label of the reference arm, which the others are compared with.", rich_help_panel=ASK),
]
TextColumn = Annotated[str | None, typer.Option("--text", help="Text column of the data file.", rich_help_panel=ASK)]
LabelColumn = Annotated[str | None, typer.Option("--label", help="Label column of the data file.", rich_help_panel=ASK)]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        help="Any setting: train.epochs=2, or NAME.KEY=VALUE for a named dataset, model or strategy; lora.rank=4,16 makes "
        "an arm of each value (repeatable).",
        rich_help_panel=ASK,
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(
        help="Equivalence margin: two strategies that differ by less are shown as equivalent.",
        rich_help_panel=ASK,
    ),
]
Tune = Annotated[
    str | None,
    typer.Option(
        help="Hyperparameter search on validation, for each strategy: trials, such as 8, or device time, such as 20m.",
        rich_help_panel=ASK,
    ),
]
Looks = Annotated[
    str | None,
    typer.Option(
        help="Numbers of seeds at which you look at the verdicts before you add more, such as 3,5,10.",
        rich_help_panel=ASK,
    ),
]
Folds = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Cross-validation instead of one test split: number of parts; each seed tests on one.",
        rich_help_panel=ASK,
    ),
]
Name = Annotated[
    str | None,
    typer.Option(
        help="Name of the comparison, by which other commands find it; default: file and digest.", rich_help_panel=ASK
    ),
]
Repeat = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of runs of each strategy's first seed, to measure run-to-run variation.",
        rich_help_panel=ASK,
    ),
]
Price = Annotated[
    str | None,
    typer.Option(help="Device price per hour, such as 2.50/h; adds the cost of tuning.", rich_help_panel=HOW),
]
Results = Annotated[Path, typer.Option(help="Results folder.", envvar="HARNESS_RESULTS", rich_help_panel=HOW)]
Without = Annotated[list[str] | None, typer.Option(help="Plugin to leave out (repeatable).", rich_help_panel=HOW)]
ExecutorName = Annotated[
    str | None,
    typer.Option(
        "--executor",
        autocompletion=names("executor"),
        help="Where runs are computed: NAME or NAME:KEY=VALUE,KEY=VALUE; see harness list executors.",
        rich_help_panel=HOW,
    ),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        autocompletion=names("tracker"),
        help="Tracker that is sent progress and results: NAME or NAME:KEY=VALUE; see harness list trackers (repeatable).",
        rich_help_panel=HOW,
    ),
]
LogMessages = Annotated[
    LogLevel,
    typer.Option(help="Messages of libraries that each run's worker.log has, from this level on.", rich_help_panel=HOW),
]
SHOW = "Output"
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        "-f",
        autocompletion=names("reporter"),
        help="Format: NAME or NAME:KEY=VALUE; see harness list reporters.",
        rich_help_panel=SHOW,
    ),
]
SHOW = "Output"
Columns = Annotated[
    str | None,
    typer.Option(help="Columns to show, by title or group, such as accuracy,forgetting,time.", rich_help_panel=SHOW),
]
AllColumns = Annotated[bool, typer.Option("--all", help="Show all columns.", rich_help_panel=SHOW)]
OutputFile = Annotated[
    Path | None,
    typer.Option("--output", "-O", help="File to write; its suffix gives the format.", rich_help_panel=SHOW),
]
PlotName = Annotated[
    str | None,
    typer.Option(
        help="Write a plot instead of the table: scores, pareto, forgetting, stages, curve or recall; see --output.",
        rich_help_panel=SHOW,
    ),
]
Texts = Annotated[
    bool, typer.Option("--texts/--no-texts", help="Show texts of the data in a page.", rich_help_panel=SHOW)
]
Notes = Annotated[bool, typer.Option("--notes", "-v", help="Show all notes.", rich_help_panel=SHOW)]


ASKED: Mapping[str, Any] = {
    "target": Target,
    "datasets": Datasets,
    "model": ModelName,
    "strategies": Strategies,
    "watch": Watch,
    "seeds": Seeds,
    "limit": Limit,
    "metrics": Metrics,
    "reference": Reference,
    "text": TextColumn,
    "label": LabelColumn,
    "options": Options,
    "tune": Tune,
    "repeat": Repeat,
    "margin": Margin,
    "folds": Folds,
    "looks": Looks,
    "name": Name,
}
"""The option for each field of `harness.experiment.asked.Asked`."""


def asking(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command whose parameter `asked` is replaced by the shared options of an experiment."""
    spread = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in ASKED.items()
    ]
    signature = inspect.signature(command, eval_str=True)
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if parameter.name != "asked"
    ]

    @functools.wraps(command)
    def gathered(**given: Any) -> None:
        from harness.experiment.asked import Asked  # not needed by the commands that take none of these options

        asked = Asked(**{parameter.name: given.pop(parameter.name) for parameter in spread})
        command(asked=asked.named_in(given["results"]) if "results" in given else asked, **given)

    gathered.__signature__ = signature.replace(parameters=[*spread, *own])  # type: ignore[attr-defined]
    gathered.__annotations__ = {parameter.name: parameter.annotation for parameter in [*spread, *own]}
    return gathered
