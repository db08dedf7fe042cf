"""Tables for programs and spreadsheets."""

import csv
import io

import harness

_FIELDS = ("value", "low", "high", "half_width", "best", "verdict", "difference", "difference_half_width", "p")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class CSV(harness.Reporter):
    """CSV for programs and spreadsheets: a line for each strategy and column; blank if undefined."""

    name = "csv"
    suffix = ".csv"

    def render(self, table: harness.Table) -> str:
        """Return the table as tidy CSV with one header line; numbers are in the units of `unit`."""
        output = io.StringIO()
        writer = csv.writer(output, lineterminator="\n")
        writer.writerow(
            ["table", "strategy", "role", "n", "group", "column", "key", "unit", *_FIELDS, "reason", "runs"]
        )
        for part in (table, *table.others):
            for row in part.rows:
                for column, cell in zip(part.columns, row.cells, strict=True):
                    texts = [part.title, row.label, row.role, len(row.runs), column.group, column.title, column.key]
                    unit = harness.UNITS.get(column.quantity, column.unit)
                    numbers = [getattr(cell, field) for field in _FIELDS]
                    reason = "" if cell.note is None else part.footnotes[cell.note - 1]
                    writer.writerow([*map(_text, texts), _text(unit), *numbers, _text(reason), " ".join(row.runs)])
        return output.getvalue()


def _text(value: object) -> object:
    """Return a value that no spreadsheet reads as a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


@harness.hookimpl
def harness_reporters() -> list[type[harness.Reporter]]:
    """Register the reporter."""
    return [CSV]
