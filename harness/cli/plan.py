"""`harness plan`: show which runs are planned, done and missing."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.analysis.comparison import analyse
from harness.catalog import load_catalog
from harness.cli import options
from harness.cli.estimate import estimates, show_estimates
from harness.errors import DamagedError, HarnessError
from harness.experiment.asked import Asked
from harness.experiment.plan import Plan
from harness.experiment.search import settle, unsettled
from harness.quantities import parse_price
from harness.records import Run
from harness.runner.examine import Examined
from harness.runner.executors import find_executor
from harness.runner.plans import Runner
from harness.runner.rehearse import rehearse_unknown
from harness.runner.understood import in_full, say
from harness.store import Store


@options.asking
def plan(
    asked: Asked,
    results: options.Results = Path("results"),
    estimate_: Annotated[
        bool,
        typer.Option(
            "--estimate",
            help="Estimate the cost of the missing runs, from stored runs of the same strategy or from trial runs.",
        ),
    ] = False,
    price: options.Price = None,
    json_: Annotated[bool, typer.Option("--json", help="Full output as JSON.")] = False,
    without: options.Without = None,
) -> None:
    """Show what `compare` would run with the same arguments: how it reads the data, and which runs are done.

    Reads the data but trains nothing, except for short trial runs with --estimate.
    """
    per_second = None if price is None else parse_price(price)
    if price is not None and not estimate_:
        message = "--price requires --estimate"
        raise HarnessError(message)
    catalog = load_catalog(without or ())
    planned = asked.plan(catalog)
    store = Store(results) if results.exists() or estimate_ else None
    if store:
        planned = settle(planned, store, catalog)
    with _store(store) as kept:
        runner = Runner(kept, catalog, find_executor(catalog, None, {}), say)
        runner.prepare(planned)
        examined = runner.examine(planned, leaks=False, fetch=False)
        reasons = rehearse_unknown(planned, runner) if estimate_ else {}
    states = {run.id: _state(store, run) for _, run in planned.runs}
    if json_:
        runs = [
            {"arm": arm.label, "id": run.id, "state": states[run.id], "run": run.model_dump(mode="json")}
            for arm, run in planned.runs
        ]
        body: dict[str, Any] = {
            "name": planned.name,
            "question": planned.question,
            "reference": planned.reference,
            "runs": runs,
            "data": [data.model_dump(mode="json") for data in examined.data],
            "notes": list(examined.notes),
        }
        if estimate_ and store:
            body["estimates"] = estimates(planned, store, reasons)
        sys.stdout.write(json.dumps(body, indent=2) + "\n")
        return
    console = Console(highlight=False)
    _show(console, planned, examined, states)
    if estimate_ and store:
        show_estimates(planned, store, reasons, per_second)
    done, damaged = (sum(state == word for state in states.values()) for word in ("done", "damaged"))
    hurt = f", {damaged} damaged (see harness report)" if damaged else ""
    console.print(f"{len(states)} runs: {done} done{hurt}, {len(states) - done - damaged} to compute")
    if store and done and (told := analyse(planned, store, catalog).parts[0].unsettled):
        console.print(f"note: {escape(told)}")


def _show(console: Console, planned: Plan, examined: Examined, states: Mapping[str, str]) -> None:
    """Print the data summaries, and a grid of arms and seeds."""
    first = planned.arms[0].runs[0]
    console.print(f"[bold]{escape(planned.name)}[/bold]  {escape(planned.question)}")
    console.print(
        f"model {first.model.name}; tuned on {', '.join(p.dataset.name for p in first.stages)}; watched: "
        + (", ".join(f"{p.dataset.name} by {p.task.name}" for p in first.watch) or "nothing")
    )
    for data in examined.data[: len(first.stages)]:
        understood = Table.grid(padding=(0, 2, 0, 0))
        for heading, text in in_full(data):
            understood.add_row(heading, escape(text), style="bold" if heading == "warning" else None)
        console.print(f"\n[bold]{escape(data.dataset)}[/bold]")
        console.print(understood)
    for note in examined.notes:
        console.print(f"note: {escape(note)}")
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("arm", "strategy", "learning rate", *(f"seed {run.seed}" for run in planned.arms[0].runs)):
        grid.add_column(title)
    for arm in planned.arms:
        rate = arm.runs[0].train.learning_rate
        settings = ", ".join(f"{key}={value}" for key, value in arm.runs[0].strategy.params.items())
        strategy_name = arm.runs[0].strategy.name + (f" ({settings})" if settings else "")
        grid.add_row(
            arm.label, strategy_name, "-" if rate is None else f"{rate:g}", *(states[run.id] for run in arm.runs)
        )
    console.print(grid)
    for arm in unsettled(planned):
        searched = ", ".join(arm.space)
        console.print(
            f"{arm.label}: {planned.budget} to search {searched} on validation; the runs above use default settings"
        )


@contextmanager
def _store(store: Store | None) -> Iterator[Store]:
    """Yield the results folder, or a temporary one if there is none, to hold prepared data."""
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Store(Path(folder))


def _state(store: Store | None, run: Run) -> str:
    if store is None:
        return "missing"
    try:
        if store.outcome(run) is not None:
            return "done"
    except DamagedError:
        return "damaged"
    failure = store.failure(run)
    return failure.status if failure else "missing"
