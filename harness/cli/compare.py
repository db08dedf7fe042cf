"""`harness compare`: plan, compute what is missing, print the table."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.catalog import Catalog, load_catalog
from harness.cli import options
from harness.cli.examined import brief, say
from harness.cli.progress import Progress
from harness.cli.tables import show_table
from harness.contracts import Component, Dataset, Model, Reporter, Strategy, Task
from harness.engine.cache import Cache
from harness.engine.examine import examine
from harness.engine.launch import Launcher
from harness.engine.search import Search
from harness.errors import DamagedError, HarnessError
from harness.experiment.plan import Plan
from harness.experiment.tuning import settle, unsettled
from harness.quantities import parse_price
from harness.records import Failure, Run
from harness.store import Store

_ROOM_BYTES = 200_000_000
"""Free space below which no run is begun: enough for caches and predictions of a small comparison."""
_INTERRUPTED = 130
"""Exit status of what an interrupt has ended, as shells have it."""


@options.asking
def compare(
    asked: options.Asked,
    results: options.Results = Path("results"),
    price: options.Price = None,
    format_: options.Format = "rich",
    processes_per_run: Annotated[
        int, typer.Option(min=1, help="Processes that share one run.", rich_help_panel=options.HOW)
    ] = 1,
    side_by_side: Annotated[
        int,
        typer.Option(
            min=1,
            help="Runs at a time, each on its share of the cores or on an accelerator of its own.",
            rich_help_panel=options.HOW,
        ),
    ] = 1,
    cpu: Annotated[bool, typer.Option("--cpu", help="Leave accelerators alone.", rich_help_panel=options.HOW)] = False,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Save each run's model or adapter.", rich_help_panel=options.HOW)
    ] = False,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="No process per run; for a debugger.", rich_help_panel=options.HOW)
    ] = False,
    without: options.Without = None,
) -> None:
    """Compare tuning strategies: run what is missing, then print the table.

    The same command again computes nothing; more seeds or strategies compute only what is new.
    """
    catalog = load_catalog(without or ())
    catalog.find(Reporter, format_)
    per_second = None if price is None else parse_price(price)
    planned = asked.plan(catalog)
    store = Store(results)
    planned = settle(planned, store, catalog)
    searched = unsettled(planned)
    missing = _missing(planned, store, keep_models=keep_models)
    failed = False
    if missing or searched:
        for flag, number in (("--processes-per-run", processes_per_run), ("--side-by-side", side_by_side)):
            if in_process and number > 1:
                message = f"--in-process and {flag} exclude each other"
                raise HarnessError(message)
        launcher = Launcher(
            results=results,
            without=tuple(without or ()),
            processes=processes_per_run,
            side_by_side=side_by_side,
            cpu=cpu,
            keep_models=keep_models,
            imports=("harness.cli.app", *slow_imports(planned, catalog)),
            in_process=catalog if in_process else None,
        )
        _check_room(results)
        launcher.warm()  # it gets ready while the data is read
        apart = None if in_process else tuple(without or ())
        examined = examine(planned, catalog, Cache(store.cache), say, apart=apart)
        for line in brief(examined, len(planned.arms[0].runs[0].stages)):
            say(line)
        if searched and planned.budget:
            with Search(searched, planned.budget, store, catalog, processes_per_run) as search:
                begin = f"choosing settings on validation, {planned.budget} for each of {len(searched)} strategies"
                compute(search.runs(), begin, search.expected, catalog, launcher, search)
                search.finish()
            planned = settle(planned, store, catalog)
            missing = _missing(planned, store, keep_models=keep_models)
        if missing:
            stored = len({run.id for _, run in planned.runs}) - len(missing)
            begin = f"{len(missing)} runs to compute" + (f"; {stored} are stored already" if stored else "")
            failed = compute(missing, begin, len(missing), catalog, launcher)
    show_table(planned, store, catalog, format_, price=per_second)
    if failed:
        raise typer.Exit(1)


def compute(
    runs: Iterable[tuple[str, Run]],
    begin: str,
    total: int | None,
    catalog: Catalog,
    launcher: Launcher,
    search: Search | None = None,
) -> bool:
    """Compute runs, each given with what it is called, and tell the observers; returns whether any failed.

    Args:
        runs: What is to be computed; asked for as there is room.
        begin: Said first.
        total: How many there are; None where that is not known.
        catalog: Where the observers are.
        launcher: How they are started.
        search: What the runs are trials of.
    """
    hook = catalog.plugins.hook
    failed = False

    def announced() -> Iterator[Run]:
        for label, run in runs:
            hook.harness_run_started(run=run, label=label)
            yield run

    def log(run: Run, event: dict[str, Any]) -> str | None:
        hook.harness_run_logged(run=run, event=event)
        return search.heard(run, event) if search else None

    with Progress(begin, total) as progress:
        catalog.plugins.register(progress)
        try:
            for run, result in launcher.launch(announced(), log):
                hook.harness_run_finished(run=run, result=result)
                failed = failed or isinstance(result, Failure)
                if search:
                    search.told(run, result)
        except KeyboardInterrupt:
            sys.stderr.write("stopped; run the same command again to go on where it ended\n")
            raise typer.Exit(_INTERRUPTED) from None
        finally:
            catalog.plugins.unregister(progress)
    return failed


def _missing(plan: Plan, store: Store, *, keep_models: bool) -> list[tuple[str, Run]]:
    """Return the runs that are not stored, each with its arm's label; of arms for which the same was chosen, once."""
    missing = {
        run.id: (arm.label, run) for arm, run in reversed(plan.runs) if not _done(store, run, keep_models=keep_models)
    }
    return list(reversed(missing.values()))


def _done(store: Store, run: Run, *, keep_models: bool) -> bool:
    try:
        outcome = store.outcome(run)
    except DamagedError:
        return True  # nothing stored is written over: the table says what to do
    return outcome is not None and (not keep_models or (store.folder(run) / "model").exists())


def slow_imports(plan: Plan, catalog: Catalog) -> list[str]:
    """Return the slow modules that the plan's components need."""
    runs = [arm.runs[0] for arm in plan.arms]
    components: list[Component] = [catalog.restore(Strategy, run.strategy) for run in runs]
    components += [catalog.restore(Model, runs[0].model)]
    components += [catalog.restore(Dataset, problem.dataset) for problem in runs[0].problems]
    components += [catalog.restore(Task, problem.task) for problem in runs[0].problems]
    return sorted({name for component in components for name in component.imports})


def _check_room(results: Path) -> None:
    free = shutil.disk_usage(results).free
    if free < _ROOM_BYTES:
        message = f"no room on the disk: {free / 1e6:.0f} MB are free at {str(results)!r}, {_ROOM_BYTES / 1e6:.0f} MB are needed"
        raise HarnessError(message)
