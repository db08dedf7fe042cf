"""Tables for a terminal."""

import io
import shutil
import sys
from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    from rich.table import Table as RichTable

_UNBOUNDED = 10_000


class Rich(harness.Reporter):
    """For a terminal: one table, or one for each group of columns where the terminal is narrow."""

    name = "rich"
    suffix = ".txt"

    width: int | None = None

    def render(self, table: harness.Table) -> str:
        """Return the table with terminal colours where standard output is a terminal."""
        from rich.console import Console
        from rich.measure import Measurement
        from rich.text import Text

        width = self.width or shutil.get_terminal_size((160, 40)).columns
        output = io.StringIO()
        console = Console(file=output, width=width, force_terminal=sys.stdout.isatty(), highlight=False)
        groups = list(dict.fromkeys(column.group for column in table.columns))
        whole = _table(table, groups)
        console.print(
            Text(table.title, style="bold"), Text(table.question, style="italic"), sep="\n" if table.question else ""
        )
        if Measurement.get(console, console.options.update(max_width=_UNBOUNDED), whole).maximum <= width:
            console.print(whole)
        else:
            for group in groups:
                console.print(_table(table, [group]))
        for number, note in enumerate(table.footnotes, 1):
            console.print(Text(f"[{number}] {note}", style="yellow"))
        for line in table.about:
            console.print(Text(line, style="dim"))
        return output.getvalue()


def _table(table: harness.Table, groups: list[str]) -> "RichTable":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    grid.add_column("\nstrategy", no_wrap=True)
    shown = [position for position, column in enumerate(table.columns) if column.group in groups]
    for position in shown:
        first = position == 0 or table.columns[position - 1].group != table.columns[position].group
        grid.add_column(_heading(table.columns[position], with_group=first), justify="right", no_wrap=True)
    for row in table.rows:
        mark = {"floor": " (floor)", "reference": " (reference)"}.get(row.role, "")
        cells = []
        for position in shown:
            cell = row.cells[position]
            text = Text(cell.text, style="bold" if cell.best else "")
            if cell.note is not None:
                text.append(f" [{cell.note}]", style="yellow")
            if cell.detail:
                text.append(f"\n{cell.detail}", style="dim")
            cells.append(text)
        grid.add_row(Text(row.label).append(mark, style="dim"), *cells)
    return grid


def _heading(column: harness.Column, *, with_group: bool) -> str:
    arrow = {"higher": " ↑", "lower": " ↓", None: ""}[column.better]
    unit = f" [{column.unit}]" if column.unit else ""
    # Escaped, or rich would take the unit for a style.
    return f"{column.group.upper() if with_group else ''}\n{column.title}{unit}{arrow}".replace("[", "\\[")


@harness.hookimpl
def harness_reporters() -> list[type[harness.Reporter]]:
    """Offer the reporter."""
    return [Rich]
