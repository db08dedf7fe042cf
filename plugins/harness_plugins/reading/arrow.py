"""Typed tables: Parquet, spreadsheets, and datasets saved or downloaded by `datasets`."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
from harness_plugins.reading.rows import Rows, name_columns

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

_INDEX = "__index_level_"
"""Prefix of the columns in which pandas stores row numbers."""


def read_parquet(path: str) -> Rows:
    """Return the rows of a Parquet file.

    Raises:
        HarnessError: The file is not Parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError):
        message = (
            f"{path}: not a Parquet file, or damaged; write it again, or set its format, such as -o file.format=csv"
        )
        raise harness.HarnessError(message) from None
    return _of_table(path, table)


def read_saved(path: str) -> "dict[harness.Split, Rows]":
    """Return the rows of a folder written by `save_to_disk` of `datasets`, by split.

    Raises:
        HarnessError: The folder is not such a dataset, or has no split named train.
    """
    import datasets
    import pyarrow as pa

    from harness_plugins.reading.structured import split_of

    try:
        found = datasets.load_from_disk(path)
    except (OSError, ValueError, pa.ArrowException):
        message = f"{path}: not a dataset written by save_to_disk, or damaged; save it again"
        raise harness.HarnessError(message) from None
    if isinstance(found, datasets.Dataset):
        return {"train": of_dataset(path, found)}
    splits = {
        split: of_dataset(f"{path}/{name}", rows) for name, rows in found.items() if (split := split_of(str(name)))
    }
    if "train" not in splits:
        message = f"{path}: no split is named train; the splits are {', '.join(map(str, found))}"
        raise harness.HarnessError(message)
    return splits


def of_dataset(path: str, rows: "datasets.Dataset") -> Rows:
    """Return the rows of a `datasets.Dataset`."""
    return _of_table(path, rows.with_format("arrow")[:])


def read_sheet(path: str, data: bytes, wanted: Collection[str], *, header: bool) -> Rows:
    """Return the rows of the first sheet with the requested columns, or else of the first sheet with any rows.

    Raises:
        HarnessError: The file is not a spreadsheet, or is empty.
    """
    import io

    import python_calamine

    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        sheets = {name: book.get_sheet_by_name(name).to_python(skip_empty_area=True) for name in book.sheet_names}
    except (python_calamine.CalamineError, OSError, ValueError):
        message = (
            f"{path}: not a readable spreadsheet (files with a password are not supported); save it as .xlsx, or as "
            "CSV in UTF-8"
        )
        raise harness.HarnessError(message) from None
    filled = {name: rows for name, rows in sheets.items() if rows}
    if not filled:
        message = f"{path}: the file is empty"
        raise harness.HarnessError(message)
    fitting = (name for name, rows in filled.items() if set(wanted) <= {str(value).strip() for value in rows[0]})
    name = next(fitting, next(iter(filled)))
    rows = filled[name]
    notes = (f"read sheet {name!r} of {len(filled)}; the others are ignored",) if len(filled) > 1 else ()
    width = max(map(len, rows))
    names, doubled = name_columns([str(value) for value in rows[0]] if header else [""] * width, header=header)
    body = rows[1:] if header else rows
    kept = [(number, row) for number, row in enumerate(body, 1) if any(value != "" for value in row)]
    columns: dict[str, list[Any]] = {
        title: [row[at] if at < len(row) and row[at] != "" else None for _, row in kept]
        for at, title in enumerate(names)
    }
    return Rows(path, columns, [number for number, _ in kept], notes, len(body) - len(kept), doubled=frozenset(doubled))


def is_saved(path: Path) -> bool:
    """Return whether a folder was written by `save_to_disk`."""
    return any((path / name).is_file() for name in ("dataset_dict.json", "dataset_info.json"))


def _of_table(path: str, table: "pa.Table") -> Rows:
    import datasets

    columns = {name: _values(table, name) for name in table.column_names if not name.startswith(_INDEX)}
    names: dict[str, tuple[str, ...]] = {}
    if b"huggingface" in (table.schema.metadata or {}):
        features = datasets.Features.from_arrow_schema(table.schema)
        for name in columns:
            feature = features.get(name)
            inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) and feature else feature)
            if isinstance(inner, datasets.ClassLabel):
                names[name] = tuple(inner.names)
    return Rows(path, columns, range(1, table.num_rows + 1), names=names)


def _values(table: "pa.Table", name: str) -> list[Any]:
    """Return a column's values; times outside Python's range become text."""
    import pyarrow as pa

    try:
        found: list[Any] = table.column(name).to_pylist()
    except (OverflowError, ValueError):
        found = table.column(name).cast(pa.string()).to_pylist()
    return found
