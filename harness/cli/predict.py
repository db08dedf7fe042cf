"""`harness predict`: add an exported model's predictions to the rows of a file."""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any

import typer
from pydantic import JsonValue
from rich.console import Console
from rich.progress import track

from harness.catalog import Catalog, load_catalog
from harness.cli import options
from harness.contracts import Dataset, Unlabelled
from harness.delivery.load import Delivered
from harness.delivery.manifest import Manifest
from harness.errors import HarnessError, UndefinedError
from harness.experiment.plan import opener
from harness.experiment.spec import toml_value
from harness.runner.understood import say
from harness.store import replacing

_CHUNK = 256
"""Rows predicted at a time."""
_FORMS = {".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_STDIN = "-"


def predict(
    folder: Annotated[
        Path, typer.Argument(help="Model folder, written by harness export or --keep-models.", show_default=False)
    ],
    file: Annotated[
        str,
        typer.Argument(
            help="CSV, JSONL or another data file; - reads lines or JSONL from standard input.", show_default=False
        ),
    ],
    output: Annotated[
        list[str] | None,
        typer.Option(
            "--output",
            "-o",
            help="Output file (.csv, .tsv, .jsonl); default: standard output. Or a setting for reading FILE, such as "
            "file.encoding=cp1252.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="Text column; default: its name in the tuning data.")
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Use the folder's ONNX graph.")] = False,
    cpu: Annotated[bool, typer.Option("--cpu", help="Use the CPU only.")] = False,
    without: options.Without = None,
) -> None:
    """Add predictions to the rows of a file: a label and its probability, tags, an answer or a text.

    Needs only the model folder, not the results folder. Rows without a text are left blank and counted.
    """
    catalog = load_catalog(without or ())
    settings, target = _settings(output or ())
    delivered = Delivered(folder, device="cpu" if cpu else None, onnx=onnx, catalog=catalog)
    with _file(file, text or _named(delivered.manifest)) as (path, form):
        given = _read(path, delivered.manifest, catalog, {**settings, **({"text": text} if text else {})})
        wanted = _FORMS.get(target.suffix.lower(), "jsonl") if target else form
        with _open(target) as stream:
            blank = _answer(delivered, given, _writer(stream, wanted))
    if blank:
        first = next(at for at, problem in enumerate(given.problems) if problem)
        say(f"{blank:,} of {len(given.rows):,} rows left blank (first: row {first + 1}: {given.problems[first]})")
    if target:
        say(f"{target}: {len(given.rows):,} rows")


def _settings(given: Sequence[str]) -> tuple[dict[str, JsonValue], Path | None]:
    """Split the values of -o into settings and the output path."""
    settings: dict[str, JsonValue] = {}
    target: Path | None = None
    for value in given:
        name, equals, text = value.partition("=")
        if equals and "." in name and "/" not in name:
            settings[name.partition(".")[2]] = toml_value(text)
        elif target is not None:
            message = f"two output files given: {str(target)!r} and {value!r}: name only one with -o"
            raise HarnessError(message)
        else:
            target = Path(value)
    if target is not None and target.suffix.lower() not in _FORMS:
        message = f"-o {str(target)!r}: unknown file extension: use one of {', '.join(_FORMS)}"
        raise HarnessError(message)
    if target is not None and target.exists():
        message = f"{str(target)!r} already exists, and predict does not overwrite files: choose another name with -o"
        raise HarnessError(message)
    return settings, target


def _named(manifest: Manifest) -> str:
    """Return the name of the text column in the tuning data."""
    return next(iter(manifest.columns.get("text", ())), "text")


@contextmanager
def _file(file: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield the path of the input file, and the default output format.

    Args:
        file: The argument FILE.
        name: Column name for plain lines from standard input.
    """
    if file != _STDIN:
        if not Path(file).exists():
            message = f"no data file {file!r}"
            raise HarnessError(message)
        yield file, _FORMS.get(Path(file).suffix.lower(), "jsonl")
        return
    lines = [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
    if not lines:
        message = "standard input is empty: write one text per line, or JSON objects"
        raise HarnessError(message)
    if not lines[0].lstrip().startswith("{"):
        lines = [json.dumps({name: line}, ensure_ascii=False) for line in lines]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standard-input.jsonl"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield str(path), "jsonl"


def _read(path: str, manifest: Manifest, catalog: Catalog, settings: Mapping[str, JsonValue]) -> Unlabelled:
    """Return the rows of a file, read with the same settings as the tuning data if that came from files."""
    cls = opener(catalog, Dataset, path)
    if cls is None:
        message = f"{path!r}: no installed plugin reads this file type"
        raise HarnessError(message)
    known = {
        name: value
        for name, value in manifest.dataset.params.items()
        if name in cls.model_fields and name not in (*cls.locating, "format", "limit")
    }
    reader = catalog.make(Dataset, cls.name, {**known, **settings, "path": path})
    columns = dict(manifest.columns)
    if "text" in settings:
        columns = {**columns, "text": (str(settings["text"]),)}
    given = reader.unlabelled(path, columns)
    if not len(given.rows):
        message = f"{path}: the file has no rows"
        raise HarnessError(message)
    return given


def _answer(delivered: Delivered, given: Unlabelled, write: Callable[[Sequence[Mapping[str, Any]]], None]) -> int:
    """Predict the rows in chunks and write them; return how many are left blank."""
    rows, blank = len(given.rows), 0
    names: tuple[str, ...] = ()
    console = Console(stderr=True)
    starts = track(
        range(0, rows, _CHUNK), "predicting", console=console, transient=True, disable=not console.is_terminal
    )
    for start in starts:
        numbers = range(start, min(start + _CHUNK, rows))
        sound = [at for at in numbers if given.problems[at] is None]
        blank += len(numbers) - len(sound)
        said: dict[int, Mapping[str, Any]] = {}
        if sound:
            try:
                answers = delivered.answer(
                    {name: [values[at] for at in sound] for name, values in given.columns.items()}
                )
            except (UndefinedError, KeyError) as error:
                lacks = f"the file has no column {error}" if isinstance(error, KeyError) else str(error)
                message = f"task {delivered.task.name!r} cannot predict these rows: {lacks}"
                raise HarnessError(message) from None
            said = dict(zip(sound, answers, strict=True))
            names = tuple(answers[0])
        nothing = dict.fromkeys(names)
        write([{**given.rows[at], **_beside(given.rows[at], said.get(at, nothing))} for at in numbers])
    return blank


def _beside(row: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the predictions for a row, renamed where the row already has such a column."""
    return {f"predicted_{name}" if name in row else name: value for name, value in said.items()}


@contextmanager
def _open(target: Path | None) -> Iterator[IO[str]]:
    """Yield the output stream: a file, written atomically, or standard output."""
    if target is None:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8", errors="replace", newline="")
        yield sys.stdout
        return
    try:
        with replacing(target) as path, path.open("w", encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
    except OSError as error:
        message = f"{str(target)!r} cannot be written: {error.strerror or error}"
        raise HarnessError(message) from None


def _writer(stream: IO[str], form: str) -> Callable[[Sequence[Mapping[str, Any]]], None]:
    """Return a writer of predicted rows; a table gets the columns of the first chunk."""
    if form == "jsonl":

        def lines(part: Sequence[Mapping[str, Any]]) -> None:
            stream.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in part)

        return lines
    table: list[csv.DictWriter[str]] = []

    def cells(part: Sequence[Mapping[str, Any]]) -> None:
        if not table:
            names = list(dict.fromkeys(name for row in part for name in row))
            table.append(
                csv.DictWriter(
                    stream, names, delimiter="\t" if form == "tsv" else ",", lineterminator="\n", extrasaction="ignore"
                )
            )
            table[0].writeheader()
        table[0].writerows({name: _cell(value) for name, value in row.items()} for row in part)

    return cells


def _cell(value: Any) -> Any:
    """Return a value as a table cell: lists and objects as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value
