"""Tables for terminals."""

import io
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    from rich.table import Table as RichTable

_UNBOUNDED = 10_000


class Rich(harness.Reporter):
    """Table for terminals, split into several on narrow terminals; numbers are never truncated."""

    name = "rich"
    suffix = ".txt"
    default = True

    width: int | None = None

    def render(self, table: harness.Table) -> str:
        """Return the table, with colours if standard output is a terminal."""
        from rich.console import Console
        from rich.measure import Measurement
        from rich.text import Text

        width = self.width or shutil.get_terminal_size((160, 40)).columns
        output = io.StringIO()
        console = Console(file=output, width=width, force_terminal=sys.stdout.isatty(), highlight=False)
        console.print(
            Text(table.title, style="bold"), Text(table.question, style="italic"), sep="\n" if table.question else ""
        )

        def fits(shown: Sequence[int]) -> bool:
            return (
                Measurement.get(console, console.options.update(max_width=_UNBOUNDED), _table(table, shown)).maximum
                <= width
            )

        for shown in _parts(table, fits):
            console.print(_table(table, shown))
        for number, note in enumerate(table.footnotes, 1):
            console.print(Text(f"[{number}] {note}", style="yellow"))
        for line in table.about:
            console.print(Text(line, style="dim"))
        return "\n".join([output.getvalue(), *map(self.render, table.others)])


def _parts(table: harness.Table, fits: Callable[[Sequence[int]], bool]) -> list[list[int]]:
    """Return the columns of each table to print: all in one table if they fit, else by group, else as many as fit."""
    everything = list(range(len(table.columns)))
    if fits(everything):
        return [everything]
    parts: list[list[int]] = []
    for position, column in enumerate(table.columns):
        begun = parts and table.columns[parts[-1][0]].group == column.group
        if begun and fits([*parts[-1], position]):
            parts[-1].append(position)
        else:
            parts.append([position])
    return parts


def _table(table: harness.Table, shown: Sequence[int]) -> "RichTable":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    grid.add_column("\nstrategy", no_wrap=True)
    grid.add_column("\nn", justify="right", no_wrap=True)
    previous = None
    for position in shown:
        column = table.columns[position]
        grid.add_column(
            _heading(column, with_group=column.group != previous),
            justify="right",
            no_wrap=len(shown) > 1,
            overflow="fold",
        )
        previous = column.group
    for row in table.rows:
        mark = {"baseline": " (baseline)", "reference": " (reference)"}.get(row.role, "")
        cells = []
        for position in shown:
            cell = row.cells[position]
            text = Text(cell.text, style="bold" if cell.best else "")
            if cell.note is not None:
                text.append(f" [{cell.note}]", style="yellow")
            for more in (cell.detail, cell.in_words):
                if more:
                    text.append(f"\n{more}", style="dim")
            if cell.dimmed:
                text.stylize("dim")
            cells.append(text)
        grid.add_row(Text(row.label).append(mark, style="dim"), str(len(row.runs)), *cells)
    return grid


def _heading(column: harness.Column, *, with_group: bool) -> str:
    arrow = {"higher": " ↑", "lower": " ↓", None: ""}[column.better]
    unit = f" [{column.unit}]" if column.unit else ""
    # Escape brackets, because rich would read the unit as a style.
    return f"{column.group.upper() if with_group else ''}\n{column.title}{unit}{arrow}".replace("[", "\\[")


@harness.hookimpl
def harness_reporters() -> list[type[harness.Reporter]]:
    """Register the reporter."""
    return [Rich]
