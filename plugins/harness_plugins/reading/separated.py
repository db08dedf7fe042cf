"""Reads CSV and TSV: detects the separator and quoting, and rejects quotes that swallow rows."""

import csv
import io
import re
import sys
from collections.abc import Collection, Sequence
from typing import Any

import harness
from harness_plugins.reading.rows import Rows, lines_of, name_columns
from harness_plugins.reading.values import is_number

_SEPARATORS = (",", ";", "\t", "|")
_NAMES = {"\t": "a tab", ";": "';'", "|": "'|'", ",": "','"}
_SAMPLE_LINES = 100
_ESCAPES = re.compile(r'\\[\\"]')
_FEW = 20
"""Maximum number of distinct values in a label column, to tell a row from a text of several lines."""


def read(
    path: str, text: str, separator: str | None, usual: str, wanted: Collection[str], *, header: bool, quoted: bool
) -> Rows:
    """Return the rows of a file of separated values, all as text.

    Args:
        path: For messages.
        text: The text of the file.
        separator: The separator between values; None to detect it.
        usual: The separator implied by the file extension.
        wanted: The requested columns; if a header has them under the usual separator, no detection is needed.
        header: Whether the first row holds the column names.
        quoted: Whether values may be quoted.

    Raises: HarnessError: Quotes swallow rows, or a row has more values than columns; the message says where and how to
        fix it.
    """
    notes = []
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:
        separator, text = separator or first.strip()[4], rest  # Excel's way to set the separator
        notes.append(f"separator {_NAMES.get(separator, repr(separator))}")
    elif separator is None:
        separator = _find_separator(text, usual, wanted)
        if separator != usual:
            notes.append(f"separator {_NAMES[separator]}")
    parsed, escaped = _parse(path, text, separator, quoted=quoted, header=header)
    if escaped:
        notes.append("quotes are escaped with a backslash")
    if not parsed:
        message = f"{path}: the file is empty"
        raise harness.HarnessError(message)
    names, doubled = name_columns(parsed[0] if header else [""] * max(map(len, parsed)), header=header)
    body = parsed[1:] if header else parsed
    filled = [(number, row) for number, row in enumerate(body, 1) if any(value.strip() for value in row)]
    # Without a header, extra columns may follow after a tab, such as sources; elsewhere, a separator in a text shifts
    # the rest.
    widest = None if not header and separator == "\t" else len(parsed[0])
    for number, row in filled:
        if widest is not None and len(row) > widest:
            told = f"the header has {len(names)} columns" if header else f"the first row has {widest}"
            message = (
                f"{path}: row {number} has {len(row)} values, but {told}; put quotes around values that contain "
                f"{_NAMES.get(separator, repr(separator))}, or set another separator with -o file.separator="
            )
            raise harness.HarnessError(message)
    if quoted:
        _check_swallowed(path, filled, separator, len(names))
    columns = {name: [row[at] if at < len(row) else None for _, row in filled] for at, name in enumerate(names)}
    return Rows(
        path,
        columns,
        [number for number, _ in filled],
        tuple(notes),
        len(body) - len(filled),
        doubled=frozenset(doubled),
    )


def _find_separator(text: str, usual: str, wanted: Collection[str]) -> str:
    """Return the likely separator of a file."""
    from clevercsv.detect import Detector

    first = lines_of(text[: text.find("\n") + 1] or text)[:1]
    header = {name.strip().strip('"').lower() for name in (first[0] if first else "").split(usual)}
    if {name.lower() for name in wanted} <= header:
        return usual
    sample = "".join(text.replace("\0", "").splitlines(keepends=True)[:_SAMPLE_LINES])
    try:
        found = Detector().detect(sample, delimiters=list(_SEPARATORS))
    except Exception:  # noqa: BLE001 - if detection fails for any reason, use the usual separator
        found = None
    separator = found.delimiter if found is not None and found.delimiter in _SEPARATORS else usual
    # Ignore a separator that the header does not contain.
    return separator if first and separator in first[0] else usual


def _parse(path: str, text: str, separator: str, *, quoted: bool, header: bool) -> tuple[list[list[str]], bool]:
    """Return the rows, and whether quotes are escaped with backslashes."""
    csv.field_size_limit(sys.maxsize)  # a text may be long
    if not quoted:
        return _rows(text, separator, quoting=csv.QUOTE_NONE)[0], False
    rows, error = _rows(text, separator)
    if error is None:
        return rows, False
    # Only if every backslash precedes an escaped character; backslashes in paths and formulas are text.
    if '\\"' in text and "\\" not in _ESCAPES.sub("", text):
        escaped, still = _rows(text, separator, escapechar="\\", doublequote=False)
        if still is None:
            return escaped, True
    number = len(rows) + (0 if header else 1)
    message = (
        f"{path}: row {number} has a quote that is not closed at the end of its value; if quotes are part of the "
        "text, use "
        "-o file.quoted=false; otherwise double the quotes inside quoted values"
    )
    raise harness.HarnessError(message)


def _rows(text: str, separator: str, **dialect: Any) -> tuple[list[list[str]], csv.Error | None]:
    """Return the rows before the first unreadable one, and its error."""
    rows: list[list[str]] = []
    try:
        rows.extend(
            row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, **dialect) if row
        )
    except csv.Error as error:
        return rows, error
    return rows, None


def _check_swallowed(path: str, rows: Sequence[tuple[int, Sequence[str]]], separator: str, width: int) -> None:
    """Reject a multi-line value that contains a whole row, which happens when a text begins with a literal quote.

    A line counts as a row if it has as many values and one of them also occurs in that column of single-line rows.
    """
    if width < 2:
        return
    if not any("\n" in value or "\r" in value for _, row in rows for value in row):
        return
    single = [
        [row[at].strip() for _, row in rows if at < len(row) and len(lines_of(row[at])) < 2] for at in range(width)
    ]
    few = {at: set(values) - {""} for at, values in enumerate(single) if len(set(values)) <= _FEW}
    numeric = {at for at, values in enumerate(single) if values and all(is_number(value) for value in values)}
    for number, row in rows:
        for value in row:
            for line in lines_of(value)[:-1] if "\n" in value or "\r" in value else ():
                parts = [part.strip() for part in line.split(separator)]
                alike = any(parts[at] in values for at, values in few.items() if at < len(parts))
                alike = alike or any(is_number(parts[at]) for at in numeric if at < len(parts))
                if len(parts) == width and all(parts) and alike:
                    message = (
                        f"{path}: row {number} contains other rows, because one of its values begins with a quote; "
                        "if quotes are "
                        "part of the text, use -o file.quoted=false; if it is one text, remove its line breaks"
                    )
                    raise harness.HarnessError(message)
