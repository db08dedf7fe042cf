"""`harness work`: compute runs together with other workers that share the results folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.api import open_results
from harness.catalog import Catalog, load_catalog
from harness.cli import options
from harness.cli.completion import comparisons
from harness.errors import HarnessError
from harness.experiment.asked import Asked
from harness.experiment.comparisons import kept
from harness.experiment.plan import Plan
from harness.experiment.search import settle, unsettled
from harness.records import Failure
from harness.runner.executors import find_executor
from harness.runner.plans import Runner
from harness.runner.understood import say
from harness.store import Store

_INTERRUPTED = 130


def work(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            autocompletion=comparisons,
            help="Experiment files or names of comparisons; without any, all comparisons in the results folder.",
            show_default=False,
        ),
    ] = None,
    results: options.Results = Path("results"),
    executor: options.ExecutorName = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="Use the CPU only.", rich_help_panel=options.HOW)] = False,
    without: options.Without = None,
) -> None:
    """Compute missing runs, each once, together with any number of other workers on machines that share the folder.

    Ends when no run is left that nobody computes. Run it where the paths of the data are valid. `harness compare` shows the table.
    """
    catalog, store = load_catalog(without or ()), open_results(results)
    where = find_executor(catalog, executor, {"cpu": cpu})
    plans = [plan for plan in _plans(targets or [], store, catalog) if _is_settled(plan)]
    done, failed = 0, 0
    try:
        for _, result in Runner(store, catalog, where, say).work(plans):
            failed += isinstance(result, Failure)
            done += not isinstance(result, Failure)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; run the same command to resume\n")
        raise typer.Exit(_INTERRUPTED) from None
    elsewhere = len({run.id for plan in plans for _, run in Runner(store, catalog, where, say).missing(plan)}) - failed
    others = f", {elsewhere} left to other workers" if elsewhere > 0 else ""
    sys.stdout.write(f"{done} runs computed, {failed} failed{others}\n")
    if failed:
        raise typer.Exit(1)


def _plans(targets: list[str], store: Store, catalog: Catalog) -> list[Plan]:
    """Return the plans of the comparisons that are asked for."""
    if targets:
        return [settle(Asked(target).named_in(store.root).plan(catalog), store, catalog) for target in targets]
    found = [settle(one.plan, store, catalog) for one in kept(store)]
    if not found:
        message = f"no comparison in {str(store.root)!r}: name an experiment file, or run harness compare first"
        raise HarnessError(message)
    return found


def _is_settled(plan: Plan) -> bool:
    """Return whether all settings of a plan are known; say so if they are not."""
    if unsettled(plan):
        say(f"{plan.name}: left out until its hyperparameter search has finished, which harness compare does")
        return False
    return True
