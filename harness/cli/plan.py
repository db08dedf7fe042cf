"""`harness plan`: what would run, what is done, what is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.catalog import load_catalog
from harness.cli import options
from harness.cli.estimate import estimates, rehearse_unknown, show_estimates
from harness.errors import HarnessError
from harness.experiment.tuning import settle, unsettled
from harness.quantities import parse_price
from harness.records import Run
from harness.store import Store


@options.asking
def plan(
    asked: options.Asked,
    results: options.Results = Path("results"),
    estimate_: Annotated[
        bool,
        typer.Option(
            "--estimate", help="What the missing runs will take: from stored ones of the same strategy, else rehearsed."
        ),
    ] = False,
    price: options.Price = None,
    json_: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
    without: options.Without = None,
) -> None:
    """Show what `compare` would run with the same arguments, and what of it is done. Computes nothing, but for what --estimate rehearses."""
    per_second = None if price is None else parse_price(price)
    if price is not None and not estimate_:
        message = "--price goes with --estimate"
        raise HarnessError(message)
    catalog = load_catalog(without or ())
    planned = asked.plan(catalog)
    store = Store(results) if results.exists() or estimate_ else None
    if store:
        planned = settle(planned, store, catalog)
    states = {run.id: _state(store, run) for _, run in planned.runs}
    reasons = rehearse_unknown(planned, store, catalog, tuple(without or ())) if estimate_ and store else {}
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
        }
        if estimate_ and store:
            body["estimates"] = estimates(planned, store, reasons)
        sys.stdout.write(json.dumps(body, indent=2) + "\n")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    first = planned.arms[0].runs[0]
    console.print(f"[bold]{planned.name}[/bold]  {planned.question}")
    console.print(
        f"model {first.model.name}; tuned on {', '.join(p.dataset.name for p in first.stages)}; watched: "
        + (", ".join(f"{p.dataset.name} by {p.task.name}" for p in first.watch) or "nothing")
    )
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
            f"{arm.label}: {planned.budget} to choose {searched} on validation; its runs above are untuned ones"
        )
    missing = sum(state != "done" for state in states.values())
    if estimate_ and store:
        show_estimates(planned, store, reasons, per_second)
    console.print(f"{len(states)} runs: {len(states) - missing} done, {missing} to compute")


def _state(store: Store | None, run: Run) -> str:
    if store is None:
        return "missing"
    if store.outcome(run) is not None:
        return "done"
    failure = store.failure(run)
    return failure.status if failure else "missing"
