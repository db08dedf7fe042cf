"""Build the table of a comparison: arms as rows; score, forgetting and cost as groups of columns."""

from __future__ import annotations

from harness.analysis.comparability import listed
from harness.analysis.comparison import Analysis, Compared, Figure, Scope, analyse
from harness.catalog import Catalog
from harness.experiment.plan import Plan
from harness.records import Cell, Column, Row, Table
from harness.store import Store
from harness.tables.notes import notes
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


def make_table(analysis: Analysis) -> Table:
    """Return the table of a comparison; arms that cannot be compared with the first ones get separate tables."""
    first, *others = (_table(analysis, part) for part in analysis.parts)
    return first.model_copy(update={"others": tuple(others)})


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
