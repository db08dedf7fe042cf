"""Tables with types: Parquet, spreadsheets, and what `datasets` saves or fetches."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
from harness_plugins.reading.rows import Rows, name_columns

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

_INDEX = "__index_level_"
"""How pandas calls the numbers its rows had."""


def read_parquet(path: str) -> Rows:
    """Return the rows of a Parquet file.

    Raises:
        HarnessError: It is not one.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError):
        message = (
            f"{path}: not a Parquet file, or a damaged one: write it again, or name its form with -o file.format=csv"
        )
        raise harness.HarnessError(message) from None
    return _of_table(path, table)


def read_saved(path: str) -> "dict[harness.Split, Rows]":
    """Return the rows of a folder that `save_to_disk` of `datasets` has written, by split.

    Raises:
        HarnessError: It is not one, or has no split named train.
    """
    import datasets
    import pyarrow as pa

    from harness_plugins.reading.structured import split_of

    try:
        found = datasets.load_from_disk(path)
    except (OSError, ValueError, pa.ArrowException):
        message = f"{path}: not a dataset that save_to_disk wrote, or a damaged one: save it again"
        raise harness.HarnessError(message) from None
    if isinstance(found, datasets.Dataset):
        return {"train": of_dataset(path, found)}
    splits = {
        split: of_dataset(f"{path}/{name}", rows) for name, rows in found.items() if (split := split_of(str(name)))
    }
    if "train" not in splits:
        message = f"{path}: no split is named train, but {', '.join(map(str, found))}"
        raise harness.HarnessError(message)
    return splits


def of_dataset(path: str, rows: "datasets.Dataset") -> Rows:
    """Return the rows of a dataset of `datasets`."""
    return _of_table(path, rows.with_format("arrow")[:])


def read_sheet(path: str, data: bytes, wanted: Collection[str], *, header: bool) -> Rows:
    """Return the rows of a spreadsheet's first sheet with the wanted columns, or of its first that has any rows.

    Raises:
        HarnessError: It is not a spreadsheet, or is empty.
    """
    import io

    import python_calamine

    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        sheets = {name: book.get_sheet_by_name(name).to_python(skip_empty_area=True) for name in book.sheet_names}
    except (python_calamine.CalamineError, OSError, ValueError):
        message = f"{path}: not a spreadsheet that can be read (one with a password cannot): save it as .xlsx, or as CSV in UTF-8"
        raise harness.HarnessError(message) from None
    filled = {name: rows for name, rows in sheets.items() if rows}
    if not filled:
        message = f"{path}: the file is empty"
        raise harness.HarnessError(message)
    fitting = (name for name, rows in filled.items() if set(wanted) <= {str(value).strip() for value in rows[0]})
    name = next(fitting, next(iter(filled)))
    rows = filled[name]
    notes = (f"sheet {name!r} of {len(filled)}: the others are not read",) if len(filled) > 1 else ()
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
    """Return whether a folder is one that `save_to_disk` has written."""
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
    """Return a column's values; of times that Python cannot hold, as text."""
    import pyarrow as pa

    try:
        found: list[Any] = table.column(name).to_pylist()
    except (OverflowError, ValueError):
        found = table.column(name).cast(pa.string()).to_pylist()
    return found
