"""`harness plan`: what would run, what is done, what is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.catalog import load_catalog
from harness.cli import options
from harness.errors import HarnessError
from harness.experiment.plan import Plan
from harness.experiment.tuning import settle, unsettled
from harness.quantities import parse_price, write_duration, write_size
from harness.records import Run
from harness.results.estimates import estimate
from harness.store import Store


def plan(
    target: options.Target = None,
    dataset: options.Datasets = None,
    model: options.ModelName = None,
    strategy: options.Strategies = None,
    watch: options.Watch = None,
    seeds: options.Seeds = None,
    limit: options.Limit = None,
    metric: options.Metrics = None,
    reference: options.Reference = None,
    text: options.TextColumn = None,
    label: options.LabelColumn = None,
    option: options.Options = None,
    tune: options.Tune = None,
    repeat: options.Repeat = None,
    margin: options.Margin = None,
    results: options.Results = Path("results"),
    estimate_: Annotated[
        bool, typer.Option("--estimate", help="What the missing runs will take, from stored ones of the same strategy.")
    ] = False,
    price: options.Price = None,
    json_: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
    without: options.Without = None,
) -> None:
    """Show what `compare` would run with the same arguments, and what of it is done. Computes nothing."""
    per_second = None if price is None else parse_price(price)
    if price is not None and not estimate_:
        message = "--price goes with --estimate"
        raise HarnessError(message)
    catalog = load_catalog(without or ())
    asked = options.Asked(
        target,
        dataset,
        model,
        strategy,
        watch,
        seeds,
        limit,
        metric,
        reference,
        text,
        label,
        option,
        tune,
        repeat,
        margin,
    ).plan(catalog)
    store = Store(results) if results.exists() else None
    if store:
        asked = settle(asked, store, catalog)
    states = {run.id: _state(store, run) for _, run in asked.runs}
    if json_:
        runs = [
            {"arm": arm.label, "id": run.id, "state": states[run.id], "run": run.model_dump(mode="json")}
            for arm, run in asked.runs
        ]
        body = {"name": asked.name, "question": asked.question, "reference": asked.reference, "runs": runs}
        sys.stdout.write(json.dumps(body, indent=2) + "\n")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    first = asked.arms[0].runs[0]
    console.print(f"[bold]{asked.name}[/bold]  {asked.question}")
    console.print(
        f"model {first.model.name}; tuned on {', '.join(p.dataset.name for p in first.stages)}; watched: "
        + (", ".join(f"{p.dataset.name} by {p.task.name}" for p in first.watch) or "nothing")
    )
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("arm", "strategy", "learning rate", *(f"seed {run.seed}" for run in asked.arms[0].runs)):
        grid.add_column(title)
    for arm in asked.arms:
        rate = arm.runs[0].train.learning_rate
        settings = ", ".join(f"{key}={value}" for key, value in arm.runs[0].strategy.params.items())
        strategy_name = arm.runs[0].strategy.name + (f" ({settings})" if settings else "")
        grid.add_row(
            arm.label, strategy_name, "-" if rate is None else f"{rate:g}", *(states[run.id] for run in arm.runs)
        )
    console.print(grid)
    for arm in unsettled(asked):
        searched = ", ".join(arm.space)
        console.print(
            f"{arm.label}: {asked.budget} to choose {searched} on validation; its runs above are untuned ones"
        )
    missing = sum(state != "done" for state in states.values())
    if estimate_:
        _print_estimates(asked, store, per_second)
    console.print(f"{len(states)} runs: {len(states) - missing} done, {missing} to compute")


def _print_estimates(asked: Plan, store: Store | None, price: float | None) -> None:
    """Print what the missing runs will take, strategy by strategy, and in all."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    found = {arm.label: estimate(arm, store) for arm in asked.arms} if store else {}
    missing = {label: one for label, one in found.items() if one.missing}
    console = Console(highlight=False)
    if not missing and store:
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    known = [one for one in missing.values() if one.seconds is not None]
    whole = write_duration(sum(one.missing * (one.seconds or 0) for one in known)) if known else ""
    money = f"{sum(one.missing * (one.device_seconds or 0) for one in known) * (price or 0):.3g}" if known else ""
    peaks = [one.memory_bytes for one in known if one.memory_bytes is not None]
    columns = [("arm", "all that are known"), ("missing", ""), ("each", ""), ("together", whole)]
    columns += [("memory", write_size(max(peaks)) if peaks else ""), *([("money", money)] if price is not None else [])]
    for title, footer in (*columns, ("known from", "")):
        grid.add_column(title, footer, justify="left" if title in {"arm", "known from"} else "right")
    for arm in asked.arms:
        one = found.get(arm.label)
        count = len(arm.runs) + len(arm.repeats) if one is None else one.missing
        if not count:
            continue
        if one is None or one.seconds is None:
            blanks = [""] * (len(columns) - 2)
            grid.add_row(arm.label, f"{count}", *blanks, "no run of it yet")
            continue
        each, together = write_duration(one.seconds), write_duration(one.missing * one.seconds)
        costs = [] if price is None else [f"{one.missing * (one.device_seconds or 0) * price:.3g}"]
        memory = "" if one.memory_bytes is None else write_size(one.memory_bytes)
        grid.add_row(
            arm.label, f"{count}", each, together, memory, *costs, f"{one.stored} stored, on {', '.join(one.devices)}"
        )
    console.print(grid)
    console.print(
        "one run after another on such a device; the search of --tune is not in it; of a strategy without a "
        "stored run nothing is known: compute one seed of it first",
        style="dim",
    )


def _state(store: Store | None, run: Run) -> str:
    if store is None:
        return "missing"
    if store.outcome(run) is not None:
        return "done"
    failure = store.failure(run)
    return failure.status if failure else "missing"
