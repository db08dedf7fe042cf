"""Tables for a spreadsheet."""

import csv
import io

import harness


class CSV(harness.Reporter):
    """For a spreadsheet: plain numbers, each with half the width of its interval; blank where undefined."""

    name = "csv"
    suffix = ".csv"

    def render(self, table: harness.Table) -> str:
        """Return the table as CSV with one header line; rows that cannot be compared have another title in `table`."""
        output = io.StringIO()
        writer = csv.writer(output, lineterminator="\n")
        keys = [key for column in table.columns for key in (column.key, f"{column.key}.half_width")]
        writer.writerow(["strategy", "role", "seeds", "runs", "table", *keys])
        for title, row in ((part.title, row) for part in (table, *table.others) for row in part.rows):
            numbers = [number for cell in row.cells for number in (cell.value, cell.half_width)]
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
