"""Verify a table against its stored runs by recomputing every cell, and pack the runs so that others can do the same.

bundle.json     the plan, versions, and the sha256 of every other file
table.json      the table; table.<suffix> is the rendered table
results/        the runs: run.json, outcome.json, predictions.npz, log.jsonl; the only texts are predicted ones
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from harness.catalog import Catalog
from harness.errors import DamagedError, HarnessError
from harness.experiment.plan import Plan
from harness.records import Run
from harness.reports import Cell, Table
from harness.store import FORMAT, MARK, Store, dump, replacing
from harness.tables.table import tabulate

_FORMAT = 1
_RUN_FILES = ("run.json", "outcome.json", "predictions.npz", "log.jsonl", "failure.json")
_ALLOWED = re.compile(r"bundle\.json|table\.[a-z]+|results/\.harness|results/runs/[A-Za-z0-9_-]+/[a-z]+\.[a-z]+")
_PACKAGES = ("finetune-harness", "numpy", "scipy", "scikit-learn")
_CLOSE = 1e-9
"""Relative difference of two numbers that is allowed for arithmetic on another machine."""


class Verified(NamedTuple):
    """The result of a verification."""

    sound: int
    """Runs whose predictions and log match their stored hashes."""
    unsealed: int
    """Readable runs that were stored by a version without hashes."""
    missing: int
    """Runs that have not finished."""
    damaged: tuple[str, ...]
    """For each damaged run, what is wrong."""
    cells: int
    """Number of recomputed cells."""
    differing: tuple[str, ...] | None
    """Cells that differ from the saved table, one line each; None if no table was saved."""


class Bundle(NamedTuple):
    """The unpacked contents of a bundle."""

    plan: Plan
    store: Store
    table: Table


def _runs(plan: Plan) -> list[Run]:
    """Return a plan's runs without duplicates."""
    return list({run.id: run for _, run in plan.runs}.values())


def verify(plan: Plan, store: Store, catalog: Catalog, kept: Table | None) -> Verified:
    """Recompute every cell of a table from stored predictions and outcomes, without using the cache.

    Args:
        plan: The plan of the table.
        store: Where its runs are.
        catalog: Where the metrics come from.
        kept: The saved table; None if none was saved.
    """
    sound, unsealed, missing = 0, 0, 0
    damaged: list[str] = []
    for run in _runs(plan):
        try:
            outcome = store.outcome(run)
        except DamagedError as error:
            damaged.append(str(error))
            continue
        missing += outcome is None
        sound += outcome is not None and outcome.predictions_sha256 is not None
        unsealed += outcome is not None and outcome.predictions_sha256 is None
    table = tabulate(plan, store, catalog, cached=False)
    cells = sum(bool(cell.text) for part in (table, *table.others) for row in part.rows for cell in row.cells)
    differing = None if kept is None else tuple(_differences(kept, table))
    return Verified(sound, unsealed, missing, tuple(damaged), cells, differing)


def pack(plan: Plan, store: Store, table: Table, rendered: Mapping[str, str | bytes], target: Path) -> int:
    """Write a bundle of a plan's runs and its table; return how many finished runs are in it.

    Locations of data and models are reduced to file names, so that no folders of this machine are included.

    Args:
        plan: The plan of the table.
        store: Where its runs are.
        table: The table.
        rendered: The rendered tables, by file suffix.
        target: The file to write; it is written completely or not at all.

    Raises:
        HarnessError: A run is damaged.
    """
    files: dict[str, bytes] = {
        "table.json": table.model_dump_json(indent=1).encode(),
        f"results/{MARK}": FORMAT.encode(),
    }
    files |= {
        f"table{suffix}": content.encode() if isinstance(content, str) else content
        for suffix, content in rendered.items()
    }
    finished = 0
    for run in _runs(plan):
        outcome, folder = store.outcome(run), store.folder(run)
        finished += outcome is not None
        for name in _RUN_FILES:
            if (folder / name).is_file() and (name != "failure.json" or outcome is None):
                data = (folder / name).read_bytes()
                if name == "run.json":
                    data = dump(_anywhere(json.loads(data))).encode()
                files[f"results/runs/{folder.name}/{name}"] = data
    about = {
        "format": _FORMAT,
        "plan": _anywhere(plan.model_dump(mode="json", exclude={"spec"})),  # it has paths
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    with replacing(target) as path, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle.json", dump(about))
        for name, data in files.items():
            archive.writestr(name, data)
    return finished


def unpack(path: Path, folder: Path) -> Bundle:
    """Unpack a bundle into an empty folder and return its contents.

    Raises:
        HarnessError: It is not a bundle, or a file in it was changed after packing.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read("bundle.json"))
            if about["format"] != _FORMAT:
                message = (
                    f"{str(path)!r} has bundle format {about['format']}, but this version reads format {_FORMAT}: "
                    "update harness"
                )
                raise HarnessError(message)
            for name, sha256 in about["files"].items():
                if not _ALLOWED.fullmatch(name):
                    message = f"{str(path)!r} is not a harness bundle: unexpected file {name!r}"
                    raise HarnessError(message)
                data = archive.read(name)
                if hashlib.sha256(data).hexdigest() != sha256:
                    message = f"{str(path)!r}: {name} was changed after packing (its sha256 differs)"
                    raise HarnessError(message)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)
        return Bundle(
            Plan.model_validate(about["plan"]),
            Store(folder / "results"),
            Table.model_validate_json((folder / "table.json").read_text(encoding="utf-8")),
        )
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, KeyError, ValueError, ValidationError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"{str(path)!r} was not written by harness bundle or is damaged: {why}"
        raise HarnessError(message) from None


def _anywhere(value: Any) -> Any:
    """Return records with every location reduced to a file name."""
    if isinstance(value, dict):
        return {key: _names(item) if key == "location" else _anywhere(item) for key, item in value.items()}
    return [_anywhere(item) for item in value] if isinstance(value, list) else value


def _names(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _names(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_names(item) for item in value]
    return Path(value).name if isinstance(value, str) else value


def _differences(kept: Table, found: Table) -> Iterator[str]:
    """Yield the cells in which two tables differ."""
    ours, theirs = _cells(found), _cells(kept)
    for place in [*theirs, *(place for place in ours if place not in theirs)]:
        old, new = theirs.get(place), ours.get(place)
        row, column = place
        if old is None or new is None:
            yield f"{row}, {column}: {'only in the recomputed table' if old is None else 'only in the saved table'}"
        elif changed := _changed(old, new):
            one, two = _shown(old), _shown(new)
            yield (
                f"{row}, {column}: {one} in the saved table, {two} recomputed"
                if one != two
                else f"{row}, {column}: {one} in both, but different {' and '.join(changed)} beyond the digits shown"
            )


def _cells(table: Table) -> dict[tuple[str, str], Cell]:
    return {
        (row.label, f"{column.group} {column.title}"): cell
        for part in (table, *table.others)
        for row in part.rows
        for column, cell in zip(part.columns, row.cells, strict=True)
    }


def _changed(old: Cell, new: Cell) -> list[str]:
    """Return the names of the values in which two cells differ."""
    numbers = {"value": "value", "low": "interval", "high": "interval", "difference": "difference", "p": "p"}
    moved = (word for name, word in numbers.items() if not _close(getattr(old, name), getattr(new, name)))
    changed = list(dict.fromkeys(moved))
    return changed + [name for name in ("text", "verdict", "best") if getattr(old, name) != getattr(new, name)]


def _close(old: float | None, new: float | None) -> bool:
    if old is None or new is None:
        return old is new
    return abs(old - new) <= _CLOSE * max(1.0, abs(old))


def _shown(cell: Cell) -> str:
    return " ".join(part for part in (cell.text or "blank", cell.in_words) if part)
