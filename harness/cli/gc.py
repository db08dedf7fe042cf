"""`harness gc` and `harness rm`: delete runs that nothing needs, and comparisons."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness.api import open_results
from harness.cli import options
from harness.cli.completion import comparisons
from harness.errors import HarnessError
from harness.experiment.comparisons import forget, kept
from harness.experiment.stored import StoredRun, remove, unneeded
from harness.quantities import write_size

_SHOWN = 10

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")]


def gc(
    results: options.Results = Path("results"),
    trials: Annotated[
        bool, typer.Option("--trials", help="Also the runs of hyperparameter searches, whose results stay.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Delete the runs that no comparison needs and no table names; lists them and asks first."""
    store = open_results(results)
    found = [run for run in unneeded(store) if trials or not run.trial]
    if not found:
        sys.stdout.write("nothing to delete: every run belongs to a comparison (harness ls) or to a saved table\n")
        return
    _delete(found, yes=yes)


def rm(
    name: Annotated[
        str, typer.Argument(autocompletion=comparisons, help="Name of the comparison; harness ls lists them.")
    ],
    results: options.Results = Path("results"),
    yes: Yes = False,
) -> None:
    """Delete a comparison, and those of its runs that no other comparison or table needs; asks first."""
    store = open_results(results)
    one = next((one for one in kept(store) if one.name == name), None)
    if one is None:
        message = f"no comparison {name!r} in {str(results)!r}: harness ls lists them"
        raise HarnessError(message)
    own = {run.id for _, run in one.plan.runs}
    found = [run for run in unneeded(store, without=name) if run.id in own]
    sys.stdout.write(
        f"{name}: {len(own)} runs, {len(own) - len(found)} of which stay for other comparisons or tables\n"
    )
    _delete(found, yes=yes)
    forget(name, store)


def _delete(found: Sequence[StoredRun], *, yes: bool) -> None:
    for run in found[:_SHOWN]:
        sys.stdout.write(f"  {run.folder.name} ({run.status}, {write_size(run.bytes)})\n")
    if len(found) > _SHOWN:
        sys.stdout.write(f"  and {len(found) - _SHOWN} more\n")
    if found and not yes:
        typer.confirm(f"Delete {len(found)} runs ({write_size(sum(run.bytes for run in found))})?", abort=True)
    busy = remove(found)
    sys.stdout.write(f"deleted {len(found) - len(busy)} runs\n")
    if busy:
        sys.stdout.write(f"left {len(busy)} that are being computed\n")
