"""`harness report`: the table from what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.api import load
from harness.catalog import load_catalog
from harness.cli import options
from harness.cli.curve import show_curve
from harness.cli.tables import find_reporter, show_table
from harness.errors import HarnessError
from harness.experiment.asked import Asked


@options.asking
def report(
    asked: Asked,
    results: options.Results = Path("results"),
    matrix: Annotated[bool, typer.Option("--matrix", help="Every score at every moment, and transfer.")] = False,
    curve: Annotated[
        bool,
        typer.Option("--curve", help="Validation over the cost of tuning, as a plot, and the cost to reach a score."),
    ] = False,
    reach: Annotated[
        float, typer.Option(min=0.01, max=1, help="With --curve: which share of the reference's best is to be reached.")
    ] = 0.95,
    price: options.Price = None,
    format_: options.Format = None,
    without: options.Without = None,
) -> None:
    """Print the table from stored runs alone; what has not been computed is blank. Takes what `compare` takes."""
    if matrix and price is not None:
        message = "--price and --matrix exclude each other: the matrix has scores only"
        raise HarnessError(message)
    if curve and (matrix or format_ is not None):
        message = "--curve is a picture of its own: leave out --matrix and --format"
        raise HarnessError(message)
    catalog = load_catalog(without or ())
    reporter = find_reporter(catalog, format_)
    comparison = load(asked, results, catalog, price)
    if curve:
        show_curve(comparison.plan, comparison.store, catalog, reach, comparison.price)
    else:
        show_table(comparison, reporter, "matrix" if matrix else "comparison")
