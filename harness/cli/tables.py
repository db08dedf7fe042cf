"""Printing and saving a table; shared by the commands that produce one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from harness.analysis.comparison import Scope
from harness.api import Comparison
from harness.catalog import Catalog
from harness.contracts import Reporter
from harness.errors import HarnessError
from harness.experiment.spec import parse_settings
from harness.reports import Table
from harness.store import file_name, write_atomically
from harness.tables.table import with_columns


class View(NamedTuple):
    """What of a table is shown."""

    columns: str | None = None
    """Names of columns, separated by commas; None for those that the format shows by default."""
    everything: bool = False
    """Whether all columns are shown."""
    notes: bool = False
    """Whether all notes are shown."""

    def of(self, table: Table, reporter: Reporter) -> Table:
        """Return what a reporter is given of a table.

        Raises:
            HarnessError: A column does not exist.
        """
        if self.columns is not None:
            shown = with_columns(table, self.columns.split(","))
        elif reporter.brief and not self.everything and any(column.main for column in table.columns):
            shown = with_columns(table)
        else:
            shown = table
        return _with_all_notes(shown) if self.notes else shown


def _with_all_notes(table: Table) -> Table:
    return table.model_copy(update={"essentials": (), "others": tuple(map(_with_all_notes, table.others))})


def find_reporter(catalog: Catalog, asked: str | None, output: Path | None = None, plot: str | None = None) -> Reporter:
    """Return the reporter of an output.

    Args:
        catalog: Provides the reporters.
        asked: The value of `--format`: NAME or NAME:KEY=VALUE,KEY=VALUE; None for that of the file or the default one.
        output: The file to write; None to print.
        plot: The plot to draw, for reporters that draw one.

    Raises:
        HarnessError: It does not exist, or does not write this file.
    """
    name, _, text = (asked or "").partition(":")
    settings = parse_settings(text, f"--format {asked}")
    every = catalog.every(Reporter)
    if plot is not None:
        settings["plot"] = plot
        every = [cls for cls in every if "plot" in cls.model_fields]
    if not name and output is not None:
        found = next((cls for cls in every if cls.suffix == output.suffix.lower()), None)
        if found is None:
            known = ", ".join(sorted({cls.suffix for cls in every}))
            message = (
                f"{str(output)!r}: no reporter writes {'a plot as ' if plot else ''}this file type: use one of {known}"
            )
            raise HarnessError(message)
        name = found.name
    if not name:
        ordered = sorted(every, key=lambda cls: cls.suffix != ".svg") if plot else [cls for cls in every if cls.default]
        default = next(iter(ordered), None)
        if default is None:
            message = "no default reporter is installed: name one with --format"
            raise HarnessError(message)
        name = default.name
    reporter = catalog.make(Reporter, name, settings, "--format: ")
    if missing := reporter.missing():
        message = f"reporter {name!r} needs {missing}"
        raise HarnessError(message)
    return reporter


class Output(NamedTuple):
    """Where and how a comparison is shown."""

    reporter: Reporter
    view: View = View()
    path: Path | None = None
    """The file to write; None to print, or for a reporter of files, to write to the reports of the results folder."""
    texts: bool = True
    """Whether texts of the data may be shown."""


def write(table: Table, output: Output, content: str | bytes | None = None, path: Path | None = None) -> None:
    """Print a table, or write it to a file and say where.

    Args:
        table: The table.
        output: Where and how.
        content: What a reporter made of a whole report; None to let it render the table.
        path: The file for a reporter of files if none was asked for.

    Raises:
        HarnessError: The file cannot be written, or would be printed.
    """
    reporter, path = output.reporter, output.path or (path if output.reporter.file else None)
    if content is None:
        content = reporter.render(output.view.of(table, reporter))
    if path is not None:
        try:
            write_atomically(path, content)
        except OSError as error:
            message = f"{str(path)!r} cannot be written: {error.strerror or error}"
            raise HarnessError(message) from None
        sys.stdout.write(f"saved as {path}\n")
    elif isinstance(content, bytes):
        message = f"reporter {reporter.name!r} writes a file: name it with --output"
        raise HarnessError(message)
    else:
        # Always written as UTF-8: otherwise a locale that cannot encode an arrow would end the command.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", errors="replace")
        sys.stdout.write(content)


def show(comparison: Comparison, output: Output, scope: Scope = "comparison") -> list[Path]:
    """Show a comparison, and save its table if every run has finished; return the saved files."""
    plan, store, catalog, reporter = comparison.plan, comparison.store, comparison.catalog, output.reporter
    table = comparison.table(scope)
    name = file_name(table.title if scope == "comparison" else f"{table.title}-{scope}")
    whole = reporter.whole and scope == "comparison"
    content = None
    if whole:
        report = comparison.report(texts=output.texts)
        shown = output.view.of(report.table, reporter)
        content = reporter.render_report(report.model_copy(update={"table": shown}))
    made = store.root / "reports" / f"{name}{_named_plot(reporter)}{reporter.suffix}"
    write(table, output, content, made)
    rows = [row for part in (table, *table.others) for row in part.rows]
    if sum(len(row.runs) for row in rows) < sum(len(arm.runs) for arm in plan.arms):
        return []
    saved = [output.path or made] if output.path or reporter.file else []
    texts: dict[str, str | bytes] = {}
    if scope == "comparison" and comparison.price is None:
        texts[".json"] = table.model_dump_json(indent=1) + "\n"
    texts |= {
        cls.suffix: catalog.make(Reporter, cls.name, {}).render(table) for cls in catalog.every(Reporter) if cls.kept
    }
    for suffix, text in texts.items():
        path = store.root / "reports" / f"{name}{suffix}"
        write_atomically(path, text)
        saved.append(path)
    return saved


def _named_plot(reporter: Reporter) -> str:
    plot = getattr(reporter, "plot", None)
    return "" if plot is None else f"-{plot}"
