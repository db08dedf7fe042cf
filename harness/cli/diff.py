"""`harness diff`: two comparisons side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.api import Comparison, load
from harness.catalog import load_catalog
from harness.cli import options
from harness.cli.completion import comparisons
from harness.cli.tables import Output, View, find_reporter, write
from harness.errors import HarnessError
from harness.experiment.asked import Asked
from harness.experiment.plan import Plan
from harness.reports import Row, Table
from harness.store import file_name

Name = Annotated[
    str,
    typer.Argument(autocompletion=comparisons, help="Experiment file, or name of a comparison.", show_default=False),
]


def diff(
    first: Name,
    second: Name,
    results: options.Results = Path("results"),
    format_: options.Format = None,
    output: options.OutputFile = None,
    columns: options.Columns = None,
    everything: options.AllColumns = False,
    notes: options.Notes = False,
    without: options.Without = None,
) -> None:
    """Show the arms that two comparisons have in common side by side: the second's verdicts are against the first's."""
    catalog = load_catalog(without or ())
    reporter = find_reporter(catalog, format_, output)
    one, two = (load(Asked(name).named_in(results), results, catalog) for name in (first, second))
    table = _side_by_side(one, two)
    place = results / "reports" / f"{file_name(table.title)}{reporter.suffix}"
    write(table, Output(reporter, View(columns, everything, notes), output), path=place)


def _side_by_side(one: Comparison, two: Comparison) -> Table:
    """Return a table with two rows for each common arm."""
    theirs = {arm.label: arm for arm in two.plan.arms}
    common = [arm.label for arm in one.plan.arms if arm.label in theirs]
    if not common:
        message = (
            f"{one.plan.name} and {two.plan.name} have no arm in common: {', '.join(arm.label for arm in one.plan.arms)} "
            f"against {', '.join(theirs)}"
        )
        raise HarnessError(message)
    names = [one.plan.name, two.plan.name] if one.plan.name != two.plan.name else ["first", "second"]
    tables = [Comparison(_pair(one.plan, two.plan, label, names), one.store, one.catalog).table() for label in common]
    apart = [
        f"{label}: cannot be compared: {table.others[0].question.removeprefix('Cannot be compared with the first table: ')}"
        for label, table in zip(common, tables, strict=True)
        if table.others
    ]
    return _stacked(tables, f"{names[0]} and {names[1]}", apart)


def _pair(one: Plan, two: Plan, label: str, names: list[str]) -> Plan:
    """Return a plan of the two arms with this label, of which the first is the reference."""
    arms = [next(arm for arm in plan.arms if arm.label == label) for plan in (one, two)]
    named = tuple(
        arm.model_copy(update={"label": f"{label}: {name}", "role": "contender"})
        for arm, name in zip(arms, names, strict=True)
    )
    return one.model_copy(
        update={"arms": named, "reference": named[0].label, "name": label, "question": "", "spec": None}
    )


def _stacked(tables: list[Table], title: str, apart: list[str]) -> Table:
    """Return the tables of several pairs as one, with the columns of the first and one list of footnotes."""
    columns = tables[0].columns
    footnotes: list[str] = []
    rows: list[Row] = []
    for table in tables:
        for part in (table, *table.others):
            found = {column.key: position for position, column in enumerate(part.columns)}
            for row in part.rows:
                cells = []
                for column in columns:
                    if column.key not in found:
                        cells.append(row.cells[0].model_copy(update={"text": "", "value": None}))
                        continue
                    cell = row.cells[found[column.key]]
                    if cell.note is not None:
                        text = part.footnotes[cell.note - 1]
                        if text not in footnotes:
                            footnotes.append(text)
                        cell = cell.model_copy(update={"note": footnotes.index(text) + 1})
                    cells.append(cell)
                rows.append(row.model_copy(update={"cells": tuple(cells), "role": "contender"}))
    promise = "verdicts compare the second of each pair with the first, at 95 % for each pair by itself"
    return Table(
        title=title, question="", columns=columns, rows=tuple(rows), footnotes=tuple(footnotes),
        about=(*apart, promise, *tables[0].about), essentials=(*apart, promise, *tables[0].essentials[1:]),
    )  # fmt: skip
