"""Tables for spreadsheets."""

import csv
import io

import harness

_ALWAYS = {"": "value", ".low": "low", ".high": "high"}
_JUDGED = {
    ".verdict": "verdict",
    ".difference": "difference",
    ".difference_half_width": "difference_half_width",
    ".p": "p",
    ".best": "best",
}
"""Suffixes of column keys for the fields of a cell; the second mapping only for columns by which arms are judged."""


class CSV(harness.Reporter):
    """CSV for spreadsheets: plain numbers, each with its interval's half-width and its verdict; blank if undefined."""

    name = "csv"
    suffix = ".csv"

    def render(self, table: harness.Table) -> str:
        """Return the table as CSV with one header line; rows that are not comparable have another title in `table`."""
        output = io.StringIO()
        tables = (table, *table.others)
        # Tables have no columns for what was not measured in them.
        keys = list(dict.fromkeys(column.key for part in tables for column in part.columns))
        cells = [pair for part in tables for row in part.rows for pair in zip(part.columns, row.cells, strict=True)]
        judged = {column.key for column, cell in cells if cell.verdict is not None}
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
    """Register the reporter."""
    return [CSV]
