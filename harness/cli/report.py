"""`harness report`: print the table from stored runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.api import load
from harness.catalog import load_catalog
from harness.cli import options
from harness.cli.curve import show_curve
from harness.cli.tables import Output, View, find_reporter, show
from harness.errors import HarnessError
from harness.experiment.asked import Asked


@options.asking
def report(
    asked: Asked,
    results: options.Results = Path("results"),
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Show the score of every dataset after every stage, and transfer.")
    ] = False,
    curve: Annotated[
        bool,
        typer.Option("--curve", help="Plot validation score against tuning cost, and show the cost to reach a score."),
    ] = False,
    reach: Annotated[
        float, typer.Option(min=0.01, max=1, help="With --curve: score to reach, as a share of the reference's best.")
    ] = 0.95,
    price: options.Price = None,
    format_: options.Format = None,
    output: options.OutputFile = None,
    plot: options.PlotName = None,
    columns: options.Columns = None,
    everything: options.AllColumns = False,
    notes: options.Notes = False,
    texts: options.Texts = True,
    without: options.Without = None,
) -> None:
    """Print the table from stored runs only; missing runs are blank. Takes the same arguments as `compare`."""
    if matrix and price is not None:
        message = "--price cannot be used with --matrix: the matrix has scores only"
        raise HarnessError(message)
    if curve and (matrix or format_ is not None):
        message = "--curve cannot be used with --matrix or --format"
        raise HarnessError(message)
    catalog = load_catalog(without or ())
    reporter = find_reporter(catalog, format_, output, plot)
    comparison = load(asked, results, catalog, price)
    if curve:
        show_curve(comparison.plan, comparison.store, catalog, reach, comparison.price)
    else:
        shown = Output(reporter, View(columns, everything, notes), output, texts)
        show(comparison, shown, "matrix" if matrix else "comparison")
