"""Tables for documents."""

import harness


class Markdown(harness.Reporter):
    """Markdown for documents: a table with its notes and run ids."""

    name = "markdown"
    suffix = ".md"
    kept = True

    def render(self, table: harness.Table) -> str:
        """Return the table as GitHub-flavoured Markdown."""
        header = ["strategy", "n", *(_heading(column) for column in table.columns)]
        rows = [[_label(row), str(len(row.runs)), *(_cell(cell) for cell in row.cells)] for row in table.rows]
        lines = [f"# {table.title}", ""]
        if table.question:
            lines += [table.question, ""]
        if table.answer:
            lines += [f"**{table.answer[0]}**", *table.answer[1:], ""]
        lines += [
            _line(header),
            _line(["---", "---:", *("---:" for _ in table.columns)]),
            *(_line(row) for row in rows),
            "",
        ]
        lines += [f"[{number}] {note}  " for number, note in enumerate(table.footnotes, 1)]
        lines += [""] if table.footnotes else []
        lines += [f"- {line}" for line in table.about]
        lines += ["", "Runs:", ""]
        lines += [f"- {row.label}: {', '.join(f'`{run}`' for run in row.runs) or 'none'}" for row in table.rows]
        return "\n".join(["\n".join(lines) + "\n", *map(self.render, table.others)])


def _label(row: harness.Row) -> str:
    mark = {"baseline": " (baseline)", "reference": " (reference)"}.get(row.role, "")
    return f"{row.label}{mark}"


def _heading(column: harness.Column) -> str:
    arrow = {"higher": " ↑", "lower": " ↓", None: ""}[column.better]
    unit = f" ({column.unit})" if column.unit else ""
    return f"{column.group}: {column.title}{unit}{arrow}"


def _cell(cell: harness.Cell) -> str:
    text = f"**{cell.text}**" if cell.best else cell.text
    more = "; ".join(part for part in (cell.detail, cell.in_words) if part)
    detail = f" ({more})" if more else ""
    note = f" [{cell.note}]" if cell.note is not None else ""
    return f"{text}{detail}{note}".strip()


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


@harness.hookimpl
def harness_reporters() -> list[type[harness.Reporter]]:
    """Register the reporter."""
    return [Markdown]
