"""`harness list`: list the components of the installed plugins."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from pydantic import ValidationError

from harness.catalog import KINDS, PLURALS, load_catalog
from harness.cli import options
from harness.cli.completion import kinds as kinds_of
from harness.contracts import Component
from harness.errors import unknown

_OWN = "finetune-harness"
"""The distribution whose name is not shown."""


def list_components(
    kind: Annotated[
        str | None, typer.Argument(help=f"One kind: {', '.join(PLURALS.values())}.", autocompletion=kinds_of)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Output as JSON.")] = False,
    without: options.Without = None,
) -> None:
    """List the installed components: models, datasets, tasks, strategies, metrics, reporters, executors and trackers."""
    catalog = load_catalog(without or ())
    kinds = list(KINDS) if kind is None else [_singular(kind)]
    rows = [
        {
            "kind": word,
            "name": called,
            "summary": text,
            "plugin": offer.plugin,
            "distribution": offer.distribution,
            "missing": missing(offer.component),
        }
        for word in kinds
        for name, offer in sorted(catalog.offers[word].items())
        for called, text in called_by(name, offer.component).items()
    ]
    if json_:
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        _print(rows)
    for state in catalog.states:
        if state.problem:
            sys.stderr.write(f"warning: plugin {state.name!r} ({state.distribution}) did not load: {state.problem}\n")


def summary(component: type[Component]) -> str:
    """Return the first line of a component's docstring."""
    return (component.__doc__ or "").strip().partition("\n")[0]


def called_by(name: str, component: type[Component]) -> dict[str, str]:
    """Return the names users can type for a component, each with its summary."""
    with_argument = {f"{name}:{argument}": text for argument, text in component.arguments.items()}
    return with_argument or {name: summary(component)}


def missing(component: type[Component]) -> str | None:
    """Return what must be installed to use a component; None if nothing, or if it has required parameters."""
    try:
        return component().missing()
    except ValidationError:
        return None


def _print(rows: list[dict[str, str | None]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("kind", no_wrap=True)
    grid.add_column("name", no_wrap=True)
    grid.add_column("description")
    previous = None
    for row in rows:
        if previous not in (None, row["kind"]):
            grid.add_section()
        text = Text(row["summary"] or "")
        if row["missing"]:
            text.append(f" (needs: {row['missing']})", style="yellow")
        if not (row["distribution"] or "").startswith(f"{_OWN} "):
            text.append(f" (from {row['distribution']})", style="cyan")
        grid.add_row(row["kind"] if row["kind"] != previous else "", row["name"], text)
        previous = row["kind"]
    Console(highlight=False).print(grid)


def _singular(word: str) -> str:
    for kind, plural in PLURALS.items():
        if word in (kind, plural):
            return kind
    raise unknown("kind", word, PLURALS.values())
