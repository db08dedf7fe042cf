"""`harness describe`: a component's parameters and source."""

from __future__ import annotations

import inspect
import textwrap
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.catalog import KINDS, PLURALS, load_catalog
from harness.cli import options
from harness.errors import HarnessError, unknown
from harness.records import TrainConfig

_TRAIN = "train"


def describe(
    kind: Annotated[str, typer.Argument(help="model, dataset, task, strategy, metric, reporter, or train.")],
    name: Annotated[str | None, typer.Argument(help="Which one.", show_default=False)] = None,
    without: options.Without = None,
) -> None:
    """Show what a component is, its parameters with types, defaults and help, and where it comes from.

    `harness describe train` shows the training settings.
    """
    console = Console(highlight=False)
    if kind == _TRAIN:
        console.print(f"[bold]train[/bold]  {escape(TrainConfig.__doc__ or '')}\nset with -o train.KEY=VALUE\n")
        console.print(_parameters(TrainConfig))
        return
    kinds = {**{word: word for word in KINDS}, **{plural: word for word, plural in PLURALS.items()}}
    if kind not in kinds:
        raise unknown("kind", kind, [*KINDS, _TRAIN])
    if name is None:
        message = f"describe which {kinds[kind]}? harness list {PLURALS[kinds[kind]]} names them"
        raise HarnessError(message)
    catalog = load_catalog(without or ())
    base: Any = KINDS[kinds[kind]]
    component = catalog.find(base, name)
    offer = catalog.offers[kinds[kind]][name]
    console.print(f"[bold]{kinds[kind]} {name}[/bold]  version {component.version}\n")
    console.print(escape(textwrap.dedent(inspect.cleandoc(component.__doc__ or ""))) + "\n")
    if component.model_fields:
        console.print(_parameters(component))
    else:
        console.print("no parameters")
    for title, value in _class_facts(component):
        console.print(f"{title}: {escape(value)}")
    console.print(
        f"source: {escape(str(inspect.getsourcefile(component)))}, plugin {offer.plugin} of {offer.distribution}"
    )


def _class_facts(component: type[Any]) -> list[tuple[str, str]]:
    """Return what the class itself says: a strategy's training defaults, a metric's direction, ..."""
    facts = []
    if defaults := getattr(component, "defaults", None):
        facts.append(("training defaults", ", ".join(f"{key}={value}" for key, value in defaults.items())))
    for key in ("better", "unit", "role", "task", "watch_task", "suffix"):
        value = getattr(component, key, None)
        facts += [(key.replace("_", " "), str(value))] if value else []
    if metrics := getattr(component, "metrics", None):
        facts.append(("metrics", ", ".join(metrics)))
    return facts


def _parameters(cls: type[BaseModel]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("parameter", "type", "default", "help"):
        grid.add_column(title, overflow="fold")
    for name, info in cls.model_fields.items():
        grid.add_row(name, escape(_type(info)), escape(_default(info)), escape(info.description or ""))
    return grid


def _type(info: FieldInfo) -> str:
    annotation = info.annotation
    text = (
        annotation.__name__ if isinstance(annotation, type) and not hasattr(annotation, "__args__") else str(annotation)
    )
    return text.replace("typing.", "").replace("NoneType", "None")


def _default(info: FieldInfo) -> str:
    if info.default is PydanticUndefined:
        return "(needed)"
    return "-" if info.default is None else str(info.default)
