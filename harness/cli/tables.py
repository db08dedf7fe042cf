"""Printing and saving a table; shared by the commands that produce one."""

from __future__ import annotations

import sys
from typing import NamedTuple

from harness.analysis.comparison import Scope
from harness.api import Comparison
from harness.catalog import Catalog
from harness.contracts import Reporter
from harness.errors import HarnessError
from harness.records import Table
from harness.store import file_name, write_atomically
from harness.tables.table import with_columns


class View(NamedTuple):
    """What of a table is shown."""

    columns: str | None = None
    """Names of columns, separated by commas; None for those that the format shows by default."""
    everything: bool = False
    """Whether all columns are shown."""
    notes: bool = False
    """Whether all notes are shown."""

    def of(self, table: Table, reporter: Reporter) -> Table:
        """Return what a reporter is given of a table.

        Raises:
            HarnessError: A column does not exist.
        """
        if self.columns is not None:
            shown = with_columns(table, self.columns.split(","))
        elif reporter.brief and not self.everything and any(column.main for column in table.columns):
            shown = with_columns(table)
        else:
            shown = table
        return _with_all_notes(shown) if self.notes else shown


def _with_all_notes(table: Table) -> Table:
    return table.model_copy(update={"essentials": (), "others": tuple(map(_with_all_notes, table.others))})


def find_reporter(catalog: Catalog, name: str | None) -> Reporter:
    """Return the reporter with this name, or the default one.

    Raises:
        HarnessError: It does not exist.
    """
    if name is None:
        default = next((cls for cls in catalog.every(Reporter) if cls.default), None)
        if default is None:
            message = "no default reporter is installed: name one with --format"
            raise HarnessError(message)
        name = default.name
    return catalog.make(Reporter, name, {})


def write(table: Table, reporter: Reporter) -> None:
    """Print a table."""
    # Always written as UTF-8: otherwise a locale that cannot encode an arrow would end the command.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    sys.stdout.write(reporter.render(table))


def show_table(
    comparison: Comparison, reporter: Reporter, scope: Scope = "comparison", view: View | None = None
) -> None:
    """Print the table of a comparison, and save it if every run has finished."""
    plan, store, catalog = comparison.plan, comparison.store, comparison.catalog
    table = comparison.table(scope)
    write((view or View()).of(table, reporter), reporter)
    rows = [row for part in (table, *table.others) for row in part.rows]
    if sum(len(row.runs) for row in rows) == sum(len(arm.runs) for arm in plan.arms):
        name = file_name(table.title if scope == "comparison" else f"{table.title}-{scope}")
        if scope == "comparison" and comparison.price is None:
            write_atomically(store.root / "reports" / f"{name}.json", table.model_dump_json(indent=1) + "\n")
        for cls in catalog.every(Reporter):
            if cls.kept:
                text = catalog.make(Reporter, cls.name, {}).render(table)
                write_atomically(store.root / "reports" / f"{name}{cls.suffix}", text)
