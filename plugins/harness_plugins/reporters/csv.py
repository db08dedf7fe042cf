"""Tables for a spreadsheet."""

import csv
import io

import harness

_ALWAYS = {"": "value", ".half_width": "half_width"}
_JUDGED = {
    ".verdict": "verdict",
    ".difference": "difference",
    ".difference_half_width": "difference_half_width",
    ".p": "p",
    ".rank": "rank",
}
"""What a column's key ends with for each field of a cell; the second only where arms are judged by the column."""


class CSV(harness.Reporter):
    """For a spreadsheet: plain numbers, each with half the width of its interval and its verdict; blank where undefined."""

    name = "csv"
    suffix = ".csv"

    def render(self, table: harness.Table) -> str:
        """Return the table as CSV with one header line; rows that cannot be compared have another title in `table`."""
        output = io.StringIO()
        tables = (table, *table.others)
        # What was never measured in a table has no column there.
        keys = list(dict.fromkeys(column.key for part in tables for column in part.columns))
        cells = [pair for part in tables for row in part.rows for pair in zip(part.columns, row.cells, strict=True)]
        judged = {column.key for column, cell in cells if cell.verdict is not None or cell.rank is not None}
        endings = {key: _ALWAYS | (_JUDGED if key in judged else {}) for key in keys}
        titles = [f"{key}{ending}" for key in keys for ending in endings[key]]
        first = ["strategy", "role", "seeds", "runs", "table"]
        writer = csv.DictWriter(output, [*first, *titles], lineterminator="\n")
        writer.writeheader()
        for part in tables:
            for row in part.rows:
                facts = (row.label, row.role, len(row.runs), " ".join(row.runs), part.title)
                numbers = {
                    f"{column.key}{ending}": getattr(cell, field)
                    for column, cell in zip(part.columns, row.cells, strict=True)
                    for ending, field in endings[column.key].items()
                }
                writer.writerow({**dict(zip(first, facts, strict=True)), **numbers})
        return output.getvalue()


@harness.hookimpl
def harness_reporters() -> list[type[harness.Reporter]]:
    """Offer the reporter."""
    return [CSV]
