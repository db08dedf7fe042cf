"""Build the table of a comparison: arms as rows; score, forgetting and cost as groups of columns."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.comparability import listed
from harness.analysis.comparison import Analysis, Compared, Figure, Scope, analyse
from harness.catalog import Catalog
from harness.errors import unknown
from harness.experiment.plan import Plan
from harness.reports import Cell, Column, Row, Table
from harness.store import Store
from harness.tables.notes import essentials, notes
from harness.tables.writing import write_beside, write_value


def tabulate(
    plan: Plan,
    store: Store,
    catalog: Catalog,
    scope: Scope = "comparison",
    price: float | None = None,
    *,
    cached: bool = True,
) -> Table:
    """Return the table of a plan's stored runs; takes the arguments of `analyse`."""
    return make_table(analyse(plan, store, catalog, scope, price, cached=cached))


def make_table(analysis: Analysis, answer: Sequence[str] = ()) -> Table:
    """Return the table of a comparison; arms that cannot be compared with the first ones get separate tables.

    Args:
        analysis: The numbers.
        answer: The recommendation, in sentences.
    """
    first, *others = (_table(analysis, part) for part in analysis.parts)
    return first.model_copy(update={"answer": tuple(answer), "others": tuple(others)})


def with_columns(table: Table, wanted: Sequence[str] | None = None) -> Table:
    """Return the table with some of its columns, and the footnotes that they refer to.

    Args:
        table: The table.
        wanted: Keys, titles or groups of columns, in the order to show them; None for the main columns, of which a
            reporter can leave out those that do not fit.

    Raises:
        HarnessError: A column does not exist.
    """
    if wanted is None:
        chosen = [at for at, column in enumerate(table.columns) if column.main]
    else:
        everything = [column for part in (table, *table.others) for column in part.columns]
        for name in wanted:
            if not any(_is_called(column, name) for column in everything):
                names = dict.fromkeys(name for column in everything for name in (column.title, column.group))
                raise unknown("column", name, names)
        found = (at for name in wanted for at, column in enumerate(table.columns) if _is_called(column, name))
        chosen = list(dict.fromkeys(found))
    noted: dict[int, int] = {}
    rows = []
    for row in table.rows:
        cells = [row.cells[at] for at in chosen]
        for cell in cells:
            if cell.note is not None:
                noted.setdefault(cell.note, len(noted) + 1)
        renumbered = (
            cell if cell.note is None else cell.model_copy(update={"note": noted[cell.note]}) for cell in cells
        )
        rows.append(row.model_copy(update={"cells": tuple(renumbered)}))
    return table.model_copy(
        update={
            "columns": tuple(table.columns[at] for at in chosen),
            "rows": tuple(rows),
            "footnotes": tuple(table.footnotes[number - 1] for number in noted),
            "brief": wanted is None,
            "hidden": tuple(column.title for at, column in enumerate(table.columns) if at not in chosen),
            "others": tuple(with_columns(other, wanted) for other in table.others),
        }
    )


def _is_called(column: Column, name: str) -> bool:
    return name.strip().casefold() in {column.key.casefold(), column.title.casefold(), column.group.casefold()}


def _table(analysis: Analysis, part: Compared) -> Table:
    footnotes: list[str] = []
    plan = part.plan
    rows = tuple(
        Row(
            label=arm.label,
            role="reference"
            if arm.label == plan.reference
            else ("baseline" if arm.role == "baseline" else "contender"),
            cells=tuple(
                _cell(
                    measured.measure.column, measured.figures[arm.label], footnotes, interval=measured.measure.interval
                )
                for measured in part.measured
            ),
            runs=tuple(run.outcome.run_id for run in part.runs[arm.label]),
        )
        for arm in plan.arms
    )
    table = Table(
        title=plan.name,
        question=plan.question,
        columns=tuple(measured.measure.column for measured in part.measured),
        rows=rows,
        footnotes=tuple(footnotes),
        about=tuple(notes(analysis, part)),
        essentials=tuple(essentials(part)) if analysis.scope == "comparison" else (),
    )
    return table if part is analysis.parts[0] else _apart(table, part, analysis.parts[0])


def _apart(table: Table, part: Compared, first: Compared) -> Table:
    """Return the table of arms that cannot be compared with the first ones, with the reasons."""
    reasons = listed(f"{found.field} is {found.second} (first table: {found.first})" for found in part.part.apart)
    ids = [other.part.base[1].run.id for other in (first, part) if other.part.base]
    more = f"; run harness why {' '.join(ids)} for all differences" if len(ids) == 2 else ""
    return table.model_copy(
        update={
            "title": f"{table.title}: {', '.join(arm.label for arm in part.plan.arms)}",
            "question": f"Cannot be compared with the first table: {reasons}{more}.",
        }
    )


def _cell(column: Column, figure: Figure, footnotes: list[str], *, interval: bool) -> Cell:
    note = _footnote(footnotes, "; ".join(figure.reasons)) if figure.reasons else None
    if figure.mean is None:
        return Cell(text="", note=note)
    known = figure.judgement
    return Cell(
        text=write_value(column, figure.mean, figure.interval if interval else None),
        detail=write_beside(column, figure.beside),
        value=figure.mean,
        beside=dict(figure.beside),
        low=figure.interval.low if figure.interval else None,
        high=figure.interval.high if figure.interval else None,
        half_width=figure.interval.half_width if figure.interval else None,
        best=figure.best,
        verdict=known.verdict if known else None,
        difference=known.difference if known else None,
        difference_half_width=known.difference_half_width if known else None,
        p=known.p if known else None,
        dimmed=figure.within_noise,
        note=note,
    )


def _footnote(footnotes: list[str], text: str) -> int:
    if text not in footnotes:
        footnotes.append(text)
    return footnotes.index(text) + 1
