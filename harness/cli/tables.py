"""Printing and keeping a table; shared by the commands that end in one."""

from __future__ import annotations

import re
import sys

from harness.analysis.comparison import Scope
from harness.catalog import Catalog
from harness.contracts import Reporter
from harness.experiment.plan import Plan
from harness.store import Store, write_atomically
from harness.tables.table import tabulate

_KEPT = "markdown"


def show_table(
    plan: Plan, store: Store, catalog: Catalog, reporter: str, scope: Scope = "comparison", price: float | None = None
) -> None:
    """Print the table of what is stored of a plan, and keep it for people to read once every run is finished."""
    table = tabulate(plan, store, catalog, scope, price)
    # Written as UTF-8 wherever it goes: an arrow must not end a command whose locale cannot show it.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    sys.stdout.write(catalog.make(Reporter, reporter, {}).render(table))
    rows = [row for part in (table, *table.others) for row in part.rows]
    if sum(len(row.runs) for row in rows) == sum(len(arm.runs) for arm in plan.arms):
        name = kept_name(table.title if scope == "comparison" else f"{table.title}-{scope}")
        if scope == "comparison" and price is None:
            write_atomically(store.root / "reports" / f"{name}.json", table.model_dump_json(indent=1) + "\n")
        cls = catalog.offers["reporter"].get(_KEPT)
        if cls is not None:
            keeper = catalog.make(Reporter, _KEPT, {})
            write_atomically(store.root / "reports" / f"{name}{keeper.suffix}", keeper.render(table))


def kept_name(title: str) -> str:
    """Return the name of the files that keep a table of this title."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", title).strip(".-") or "table"
