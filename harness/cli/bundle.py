"""`harness bundle`: pack a comparison's runs and table into one file that others can verify."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from harness.api import load
from harness.catalog import load_catalog
from harness.cli import options
from harness.contracts import Reporter
from harness.errors import HarnessError
from harness.experiment.asked import Asked
from harness.tables.evidence import pack


@options.asking
def bundle(
    asked: Asked,
    file: Annotated[
        Path | None, typer.Argument(help="File to write (.zip); it must not exist.", show_default=False)
    ] = None,
    results: options.Results = Path("results"),
    without: options.Without = None,
) -> None:
    """Pack the runs and table of a comparison into a file that `harness verify FILE.zip` can check on any machine.

    The file contains predictions, settings, costs and versions, but no data and no model. Takes the same arguments as
    `compare`.
    """
    if file is None:
        # Without an experiment or data file, the only path given is the bundle.
        asked, file = replace(asked, target=None), None if asked.target is None else Path(asked.target)
    if file is None:
        message = "bundle needs an output file: harness bundle EXPERIMENT FILE.zip"
        raise HarnessError(message)
    if file.suffix.lower() != ".zip":
        message = f"{str(file)!r}: the output file must end in .zip"
        raise HarnessError(message)
    if file.exists():
        message = f"{str(file)!r} already exists, and bundle does not overwrite files: choose another name"
        raise HarnessError(message)
    catalog = load_catalog(without or ())
    comparison = load(asked, results, catalog)
    plan, table = comparison.plan, comparison.table()
    rendered = {
        cls.suffix: catalog.make(Reporter, cls.name, {}).render(table) for cls in catalog.every(Reporter) if cls.kept
    }
    try:
        finished = pack(plan, comparison.store, table, rendered, file)
    except OSError as error:
        message = f"{str(file)!r} cannot be written: {error.strerror or error}"
        raise HarnessError(message) from None
    if not finished:
        file.unlink()
        message = "no run has finished: run harness compare with the same arguments first"
        raise HarnessError(message)
    sys.stdout.write(f"{file}: {finished} runs and the table of {plan.name}, {file.stat().st_size / 1e6:.2f} MB\n")
    sys.stdout.write(f"anyone can check it: harness verify {file.name}\n")
