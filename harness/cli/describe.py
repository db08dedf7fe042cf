"""`harness describe`: show a component's parameters and source."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.catalog import KINDS, PLURALS, explain, load_catalog
from harness.cli import options
from harness.cli.completion import kinds as kinds_of
from harness.contracts import Component
from harness.errors import HarnessError, unknown
from harness.records import TrainConfig

_TRAIN = "train"


def describe(
    kind: Annotated[str, typer.Argument(help=f"{', '.join(KINDS)}, or train.", autocompletion=kinds_of)],
    name: Annotated[str | None, typer.Argument(help="Name of the component.", show_default=False)] = None,
    without: options.Without = None,
) -> None:
    """Show a component: its description, its parameters with types, defaults and help, and its source.

    `harness describe train` shows the training settings.
    """
    console = Console(highlight=False)
    if kind == _TRAIN:
        console.print(f"[bold]train[/bold]  {escape(TrainConfig.__doc__ or '')}\nset with -o train.KEY=VALUE\n")
        console.print(_parameters(TrainConfig.model_fields))
        return
    kinds = {**{word: word for word in KINDS}, **{plural: word for word, plural in PLURALS.items()}}
    if kind not in kinds:
        raise unknown("kind", kind, [*KINDS, _TRAIN])
    if name is None:
        message = f"the name of a {kinds[kind]} is missing: see harness list {PLURALS[kinds[kind]]}"
        raise HarnessError(message)
    catalog = load_catalog(without or ())
    base: Any = KINDS[kinds[kind]]
    called, colon, text = name.partition(":")
    component = catalog.find(base, called)
    offer = catalog.offers[kinds[kind]][called]
    argument = text if colon else None
    made = _made(component, argument, f"{kinds[kind]} {name!r}")
    console.print(f"[bold]{kinds[kind]} {escape(name)}[/bold]  version {component.version}\n")
    paragraphs = component.about(argument).split("\n\n")
    console.print(escape("\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)) + "\n")
    settings = component.settings(argument)
    console.print(_parameters(settings) if settings else "no parameters")
    for title, value in _class_facts(component, made):
        console.print(f"{title}: {escape(value)}")
    console.print(
        f"source: {escape(str(inspect.getsourcefile(component)))}, plugin {offer.plugin} of {offer.distribution}"
    )


def _made(component: type[Component], argument: str | None, where: str) -> Component | None:
    """Return the component with its defaults; None if it has required parameters.

    Raises:
        HarnessError: The argument after the colon is invalid.
    """
    try:
        given = {} if argument is None else component.parse_argument(argument)
    except ValueError as error:
        message = f"{where}: {error}"
        raise HarnessError(message) from None
    try:
        return component(**given)
    except ValidationError as error:
        if all(found["type"] == "missing" for found in error.errors()):
            return None
        raise HarnessError(explain(error, component, where)) from None


def _class_facts(component: type[Any], made: Component | None) -> list[tuple[str, str]]:
    """Return further facts: a strategy's training defaults, a metric's direction, ..."""
    facts = []
    training = getattr(made, "training", None)
    if defaults := training([]) if training else getattr(component, "defaults", None):
        facts.append(("training defaults", ", ".join(f"{key}={value}" for key, value in defaults.items())))
    for key in ("better", "unit", "role", "task", "watch_task", "suffix"):
        value = getattr(component, key, None)
        facts += [(key.replace("_", " "), str(value))] if value else []
    if metrics := getattr(component, "metrics", None):
        facts.append(("metrics", ", ".join(metrics)))
    return facts


def _parameters(settings: Mapping[str, FieldInfo]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("parameter", "type", "default", "help"):
        grid.add_column(title, overflow="fold")
    for name, info in settings.items():
        grid.add_row(name, escape(_type(info.annotation)), escape(_default(info)), escape(info.description or ""))
    return grid


def _type(annotation: object) -> str:
    """Return a type as it is written in Python, without constraints."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0])
    if origin in {Union, UnionType}:
        return " | ".join(_type(part) for part in parts)
    if origin is Literal:
        return " | ".join(repr(part) for part in parts)
    if isinstance(annotation, type) and not parts:
        return "None" if annotation is type(None) else annotation.__name__
    if isinstance(origin, type) and parts:
        return f"{origin.__name__}[{', '.join('...' if part is ... else _type(part) for part in parts)}]"
    return str(annotation).replace("typing.", "")


def _default(info: FieldInfo) -> str:
    if info.default is PydanticUndefined:
        return "(required)"
    return "-" if info.default is None else str(info.default)
