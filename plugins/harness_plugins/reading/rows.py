"""Rows of typed values, as one file has them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import harness

_SHOWN = 12
"""Columns that a message names."""
_LONG = 40
"""Characters of a name beyond which it is more likely a text."""


@dataclass(frozen=True)
class Rows:
    """The rows of one file, by column."""

    path: str
    columns: Mapping[str, Sequence[Any]]
    """By name, in the file's order; all of one length. A missing value is None."""
    numbers: Sequence[int]
    """Of each row in its file, from 1."""
    notes: tuple[str, ...] = ()
    """How the file was read, where that is not plain."""
    empty: int = 0
    """Rows left out because nothing stands in them."""
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For columns whose numbers stand for names, the names in their order."""
    doubled: frozenset[str] = frozenset()
    """Names that several columns have."""
    prose: bool = False
    """Whether these are texts of a file that can have no labels."""
    tagged: tuple[str, str] | None = None
    """The columns of words and of their tags, where the file's form says which they are."""

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.numbers)


def of_objects(path: str, objects: Sequence[Mapping[str, Any]], notes: Sequence[str] = ()) -> Rows:
    """Return the rows of a list of objects; a key that one lacks is missing there."""
    names = list(dict.fromkeys(name for row in objects for name in row))
    columns = {name: [row.get(name) for row in objects] for name in names}
    return Rows(path, columns, range(1, len(objects) + 1), tuple(notes))


def column(rows: Rows, name: str, option: str) -> str:
    """Return the column of that name, or else of that number.

    Args:
        rows: Where it is.
        name: What the user calls it.
        option: How the user names it, such as `--text`.

    Raises:
        HarnessError: There is none, or several; names the nearest.
    """
    if name in rows.doubled:
        message = f"{rows.path}: several columns are named {name!r}: give the number of one with {option}"
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
        option += "; if the first row is no header, add -o file.header=false and give columns by number"
    message = f"{rows.path}: {error}; name the right one with {option}"
    raise harness.HarnessError(message)


def lines_of(text: str) -> list[str]:
    """Return a text's lines, which end where a line does: `splitlines` ends one at an ellipsis of Windows, too."""
    lines = re.split(r"\r\n?|\n", text)
    return lines[:-1] if lines[-1] == "" else lines


def name_columns(first: Sequence[str], *, header: bool) -> tuple[list[str], set[str]]:
    """Return a name for each column, and those that several have: a column without one is called by its number."""
    if not header:
        return [str(number) for number, _ in enumerate(first, 1)], set()
    given = [name.strip() for name in first]
    while given and not given[-1]:
        given.pop()  # commas that a spreadsheet leaves at the end of every row
    names = [
        name if name and given.count(name) == 1 else f"{name or 'column'} ({number})"
        for number, name in enumerate(given, 1)
    ]
    return names, {name for name in given if name and given.count(name) > 1}
