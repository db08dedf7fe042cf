"""Render a table as HTML for notebooks."""

from __future__ import annotations

from html import escape

from harness.reports import Cell, Column, Row, Table

_STYLE = (
    "<style>.harness td,.harness th{text-align:right;vertical-align:top}.harness td:first-child,.harness th:first-child"
    "{text-align:left}.harness small{opacity:.7;display:block}.harness .dimmed{opacity:.5}</style>"
)


def render(table: Table) -> str:
    """Return the table as an HTML fragment: the best in bold, noise dimmed, notes collapsed below."""
    head = "".join(f"<th>{escape(text)}</th>" for text in ("strategy", "n", *map(_heading, table.columns)))
    rows = "".join(
        f"<tr><td>{escape(_label(row))}</td><td>{len(row.runs)}</td>{''.join(map(_cell, row.cells))}</tr>"
        for row in table.rows
    )
    footnotes = "".join(f"<div>[{number}] {escape(text)}</div>" for number, text in enumerate(table.footnotes, 1))
    about = "".join(f"<li>{escape(line)}</li>" for line in table.about)
    others = "".join(render(other) for other in table.others)
    answer = "".join(f"<p>{escape(sentence)}</p>" for sentence in table.answer)
    return (
        f"<div class='harness'>{_STYLE}<b>{escape(table.title)}</b> {escape(table.question)}{answer}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{footnotes}"
        f"<details><summary>notes</summary><ul>{about}</ul></details></div>{others}"
    )


def _label(row: Row) -> str:
    mark = {"baseline": " (baseline)", "reference": " (reference)"}.get(row.role, "")
    return f"{row.label}{mark}"


def _heading(column: Column) -> str:
    arrow = {"higher": " ↑", "lower": " ↓", None: ""}[column.better]
    return f"{column.group}: {column.title}{f' [{column.unit}]' if column.unit else ''}{arrow}"


def _cell(cell: Cell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.best else escape(cell.text)
    note = f" [{cell.note}]" if cell.note is not None else ""
    more = "".join(f"<small>{escape(part)}</small>" for part in (cell.detail, cell.in_words) if part)
    return f"<td{' class=dimmed' if cell.dimmed else ''}>{text}{note}{more}</td>"
