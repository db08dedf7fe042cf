"""Tables for terminals."""

import io
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import harness

if TYPE_CHECKING:
    from rich.table import Table as RichTable

_UNBOUNDED = 10_000
_NARROW = 14
"""Width at which the texts of narrow cells are wrapped."""


class Rich(harness.Reporter):
    """Table for terminals: the answer, then the main columns that fit; `--all` shows the rest, `-v` all notes."""

    name = "rich"
    suffix = ".txt"
    default = True
    brief = True

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
        for number, sentence in enumerate(table.answer):
            console.print(Text(sentence, style="" if number else "bold"))

        def fits(shown: Sequence[int], *, narrow: bool = False) -> bool:
            unbounded = console.options.update(max_width=_UNBOUNDED)
            return Measurement.get(console, unbounded, _table(table, shown, narrow=narrow)).maximum <= width

        parts, narrow = _brief_part(table, fits) if table.brief else (_parts(table, fits), False)
        drawn = sorted(position for shown in parts for position in shown)
        used = dict.fromkeys(row.cells[position].note for row in table.rows for position in drawn)
        numbers = {note: number for number, note in enumerate((note for note in used if note is not None), 1)}
        for shown in parts:
            console.print("", _table(table, shown, numbers, narrow=narrow), sep="\n")
        console.print()
        for note, number in numbers.items():
            console.print(Text(f"[{number}] {table.footnotes[note - 1]}", style="yellow"))
        for line in table.essentials or table.about:
            console.print(Text(line, style="dim"))
        left_out = [column.title for at, column in enumerate(table.columns) if at not in drawn]
        if told := _left_out([*left_out, *table.hidden], len(table.about) if table.essentials else 0):
            console.print(Text(told, style="dim"))
        return "\n".join([output.getvalue(), *map(self.render, table.others)])


def _left_out(columns: Sequence[str], notes: int) -> str:
    """Return what is not shown, and the options that show it."""
    told = [f"{', '.join(columns)} (--all)"] if columns else []
    told += [f"{notes} notes (-v)"] if notes else []
    return f"not shown: {'; '.join(told)}" if told else ""


def _brief_part(table: harness.Table, fits: Callable[..., bool]) -> tuple[list[list[int]], bool]:
    """Return the columns that fit, as one table, and whether their cells must be narrow for it."""
    for last in range(len(table.columns), 1, -1):
        for narrow in (False, True):
            if fits(range(last), narrow=narrow):
                return [list(range(last))], narrow
    return [list(range(len(table.columns)))[:1]], True


def _parts(table: harness.Table, fits: Callable[..., bool]) -> list[list[int]]:
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


def _table(table: harness.Table, shown: Sequence[int], numbers: Mapping[int, int] = {}, *, narrow: bool) -> "RichTable":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    grid.add_column("\nstrategy", no_wrap=True)
    grid.add_column("\nn", justify="right", no_wrap=True)
    previous = None
    for position in shown:
        column = table.columns[position]
        grid.add_column(
            _heading(column, with_group=column.group != previous, narrow=narrow),
            justify="right",
            vertical="top",
            no_wrap=len(shown) > 1,
            overflow="fold",
        )
        previous = column.group
    for row in table.rows:
        mark = {"baseline": "(baseline)", "reference": "(reference)"}.get(row.role, "")
        cells = []
        for position in shown:
            cell = row.cells[position]
            value, interval = cell.text.partition(" [")[::2] if narrow else (cell.text, "")
            text = Text(value, style="bold" if cell.best else "")
            if cell.note is not None:
                text.append(f" [{numbers.get(cell.note, cell.note)}]", style="yellow")
            if interval:
                text.append(f"\n[{interval}", style="bold" if cell.best else "")
            for more in (cell.detail, cell.in_words):
                if more:
                    text.append(f"\n{_folded(more) if narrow else more}", style="dim")
            if cell.dimmed:
                text.stylize("dim")
            cells.append(text)
        label = Text(row.label)
        if mark:
            label.append(f"{chr(10) if narrow else ' '}{mark}", style="dim")
        grid.add_row(label, str(len(row.runs)), *cells)
    return grid


def _folded(text: str) -> str:
    """Return a text as lines of a narrow cell."""
    return "\n".join(textwrap.wrap(text, _NARROW, break_long_words=False))


def _heading(column: harness.Column, *, with_group: bool, narrow: bool) -> str:
    arrow = {"higher": " ↑", "lower": " ↓", None: ""}[column.better]
    unit = f" [{column.unit}]" if column.unit else ""
    title = _folded(f"{column.title}{unit}{arrow}") if narrow else f"{column.title}{unit}{arrow}"
    # Escape brackets, because rich would read the unit as a style.
    return f"{column.group.upper() if with_group else ''}\n{title}".replace("[", "\\[")


@harness.hookimpl
def harness_reporters() -> list[type[harness.Reporter]]:
    """Register the reporter."""
    return [Rich]
