"""Reads a user's file as a table of strings and numbers, whatever its form. Imported when data is read: it needs pandas."""

import csv
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

import harness
from harness_plugins.datasets._text import read_text

Format = Literal["csv", "tsv", "jsonl", "json", "parquet", "conll", "squad", "text", "lines"]
BY_SUFFIX: Mapping[str, Format] = {
    ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".json": "json", ".parquet": "parquet", ".txt": "text", ".conll": "conll",
}  # fmt: skip
_SPLITS: Mapping[str, harness.Split] = {
    "train": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation", "test": "test",
}  # fmt: skip
_PAIR = 2


def read(
    path: Path, form: Format, encoding: str, *, header: bool, quoted: bool
) -> pd.DataFrame | dict[harness.Split, pd.DataFrame]:
    """Return a file's rows, or those of each split where the file says what its splits are.

    Raises:
        HarnessError: The file is not of this form; says where.
    """
    try:
        if form in ("csv", "tsv"):
            frame = _separated(path, "," if form == "csv" else "\t", encoding, header=header, quoted=quoted)
            if form == "tsv" and quoted:
                _check_quotes(frame)
            return frame
        return _READERS[form](path, encoding)
    except (UnicodeDecodeError, LookupError):
        read_text(path, encoding)  # says where it is not in this encoding
        raise
    except pd.errors.EmptyDataError:
        message = f"{path}: the file is empty"
        raise harness.HarnessError(message) from None
    except (ValueError, OSError, csv.Error) as error:
        message = f"{path}: cannot be read as {form.upper()}: {' '.join(str(error).split())}"
        raise harness.HarnessError(message) from None


def _jsonl(path: Path, encoding: str) -> pd.DataFrame:
    return pd.read_json(path, lines=True, dtype=False, encoding=encoding)


def _parquet(path: Path, encoding: str) -> pd.DataFrame:
    del encoding
    # A frame that was sorted or filtered keeps the numbers its rows had; lists come back as arrays.
    frame = pd.read_parquet(path).reset_index(drop=True)
    return frame.map(lambda value: value.tolist() if isinstance(value, np.ndarray) else value)


def _separated(path: Path, separator: str, encoding: str, *, header: bool, quoted: bool) -> pd.DataFrame:
    quoting: Any = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    names = None
    if not header:
        # Rows may end in more values than the first has, as sources after the texts.
        with path.open(encoding=encoding, newline="") as file:
            widest = max((len(row) for row in csv.reader(file, delimiter=separator, quoting=quoting)), default=0)
        names = [str(number) for number in range(1, widest + 1)]
    return pd.read_csv(
        path,
        sep=separator,
        dtype=str,
        keep_default_na=False,
        encoding=encoding,
        header=0 if header else None,
        names=names,
        quoting=quoting,
    )


def _check_quotes(frame: pd.DataFrame) -> None:
    """Refuse a value that holds a whole row: its text begins with a quote that stands for itself."""
    tabs = len(frame.columns) - 1
    for name in frame.columns if tabs else ():
        for number, text in enumerate(frame[name].astype(str), 1):
            lines = text.split("\n") if "\n" in text else []
            if not any(line.count("\t") == tabs and line.split("\t")[0].strip() for line in lines):
                continue
            message = (
                f"row {number} holds others, because its {name!r} begins with a quote: "
                "if quotes stand for themselves, say -o file.quoted=false"
            )
            raise ValueError(message)


def _json(path: Path, encoding: str) -> pd.DataFrame | dict[harness.Split, pd.DataFrame]:
    """Read a list of objects, or an object that has a list of objects or [text, label] pairs for each split."""
    content = json.loads(read_text(path, encoding))
    if isinstance(content, list):
        return _rows(content)
    if not isinstance(content, dict):
        message = "expected a list of rows or an object of splits"
        raise ValueError(message)
    parts: dict[harness.Split, list[pd.DataFrame]] = {}
    for name, rows in content.items():
        # "oos_train" is a part of train, as CLINC150 has it.
        split = _SPLITS.get(name.rpartition("_")[2])
        if split is None:
            message = f"part {name!r} is no split: its name must end in {', '.join(_SPLITS)}"
            raise ValueError(message)
        parts.setdefault(split, []).append(_rows(rows))
    return {split: pd.concat(frames, ignore_index=True) for split, frames in parts.items()}


def _rows(rows: Any) -> pd.DataFrame:
    if not isinstance(rows, list):
        message = "expected a list of rows"
        raise ValueError(message)
    for number, row in enumerate(rows, 1):
        if not (isinstance(row, dict) or (isinstance(row, list) and len(row) == _PAIR)):
            message = f"row {number} is neither an object nor a pair of text and label"
            raise ValueError(message)
    pairs = bool(rows) and isinstance(rows[0], list)
    frame = pd.DataFrame(rows, columns=["text", "label"]) if pairs else pd.DataFrame(rows)
    return frame.astype(object)


def _lines(path: Path, encoding: str) -> list[str]:
    """Return a file's lines, which end where a line does: `splitlines` ends one at an ellipsis of Windows, too."""
    lines = re.split(r"\r\n?|\n", read_text(path, encoding))
    return lines[:-1] if lines[-1] == "" else lines


def _paragraphs(path: Path, encoding: str) -> pd.DataFrame:
    """Read what blank lines part, each on one line."""
    parts: list[list[str]] = [[]]
    for line in _lines(path, encoding):
        if line.strip():
            parts[-1].append(line.strip())
        elif parts[-1]:
            parts.append([])
    return pd.DataFrame({"text": [" ".join(lines) for lines in parts if lines]})


def _labelled_lines(path: Path, encoding: str) -> pd.DataFrame:
    """Read lines of a label, a space and a text."""
    rows = []
    for number, line in enumerate(_lines(path, encoding), 1):
        label, space, text = line.strip().partition(" ")
        if not (space and text.strip()):
            message = f"line {number} is not of the form 'label text'"
            raise ValueError(message)
        rows.append((label, text.strip()))
    return pd.DataFrame(rows, columns=["label", "text"])


_READERS: Mapping[Format, Callable[[Path, str], pd.DataFrame | dict[harness.Split, pd.DataFrame]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "parquet": _parquet,
    "text": _paragraphs,
    "lines": _labelled_lines,
}
