"""Whether a table is what its stored runs say: every cell recomputed, and the runs packed for others to do the same.

bundle.json     the plan, versions, and the sha256 of every other file
table.json      the table; table.<suffix> as people read it
results/        the runs: run.json, outcome.json, predictions.npz, log.jsonl; no texts but those that were predicted
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
from harness.records import Cell, Run, Table
from harness.store import FORMAT, MARK, Store, dump, replacing
from harness.tables.table import tabulate

_FORMAT = 1
_RUN_FILES = ("run.json", "outcome.json", "predictions.npz", "log.jsonl", "failure.json")
_ALLOWED = re.compile(r"bundle\.json|table\.[a-z]+|results/\.harness|results/runs/[A-Za-z0-9_-]+/[a-z]+\.[a-z]+")
_PACKAGES = ("finetune-harness", "numpy", "scipy", "scikit-learn")
_CLOSE = 1e-9
"""Relative difference of two numbers that another machine's arithmetic may make."""


class Verified(NamedTuple):
    """What was found."""

    sound: int
    """Runs whose predictions and log have the hashes they were stored with."""
    unsealed: int
    """Runs of a version that kept no hashes; they can be read."""
    missing: int
    """Runs that have not finished."""
    damaged: tuple[str, ...]
    """Of each damaged run, what is wrong."""
    cells: int
    """That were recomputed."""
    differing: tuple[str, ...] | None
    """Cells that are not as the kept table has them, a line each; None where no table was kept."""


class Bundle(NamedTuple):
    """What a bundle holds, unpacked."""

    plan: Plan
    store: Store
    table: Table


def _runs(plan: Plan) -> list[Run]:
    """Return a plan's runs, each once."""
    return list({run.id: run for _, run in plan.runs}.values())


def verify(plan: Plan, store: Store, catalog: Catalog, kept: Table | None) -> Verified:
    """Recompute every cell of a table from stored predictions and outcomes, without anything that was cached.

    Args:
        plan: What the table is of.
        store: Where its runs are.
        catalog: Where the metrics come from.
        kept: The table as it was made; None if none was kept.
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


def pack(plan: Plan, store: Store, table: Table, rendered: Mapping[str, str], target: Path) -> int:
    """Write a bundle of a plan's runs and its table; return how many finished runs are in it.

    Folders of this machine are left out of what says where data and models were.

    Args:
        plan: What the table is of.
        store: Where its runs are.
        table: The table.
        rendered: The table as people read it, by the ending of its file.
        target: The file; it is whole or absent.

    Raises:
        HarnessError: A run is damaged.
    """
    files: dict[str, bytes] = {
        "table.json": table.model_dump_json(indent=1).encode(),
        f"results/{MARK}": FORMAT.encode(),
    }
    files |= {f"table{suffix}": text.encode() for suffix, text in rendered.items()}
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
        "plan": _anywhere(plan.model_dump(mode="json")),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    with replacing(target) as path, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle.json", dump(about))
        for name, data in files.items():
            archive.writestr(name, data)
    return finished


def unpack(path: Path, folder: Path) -> Bundle:
    """Return what a bundle holds, unpacked into an empty folder.

    Raises:
        HarnessError: It is no bundle, or a file in it is not the one that was packed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read("bundle.json"))
            if about["format"] != _FORMAT:
                message = f"{str(path)!r} is a bundle of format {about['format']}, and this version reads {_FORMAT}: update harness"
                raise HarnessError(message)
            for name, sha256 in about["files"].items():
                if not _ALLOWED.fullmatch(name):
                    message = f"{str(path)!r} is no bundle of harness: it names {name!r}"
                    raise HarnessError(message)
                data = archive.read(name)
                if hashlib.sha256(data).hexdigest() != sha256:
                    message = f"{str(path)!r}: {name} is not the file that was packed (another sha256)"
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
        message = f"{str(path)!r} is no bundle that harness bundle wrote, or is damaged: {why}"
        raise HarnessError(message) from None


def _anywhere(value: Any) -> Any:
    """Return records with the names of files alone where they say where something is."""
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
            yield f"{row}, {column}: {'is new' if old is None else 'is gone'}"
        elif changed := _changed(old, new):
            one, two = _shown(old), _shown(new)
            yield (
                f"{row}, {column}: {one} in the saved table, {two} recomputed"
                if one != two
                else f"{row}, {column}: {one} in both, but another {' and '.join(changed)} beneath the digits shown"
            )


def _cells(table: Table) -> dict[tuple[str, str], Cell]:
    return {
        (row.label, f"{column.group} {column.title}"): cell
        for part in (table, *table.others)
        for row in part.rows
        for column, cell in zip(part.columns, row.cells, strict=True)
    }


def _changed(old: Cell, new: Cell) -> list[str]:
    """Return what of a cell differs, by name."""
    numbers = {"value": "value", "half_width": "interval", "difference": "difference", "p": "p"}
    changed = [word for name, word in numbers.items() if not _close(getattr(old, name), getattr(new, name))]
    return changed + [name for name in ("text", "verdict", "rank") if getattr(old, name) != getattr(new, name)]


def _close(old: float | None, new: float | None) -> bool:
    if old is None or new is None:
        return old is new
    return abs(old - new) <= _CLOSE * max(1.0, abs(old))


def _shown(cell: Cell) -> str:
    return " ".join(part for part in (cell.text or "blank", cell.in_words) if part)
