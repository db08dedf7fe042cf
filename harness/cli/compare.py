"""`harness compare`: plan, compute what is missing, print the table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.api import carry_out
from harness.catalog import load_catalog
from harness.cli import options
from harness.cli.tables import find_reporter, show_table
from harness.experiment.asked import Asked
from harness.quantities import parse_price
from harness.runner.executors import find_executor
from harness.runner.plans import Runner
from harness.runner.understood import say
from harness.store import Store

_INTERRUPTED = 130
"""Exit status of what an interrupt has ended, as shells have it."""


@options.asking
def compare(
    asked: Asked,
    results: options.Results = Path("results"),
    price: options.Price = None,
    format_: options.Format = None,
    executor: options.ExecutorName = None,
    processes_per_run: Annotated[
        int | None, typer.Option(min=1, help="Processes that share one run.", rich_help_panel=options.HOW)
    ] = None,
    side_by_side: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Runs at a time, each on its share of the cores or on an accelerator of its own.",
            rich_help_panel=options.HOW,
        ),
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Use the CPU only.", rich_help_panel=options.HOW)] = False,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Save each run's model or adapter.", rich_help_panel=options.HOW)
    ] = False,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Compute in this process; for a debugger.", rich_help_panel=options.HOW)
    ] = False,
    without: options.Without = None,
) -> None:
    """Compare tuning strategies: run what is missing, then print the table.

    The same command again computes nothing; more seeds or strategies compute only what is new.
    """
    catalog = load_catalog(without or ())
    reporter = find_reporter(catalog, format_)
    if price is not None:
        parse_price(price)  # a mistake in it must not wait until all is computed
    flags = {"processes_per_run": processes_per_run, "side_by_side": side_by_side, "cpu": cpu}
    where = find_executor(catalog, executor, flags, here=in_process)
    planned = asked.plan(catalog)
    runner = Runner(Store(results), catalog, where, say, keep_models=keep_models)
    try:
        comparison, failures = carry_out(planned, runner, price)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command resumes where it stopped\n")
        raise typer.Exit(_INTERRUPTED) from None
    show_table(comparison, reporter)
    if failures:
        raise typer.Exit(1)
