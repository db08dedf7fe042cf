"""Tables for a spreadsheet."""

import csv
import io

import harness

_ENDINGS = {
    "": "value",
    ".half_width": "half_width",
    ".verdict": "verdict",
    ".difference": "difference",
    ".difference_half_width": "difference_half_width",
    ".p": "p",
    ".rank": "rank",
}
"""What a column's key ends with for each field of a cell."""


class CSV(harness.Reporter):
    """For a spreadsheet: plain numbers, each with half the width of its interval and its verdict; blank where undefined."""

    name = "csv"
    suffix = ".csv"

    def render(self, table: harness.Table) -> str:
        """Return the table as CSV with one header line; rows that cannot be compared have another title in `table`."""
        output = io.StringIO()
        writer = csv.writer(output, lineterminator="\n")
        keys = [f"{column.key}{ending}" for column in table.columns for ending in _ENDINGS]
        writer.writerow(["strategy", "role", "seeds", "runs", "table", *keys])
        for title, row in ((part.title, row) for part in (table, *table.others) for row in part.rows):
            numbers = [getattr(cell, field) for cell in row.cells for field in _ENDINGS.values()]
            writer.writerow(
                [
                    row.label,
                    row.role,
                    len(row.runs),
                    " ".join(row.runs),
                    title,
                    *("" if number is None else number for number in numbers),
                ]
            )
        return output.getvalue()


@harness.hookimpl
def harness_reporters() -> list[type[harness.Reporter]]:
    """Offer the reporter."""
    return [CSV]
