"""`harness compare`: plan, compute the missing runs, print the table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.api import carry_out, load, send_results
from harness.catalog import load_catalog
from harness.cli import options
from harness.cli.tables import Output, View, find_reporter, show
from harness.experiment.asked import Asked
from harness.quantities import parse_price
from harness.runner.background import Background
from harness.runner.executors import find_executor
from harness.runner.plans import Runner
from harness.runner.tracking import Tracking, find_trackers
from harness.runner.understood import say
from harness.store import Store

_INTERRUPTED = 130
"""Exit status after an interrupt, as in shells."""


@options.asking
def compare(
    context: typer.Context,
    asked: Asked,
    results: options.Results = Path("results"),
    price: options.Price = None,
    format_: options.Format = None,
    output: options.OutputFile = None,
    columns: options.Columns = None,
    everything: options.AllColumns = False,
    notes: options.Notes = False,
    texts: options.Texts = True,
    executor: options.ExecutorName = None,
    processes_per_run: Annotated[
        int | None, typer.Option(min=1, help="Number of processes per run.", rich_help_panel=options.HOW)
    ] = None,
    side_by_side: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of parallel runs; each gets a share of the cores or its own accelerator.",
            rich_help_panel=options.HOW,
        ),
    ] = None,
    shard: Annotated[
        bool,
        typer.Option(
            "--shard",
            help="Let the processes of a run share its model while they train it, so that each needs less memory.",
            rich_help_panel=options.HOW,
        ),
    ] = False,
    cpu: Annotated[bool, typer.Option("--cpu", help="Use the CPU only.", rich_help_panel=options.HOW)] = False,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Save each run's model or adapter.", rich_help_panel=options.HOW)
    ] = False,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Compute in this process, for debugging.", rich_help_panel=options.HOW)
    ] = False,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            help="Compute in the background; the same command without --detach follows it.",
            rich_help_panel=options.HOW,
        ),
    ] = False,
    track: options.Track = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", help="Report only warnings and failures while computing.", rich_help_panel=options.SHOW
        ),
    ] = False,
    log_level: options.LogMessages = "error",
    without: options.Without = None,
) -> None:
    """Compare tuning strategies: compute the missing runs, then print the table.

    Repeating the command computes nothing. With more seeds or strategies, only the new runs are computed.
    """
    catalog = load_catalog(without or ())
    reporter = find_reporter(catalog, format_, output)
    if price is not None:
        parse_price(price)  # report an invalid price before computing anything
    flags = {"processes_per_run": processes_per_run, "side_by_side": side_by_side, "shard": shard, "cpu": cpu}
    where = find_executor(catalog, executor, flags, here=in_process)
    trackers = find_trackers(catalog, track or ())
    tracking = Tracking(trackers, say) if trackers else None
    planned = asked.plan(catalog)
    store = Store(results)
    background = Background(planned, store)
    if detach:
        process = background.start([word for word in context.obj if word != "--detach"])
        say(
            f"{planned.name} is computed in the background; the same command without --detach follows it\n"
            f"its log is {str(background.log)!r}; to stop it: kill -INT {process}"
        )
        return
    runner = Runner(
        store, catalog, where, say,
        keep_models=keep_models, tracking=tracking, quiet=quiet, log_level=log_level,
    )  # fmt: skip
    try:
        followed = background.follow(sys.stderr.write)
    except KeyboardInterrupt:
        sys.stderr.write(f"{planned.name} is still computed in the background; the same command follows it\n")
        raise typer.Exit(_INTERRUPTED) from None
    if followed is not None:
        show(load(asked, results, catalog, price), Output(reporter, View(columns, everything, notes), output, texts))
        raise typer.Exit(1 if followed else 0)
    try:
        with background.held() as ended:
            comparison, failures = carry_out(planned, runner, price)
            ended(len(failures))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command to resume\n")
        raise typer.Exit(_INTERRUPTED) from None
    saved = show(comparison, Output(reporter, View(columns, everything, notes), output, texts))
    if tracking:
        send_results(comparison, tracking, saved)
    if failures:
        raise typer.Exit(1)
