"""Tables for documents."""

import re

import harness

_TAG = re.compile(r"<(?=[A-Za-z/!?])")


class Markdown(harness.Reporter):
    """Markdown for documents: a table with its notes and run ids."""

    name = "markdown"
    suffix = ".md"
    kept = True

    def render(self, table: harness.Table) -> str:
        """Return the table as GitHub-flavoured Markdown."""
        title, question = _text(table.title), _text(table.question)
        header = ["strategy", "n", *(_heading(column) for column in table.columns)]
        rows = [[_label(row), str(len(row.runs)), *(_cell(cell) for cell in row.cells)] for row in table.rows]
        lines = [f"# {title}", ""]
        if question:
            lines += [question, ""]
        if table.answer:
            lines += [f"**{_text(table.answer[0])}**", *map(_text, table.answer[1:]), ""]
        lines += [
            _line(header),
            _line(["---", "---:", *("---:" for _ in table.columns)]),
            *(_line(row) for row in rows),
            "",
        ]
        lines += [f"[{number}] {_text(note)}  " for number, note in enumerate(table.footnotes, 1)]
        lines += [""] if table.footnotes else []
        lines += [f"- {_text(line)}" for line in table.about]
        lines += ["", "Runs:", ""]
        lines += [f"- {_text(row.label)}: {', '.join(f'`{run}`' for run in row.runs) or 'none'}" for row in table.rows]
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
    return "| " + " | ".join(_text(cell).replace("|", "\\|") for cell in cells) + " |"


def _text(text: str) -> str:
    """Return a text in which nothing is read as an HTML tag."""
    return _TAG.sub("&lt;", text)


@harness.hookimpl
def harness_reporters() -> list[type[harness.Reporter]]:
    """Register the reporter."""
    return [Markdown]
