"""What a results folder holds, without reading the runs themselves, and what of it nobody needs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from harness.experiment.comparisons import kept
from harness.experiment.search import SEED
from harness.store import Store

_RUN_ID = re.compile(rb"[0-9a-f]{12}")


class StoredRun(NamedTuple):
    """A run folder."""

    id: str
    strategy: str
    folder: Path
    status: str
    """`done`, the status of its failure, or `unfinished`."""
    bytes: int
    trial: bool
    """Whether it is a trial of a hyperparameter search."""


def stored_runs(store: Store) -> Iterator[StoredRun]:
    """Yield the runs of a results folder, by folder name."""
    for path in sorted(store.root.glob("runs/*/run.json")):
        folder = path.parent
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            strategy, seed = run["strategy"]["name"], run["seed"]
        except (OSError, ValueError, KeyError, TypeError):
            strategy, seed = "?", 0
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        yield StoredRun(folder.name.rpartition("-")[2], strategy, folder, _status(folder), size, seed == SEED)


def unneeded(store: Store, without: str | None = None) -> list[StoredRun]:
    """Return the runs that no kept comparison has, and that no table or search names.

    Args:
        store: The results folder.
        without: Name of a comparison that does not count.
    """
    needed = {run.id for one in kept(store) if one.name != without for _, run in one.plan.runs}
    needed |= _named(store, without)
    return [run for run in stored_runs(store) if run.id not in needed]


def remove(runs: Collection[StoredRun]) -> list[StoredRun]:
    """Delete runs; return those that are being computed, which are left."""
    busy = []
    for run in runs:
        try:
            with FileLock(run.folder / "lock", timeout=0):
                # The outcome goes first: what is left of an interrupted deletion is an unfinished run.
                for name in ("outcome.json", "run.json"):
                    (run.folder / name).unlink(missing_ok=True)
        except Timeout:
            busy.append(run)
        else:
            shutil.rmtree(run.folder, ignore_errors=True)
    return busy


def _named(store: Store, without: str | None) -> set[str]:
    """Return the ids in saved tables and searches."""
    files = [path for folder in ("reports", "tables", "studies") for path in (store.root / folder).rglob("*")]
    own = {f"{without}{suffix}" for suffix in (".json", ".md", ".html", ".csv", "-matrix.md")}
    return {
        found.decode()
        for path in files
        if path.is_file() and path.name != "lock" and not (path.parent.name == "reports" and path.name in own)
        for found in _RUN_ID.findall(path.read_bytes())
    }


def _status(folder: Path) -> str:
    if (folder / "outcome.json").is_file():
        return "done"
    try:
        return str(json.loads((folder / "failure.json").read_text(encoding="utf-8"))["status"])
    except (OSError, ValueError, KeyError, TypeError):
        return "unfinished"
