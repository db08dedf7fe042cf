"""Printing and keeping a table; shared by the commands that end in one."""

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
    """Return the reporter of a name, or the default one.

    Raises:
        HarnessError: There is none.
    """
    if name is None:
        default = next((cls for cls in catalog.every(Reporter) if cls.default), None)
        if default is None:
            message = "no default reporter is installed: name one with --format"
            raise HarnessError(message)
        name = default.name
    return catalog.make(Reporter, name, {})


def show_table(comparison: Comparison, reporter: Reporter, scope: Scope = "comparison") -> None:
    """Print the table of a comparison, and keep it for people to read once every run is finished."""
    plan, store, catalog = comparison.plan, comparison.store, comparison.catalog
    table = comparison.table(scope)
    # Written as UTF-8 wherever it goes: an arrow must not end a command whose locale cannot show it.
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
    """Return the name of the files that keep a table of this title."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", title).strip(".-") or "table"
