"""Printing and saving a table; shared by the commands that produce one."""

from __future__ import annotations

import re
import sys

from harness.analysis.comparison import Scope
from harness.api import Comparison
from harness.catalog import Catalog
from harness.contracts import Reporter
from harness.errors import HarnessError
from harness.store import write_atomically


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


def show_table(comparison: Comparison, reporter: Reporter, scope: Scope = "comparison") -> None:
    """Print the table of a comparison, and save it if every run has finished."""
    plan, store, catalog = comparison.plan, comparison.store, comparison.catalog
    table = comparison.table(scope)
    # Always written as UTF-8: otherwise a locale that cannot encode an arrow would end the command.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    sys.stdout.write(reporter.render(table))
    rows = [row for part in (table, *table.others) for row in part.rows]
    if sum(len(row.runs) for row in rows) == sum(len(arm.runs) for arm in plan.arms):
        name = kept_name(table.title if scope == "comparison" else f"{table.title}-{scope}")
        if scope == "comparison" and comparison.price is None:
            write_atomically(store.root / "reports" / f"{name}.json", table.model_dump_json(indent=1) + "\n")
        for cls in catalog.every(Reporter):
            if cls.kept:
                text = catalog.make(Reporter, cls.name, {}).render(table)
                write_atomically(store.root / "reports" / f"{name}{cls.suffix}", text)


def kept_name(title: str) -> str:
    """Return the file name, without extension, for saved tables with this title."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", title).strip(".-") or "table"
