"""Tables as Excel sheets."""

import io
from typing import Any, ClassVar

import harness

_FORBIDDEN = str.maketrans(dict.fromkeys("[]:*?/\\", "-"))
_LONGEST = 31
"""Characters of the name of a sheet."""


class Excel(harness.Reporter):
    """Excel file: a sheet of numbers for each table, with intervals and verdicts, and a sheet of notes."""

    name = "excel"
    suffix = ".xlsx"
    file = True
    imports: ClassVar[tuple[str, ...]] = ("xlsxwriter",)
    install = "pip install 'finetune-harness[excel]'"

    def render(self, table: harness.Table) -> bytes:
        """Return the file."""
        import xlsxwriter

        output = io.BytesIO()
        # Texts are never read as formulas or links, whatever they begin with.
        options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        with xlsxwriter.Workbook(output, options) as book:
            book.set_properties({"title": table.title})
            for number, part in enumerate((table, *table.others), 1):
                _fill(book, book.add_worksheet(_sheet(part.title, number)), part)
            notes = book.add_worksheet("notes")
            notes.set_column(0, 0, 120)
            for at, line in enumerate([table.question, *table.answer, *table.footnotes, *table.about]):
                notes.write_string(at, 0, line)
        return output.getvalue()


def _sheet(title: str, number: int) -> str:
    name = "".join(sign for sign in title.translate(_FORBIDDEN) if sign.isprintable()).strip("' ")
    return f"{number} {name}"[:_LONGEST].rstrip("' ")


def _fill(book: Any, sheet: Any, table: harness.Table) -> None:
    bold, heading = book.add_format({"bold": True}), book.add_format({"bold": True, "bottom": 1, "text_wrap": True})
    columns: list[tuple[int, str, str]] = []
    for at, column in enumerate(table.columns):
        unit = harness.UNITS.get(column.quantity, column.unit)
        title = f"{column.group}: {column.title}{f' [{unit}]' if unit else ''}"
        cells = [row.cells[at] for row in table.rows]
        columns.append((at, "value", title))
        columns += [
            (at, name, f"{title}, {name}") for name in ("low", "high") if any(cell.low is not None for cell in cells)
        ]
        columns += [(at, "verdict", f"{title}, verdict")] if any(cell.verdict for cell in cells) else []
    for place, title in enumerate(["strategy", "role", "n", *(title for *_, title in columns)]):
        sheet.write_string(0, place, title, heading)
    for line, row in enumerate(table.rows, 1):
        sheet.write_string(line, 0, row.label)
        sheet.write_string(line, 1, row.role)
        sheet.write_number(line, 2, len(row.runs))
        for place, (at, field, _) in enumerate(columns, 3):
            cell = row.cells[at]
            found = cell.in_words if field == "verdict" else getattr(cell, field)
            if isinstance(found, str):
                sheet.write_string(line, place, found)
            elif found is not None:
                sheet.write_number(line, place, found, bold if cell.best and field == "value" else None)
    sheet.freeze_panes(1, 1)
    sheet.autofilter(0, 0, len(table.rows), len(columns) + 2)
    sheet.autofit()


@harness.hookimpl
def harness_reporters() -> list[type[harness.Reporter]]:
    """Register the reporter."""
    return [Excel]
