"""Rows of typed values from one file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import harness

_SHOWN = 12
"""Maximum number of columns listed in a message."""
_LONG = 40
"""Length of a column name above which it is probably a text."""


@dataclass(frozen=True)
class Rows:
    """The rows of one file, by column."""

    path: str
    columns: Mapping[str, Sequence[Any]]
    """By name, in the order of the file; all of the same length. Missing values are None."""
    numbers: Sequence[int]
    """The number of each row in its file, from 1."""
    notes: tuple[str, ...] = ()
    """Notes on how the file was read."""
    empty: int = 0
    """Number of rows skipped because they are empty."""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For columns whose numbers stand for class names, the names in order."""
    doubled: frozenset[str] = frozenset()
    """Names shared by several columns."""
    prose: bool = False
    """Whether the file format cannot have labels."""
    tagged: tuple[str, str] | None = None
    """The columns of words and of tags, if the file format determines them."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.numbers)


def of_objects(path: str, objects: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> Rows:
    """Return the rows of a list of objects; keys that an object lacks are missing values."""
    names = list(dict.fromkeys(name for row in objects for name in row))
    columns = {name: [row.get(name) for row in objects] for name in names}
    return Rows(path, columns, range(1, len(objects) + 1), tuple(notes))


def column(rows: Rows, name: str, option: str) -> str:
    """Return the column with that name, or else with that number.

    Args:
        rows: The rows that have the column.
        name: The name or number given by the user.
        option: The option that names it, such as `--text`.

    Raises:
        HarnessError: There is no such column, or several; the message suggests the closest name.
    """
    if name in rows.doubled:
        message = f"{rows.path}: several columns are named {name!r}; give the number of one with {option}"
        raise harness.HarnessError(message)
    if name in rows.columns:
        return name
    if name.isdecimal() and 0 < int(name) <= len(rows.columns):
        return list(rows.columns)[int(name) - 1]
    shown = [" ".join(known.split()) for known in rows.columns]
    shown = [known if len(known) <= _LONG else f"{known[:_LONG]}..." for known in shown]
    error = str(harness.unknown("column", name, shown))
    if "choose one of" not in error:
        error += f"; the columns are {', '.join(shown[:_SHOWN])}{', ...' * (len(shown) > _SHOWN)}"
    if any(len(known) > _LONG for known in rows.columns):
        option += "; if the first row is not a header, use -o file.header=false and give columns by number"
    message = f"{rows.path}: {error}; set the column with {option}"
    raise harness.HarnessError(message)


def lines_of(text: str) -> list[str]:
    """Return a text's lines, split only at line breaks; `splitlines` also splits at a Windows ellipsis."""
    lines = re.split(r"\r\n?|\n", text)
    return lines[:-1] if lines[-1] == "" else lines


def name_columns(first: Sequence[str], *, header: bool) -> tuple[list[str], set[str]]:
    """Return a name for each column, and the names shared by several; columns without a name get their number."""
    if not header:
        return [str(number) for number, _ in enumerate(first, 1)], set()
    given = [name.strip() for name in first]
    while given and not given[-1]:
        given.pop()  # trailing commas written by spreadsheets
    names = [
        name if name and given.count(name) == 1 else f"{name or 'column'} ({number})"
        for number, name in enumerate(given, 1)
    ]
    return names, {name for name in given if name and given.count(name) > 1}
