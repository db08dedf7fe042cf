"""The user's own data files."""

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from pydantic import ConfigDict, Field

import harness
from harness_plugins.datasets._columns import Columns

if TYPE_CHECKING:
    from harness_plugins.reading.rows import Rows

Format = Literal["csv", "tsv", "jsonl", "json", "parquet", "xlsx", "conll", "squad", "text", "lines", "dataset"]
_SPLITS: tuple[harness.Split, ...] = get_args(harness.Split)
_BY_SUFFIX: Mapping[str, Format] = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet",
    ".xlsx": "xlsx", ".xls": "xlsx", ".ods": "xlsx", ".txt": "text", ".conll": "conll",
    ".conllu": "conll",
}  # fmt: skip
_PACKED = (".gz", ".bz2", ".xz", ".zst")
_RECOGNISED: Mapping[str, tuple[str, ...]] = {"conll": ("words and tags in columns (CoNLL)",)}
"""Notes on formats recognised by their lines; the reader of fastText adds its own note."""
_SPLIT_NAME = re.compile(r"(train|validation|valid|val|dev|test)(-\d+(-of-\d+)?)?\.", re.IGNORECASE)


class File(Columns):
    """Your own file: CSV, TSV, JSONL, JSON, Parquet, Excel, CoNLL, SQuAD or plain text, with one text and label per row.

    The format follows from the file extension, or from `format`: `format=lines` has a label, a space and a text on each
    line; `format=squad` is SQuAD's JSON; `format=conll` (.conll) has words and tags in columns; `format=text` (.txt)
    has paragraphs separated by blank lines and no labels; `format=dataset` is a folder written by save_to_disk. Files
    may be compressed (.gz, .bz2, .xz, .zst), a split may have several files, and a folder may hold train, validation
    and test files. Chat messages, instructions, prompts and completions, tokens with tags and labelled spans are
    recognised by their columns. Columns are given by name, or by number from 1.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    name = "file"
    version = 2
    task = "text-classification"
    watch_task = "probe"
    argument = "path"
    suffixes = (*_BY_SUFFIX, *_PACKED, "/", "*")
    locating = frozenset({"path", "validation", "test"})

    path: str | tuple[str, ...] = Field(
        description="data file, or folder of data files; the train split if other splits have their own files"
    )
    validation: str | tuple[str, ...] | None = Field(
        None, description="file of the validation split; default: split off from train"
    )
    test: str | tuple[str, ...] | None = Field(
        None, description="file of the test split; default: split off from train"
    )
    format: Format | None = Field(None, description="format of the files; default: from the file extension")
    encoding: str | None = Field(
        None, description="encoding of the files; default: from the byte order mark, else UTF-8"
    )
    separator: str | None = Field(
        None,
        min_length=1,
        max_length=2,
        description="separator between values in CSV and TSV, such as ';' or '\\t'; default: detected",
    )
    header: bool = Field(True, description="whether the first row of a CSV, TSV or Excel file holds the column names")
    quoted: bool = Field(True, description="whether values in CSV and TSV may be quoted")

    def fingerprint(self) -> str:
        """Return one hash over the files, with the split and format of each."""
        from harness_plugins.reading.content import plain_suffix

        parts = [
            f"{name} {self.format or plain_suffix(path)} {harness.hash_files(_files(path))}"
            for name, paths in self._paths().items()
            for path in paths
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def rows(self) -> "dict[harness.Split, list[Rows]]":
        """Return the rows of each split's files."""
        if self.split is not None and (self.validation or self.test):
            message = f"{self.path}: splits are given both by column {self.split!r} and by separate files; use only one"
            raise harness.HarnessError(message)
        parts: dict[harness.Split, list[Rows]] = {}
        given = self._paths()
        for name, paths in given.items():
            for path in paths:
                found = self._read(path)
                for split, rows in (found if isinstance(found, dict) else {name: found}).items():
                    if split != name and split in given:
                        message = f"{path}: the {split} split is given twice; give it once"
                        raise harness.HarnessError(message)
                    parts.setdefault(split, []).append(rows)
        return parts

    def unlabelled(self, path: str, columns: Mapping[str, tuple[str, ...]]) -> harness.Unlabelled:
        """Return the rows of another file without labels."""
        from harness_plugins.reading.unlabelled import read_unlabelled

        there = self.model_copy(update={"path": path, "validation": None, "test": None, "split": None, "label": None})
        rows = there._read(path)  # noqa: SLF001 - of this class
        if isinstance(rows, dict):
            message = f"{path}: holds several splits; give a file with one split"
            raise harness.HarnessError(message)
        return read_unlabelled(rows, columns, there._asked())  # noqa: SLF001 - of this class

    def _paths(self) -> dict[harness.Split, tuple[str, ...]]:
        given: dict[harness.Split, str | tuple[str, ...] | None] = {
            "train": self.path,
            "validation": self.validation,
            "test": self.test,
        }
        paths = {name: (found,) if isinstance(found, str) else found or () for name, found in given.items()}
        if len(paths["train"]) == 1 and (folder := Path(paths["train"][0])).is_dir() and not self._is_saved(folder):
            paths = {
                **_of_folder(folder, self.format),
                **{name: found for name, found in paths.items() if name != "train" and found},
            }
        return {name: paths[name] for name in _SPLITS if paths.get(name)}

    def _is_saved(self, folder: Path) -> bool:
        from harness_plugins.reading.arrow import is_saved

        return self.format == "dataset" or is_saved(folder)

    def _read(self, path: str) -> "Rows | dict[harness.Split, Rows]":
        from harness_plugins.reading import arrow, content

        if Path(path).is_dir() and self._is_saved(Path(path)):
            return arrow.read_saved(path)
        _files(path)
        if self.format == "dataset":
            message = f"{path}: is a file, but format=dataset needs a folder written by save_to_disk"
            raise harness.HarnessError(message)
        form = self.format or _BY_SUFFIX.get(content.plain_suffix(path))
        if form == "parquet":
            return arrow.read_parquet(path)
        data = content.read_bytes(Path(path))
        if form == "xlsx":
            return arrow.read_sheet(path, data, self._wanted(), header=self.header)
        text, notes = content.decode(Path(path), data, self.encoding)
        if not text.strip():
            message = f"{path}: the file is empty"
            raise harness.HarnessError(message)
        if self.format is None and form in ("text", None):
            form, found = self._recognised(path, text, form), form
            notes = notes if form == found else (*notes, *_RECOGNISED.get(form, ()))
        read = self._of_text(path, text, form)
        return (
            {split: _noted(rows, notes) for split, rows in read.items()}
            if isinstance(read, dict)
            else _noted(read, notes)
        )

    def _of_text(self, path: str, text: str, form: "Format | None") -> "Rows | dict[harness.Split, Rows]":
        from harness_plugins.reading import answers, lines, separated, structured, tags

        if form in ("csv", "tsv"):
            if structured.is_json(text) or structured.is_json(text.partition("\n")[0]):
                message = (
                    f"{path}: holds JSON; use -o file.format=json, or -o file.format=jsonl for one object per line"
                )
                raise harness.HarnessError(message)
            separator = {"\\t": "\t"}.get(self.separator or "", self.separator)
            if separator is not None and len(separator) != 1:
                message = f"file.separator={separator!r}: the separator must be one character, such as ';' or '\\t'"
                raise harness.HarnessError(message)
            usual = "," if form == "csv" else "\t"
            return separated.read(path, text, separator, usual, self._wanted(), header=self.header, quoted=self.quoted)
        readers: Mapping[str, Callable[[], Rows | dict[harness.Split, Rows]]] = {
            "jsonl": lambda: structured.read_lines(path, text),
            "json": lambda: structured.read(path, text),
            "squad": lambda: answers.read(path, structured.load(path, text)),
            "conll": lambda: tags.read(path, text, *self._numbered(path)),
            "lines": lambda: lines.read_labelled(path, text),
        }
        return readers.get(form or "", lambda: lines.read_paragraphs(path, text))()

    def _wanted(self) -> list[str]:
        return [name for name in (self.text, self.label) if name]

    def _recognised(self, path: str, text: str, form: "Format | None") -> Format:
        """Return the format of a file whose extension is unknown or only means plain text.

        Raises:
            HarnessError: The extension is unknown; the message says what the file looks like.
        """
        from harness_plugins.reading import lines

        looks = lines.looks_like(text)
        if looks is None and (separator := lines.separator_of(text)):
            how = "-o file.format=tsv" if separator == "\t" else f"-o file.format=csv -o 'file.separator={separator}'"
            message = (
                f"{path}: the lines look like columns, not prose; use {how}, and also -o file.header=false --text 1 "
                "--label 2 if "
                "the first line does not hold the column names; if the file is prose, use -o file.format=text"
            )
            raise harness.HarnessError(message)
        if form is not None:
            return "lines" if looks == "lines" else "conll" if looks == "conll" else form
        suffix = Path(path).suffix
        told = {
            "conll": "; it looks like words and tags in columns: use -o file.format=conll",
            "lines": "; it looks like fastText lines: use -o file.format=lines",
            None: f"; rename it to one of {', '.join(_BY_SUFFIX)}, or set its format, such as -o file.format=csv",
        }[looks]
        message = f"{path}: unknown file extension {suffix!r}{told}"
        raise harness.HarnessError(message)

    def _numbered(self, path: str) -> tuple[int | None, int | None]:
        """Return the numbers of the word column and the tag column; None for the default."""
        numbers = [None if name in ("text", "label", None) else name for name in (self.text, self.label)]
        if not all(number is None or number.isdigit() for number in numbers):
            message = f"{path}: columns of a CoNLL file have no names; give their numbers, such as -o file.label=4"
            raise harness.HarnessError(message)
        words, tags = (None if number is None else int(number) for number in numbers)
        return words, tags


def _noted(rows: "Rows", notes: tuple[str, ...]) -> "Rows":
    from dataclasses import replace

    return replace(rows, notes=(*notes, *rows.notes)) if notes else rows


def _files(path: str) -> list[Path]:
    """Return the file, or the files in the folder of a saved dataset.

    Raises:
        HarnessError: No such file.
    """
    found = Path(path)
    if found.is_dir():
        from harness_plugins.reading.arrow import is_saved

        if not is_saved(found):
            message = (
                f"{path!r} is a folder: give its files, or give one folder with train, validation and test files and "
                "nothing else"
            )
            raise harness.HarnessError(message)
        return sorted(part for part in found.rglob("*") if part.suffix in (".arrow", ".json"))
    if not found.is_file():
        message = f"no data file {path!r}"
        raise harness.HarnessError(message)
    return [found]


def _of_folder(folder: Path, form: "Format | None") -> dict[harness.Split, tuple[str, ...]]:
    """Return the files of each split in a folder, recognised by their names.

    Raises:
        HarnessError: There is no train file, or a split has files in several formats.
    """
    from harness_plugins.reading.content import plain_suffix
    from harness_plugins.reading.structured import split_of

    found: dict[harness.Split, list[Path]] = {}
    for path in sorted(part for part in folder.iterdir() if part.is_file()):
        named = _SPLIT_NAME.match(path.name)
        if named and (form is not None or plain_suffix(str(path)) in _BY_SUFFIX):
            split = split_of(named[1])
            assert split is not None
            found.setdefault(split, []).append(path)
    if "train" not in found:
        message = (
            f"{str(folder)!r} is a folder without a train file; name its files train, validation and test, such as "
            "train.csv, or give one file"
        )
        raise harness.HarnessError(message)
    for split, paths in found.items():
        if len({plain_suffix(str(path)) for path in paths}) > 1:
            message = (
                f"{str(folder)!r} has {split} files in several formats ({', '.join(path.name for path in paths)}); "
                "give one of them"
            )
            raise harness.HarnessError(message)
    return {split: tuple(map(str, paths)) for split, paths in found.items()}


@harness.hookimpl
def harness_datasets() -> list[type[harness.Dataset]]:
    """Register the dataset."""
    return [File]
