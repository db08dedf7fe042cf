"""`harness ls`: list the comparisons and runs of a results folder."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.analysis.names import called
from harness.api import open_results
from harness.cli import options
from harness.cli.completion import comparisons
from harness.errors import HarnessError
from harness.experiment.comparisons import Kept, kept
from harness.experiment.stored import StoredRun, stored_runs
from harness.quantities import write_size


def ls(
    name: Annotated[
        str | None,
        typer.Argument(autocompletion=comparisons, help="Show only the runs of this comparison.", show_default=False),
    ] = None,
    results: options.Results = Path("results"),
    runs: Annotated[bool, typer.Option("--runs", help="List runs instead of comparisons.")] = False,
    status: Annotated[
        str | None, typer.Option(help="Only runs with this status: done, failed, lost, ... or unfinished.")
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="Only runs of this strategy.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Output as JSON.")] = False,
) -> None:
    """List the comparisons in the results folder, or with `--runs` its runs."""
    store = open_results(results)
    found = list(kept(store))
    if name is not None and name not in {one.name for one in found}:
        message = f"no comparison {name!r} in {str(results)!r}: harness ls lists them"
        raise HarnessError(message)
    if not runs and name is None and (status or strategy):
        message = "--status and --strategy choose runs: add --runs"
        raise HarnessError(message)
    there = list(stored_runs(store))
    if runs or name is not None:
        rows = _runs(there, found, name, status, strategy)
    else:
        rows = [_comparison(one, {run.id: run for run in there}) for one in found]
    if json_:
        sys.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    elif rows:
        _print(rows)
    else:
        sys.stdout.write(f"nothing found in {str(results)!r}\n")


def _comparison(one: Kept, there: Mapping[str, StoredRun]) -> dict[str, Any]:
    states = Counter(
        there[run.id].status if run.id in there else "missing"
        for run in {run.id: run for _, run in one.plan.runs}.values()
    )
    stages = one.plan.arms[0].runs[0].stages
    return {
        "comparison": one.name,
        "data": ", ".join(called(stage.dataset) for stage in stages),
        "model": one.plan.arms[0].runs[0].model.name,
        "arms": [arm.label for arm in one.plan.arms],
        "seeds": len(one.plan.arms[0].runs),
        "runs": dict(sorted(states.items())),
        "changed": _when(one.changed),
    }


def _runs(
    there: Sequence[StoredRun], found: Sequence[Kept], name: str | None, status: str | None, strategy: str | None
) -> list[dict[str, Any]]:
    """Return the rows of the runs that are asked for."""
    used: dict[str, list[str]] = {}
    for one in found:
        for _, run in one.plan.runs:
            used.setdefault(run.id, []).append(one.name)
    return [
        {
            "run": run.id,
            "strategy": run.strategy,
            "place": run.folder.name,
            "status": run.status,
            "bytes": run.bytes,
            "comparisons": list(dict.fromkeys(used.get(run.id, []))),
        }
        for run in there
        if (name is None or name in used.get(run.id, []))
        and status in (None, run.status)
        and strategy in (None, run.strategy)
    ]


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().isoformat(" ", "minutes")[:16]


def _print(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for title in rows[0]:
        grid.add_column("size" if title == "bytes" else title, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(_text(title, value)) for title, value in row.items()))
    Console(highlight=False).print(grid)


def _text(title: str, value: Any) -> str:
    if title == "bytes":
        return write_size(value)
    if isinstance(value, dict):
        return ", ".join(f"{count} {status}" for status, count in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)
