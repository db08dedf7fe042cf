"""`harness verify`: check a table against its stored runs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import typer
from pydantic import ValidationError

from harness.api import open_results
from harness.catalog import Catalog, load_catalog
from harness.cli import options
from harness.errors import HarnessError
from harness.experiment.asked import Asked
from harness.experiment.search import settle
from harness.reports import Table
from harness.store import Store, file_name
from harness.tables.evidence import Verified, unpack
from harness.tables.evidence import verify as recompute


@options.asking
def verify(asked: Asked, results: options.Results = Path("results"), without: options.Without = None) -> None:
    """Recompute every cell of a comparison's table from stored predictions, and list differences and changed files.

    Takes the same arguments as `compare`, or a file written by `harness bundle`. Exits with status 1 on any difference.
    """
    catalog = load_catalog(without or ())
    if asked.target is not None and asked.target.lower().endswith(".zip"):
        found = _bundle(Path(asked.target), catalog)
    else:
        store = open_results(results)
        plan = settle(asked.plan(catalog), store, catalog)
        found = recompute(plan, store, catalog, _kept(store, plan.name))
    if _show(found):
        raise typer.Exit(1)


def _bundle(path: Path, catalog: Catalog) -> Verified:
    if not path.is_file():
        message = f"no file {str(path)!r}"
        raise HarnessError(message)
    with tempfile.TemporaryDirectory() as folder:
        held = unpack(path, Path(folder))
        return recompute(held.plan, held.store, catalog, held.table)


def _kept(store: Store, title: str) -> Table | None:
    path = store.root / "reports" / f"{file_name(title)}.json"
    if not path.is_file():
        return None
    try:
        return Table.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError):
        message = f"{str(path)!r} is not a table written by harness: run harness report to write it again"
        raise HarnessError(message) from None


def _show(found: Verified) -> bool:
    """Print the findings; return whether anything is wrong."""
    parts = [f"{found.sound} intact"]
    parts += [f"{found.unsealed} readable (stored without hashes by an earlier version)"] * bool(found.unsealed)
    parts += [f"{found.missing} not finished"] * bool(found.missing)
    parts += [f"{len(found.damaged)} damaged"] * bool(found.damaged)
    total = found.sound + found.unsealed + found.missing + len(found.damaged)
    sys.stdout.write(f"runs: {total}: {', '.join(parts)}\n")
    for told in found.damaged:
        sys.stdout.write(f"  {told}\n")
    if found.differing is None:
        sys.stdout.write(
            f"cells: {found.cells} recomputed; no saved table to compare with (harness report saves one)\n"
        )
    elif not found.differing:
        sys.stdout.write(f"cells: {found.cells} recomputed, all equal to the saved table\n")
    else:
        sys.stdout.write(f"cells: {found.cells} recomputed; {len(found.differing)} differ from the saved table:\n")
        for told in found.differing:
            sys.stdout.write(f"  {told}\n")
    return bool(found.damaged or found.differing)
