"""Comparisons by name: what each asked for and which runs it has, kept in `results/comparisons/NAME/`.

experiment.json    the experiment, as an experiment file
plan.json          the plan: its arms and runs
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harness.errors import HarnessError
from harness.experiment.plan import Plan
from harness.experiment.spec import FILES
from harness.records import digest
from harness.store import Store, dump, file_name, write_atomically

_FOLDER, _EXPERIMENT, _PLAN = "comparisons", "experiment.json", "plan.json"


class Kept(NamedTuple):
    """A kept comparison."""

    name: str
    plan: Plan
    changed: float
    """When it was last computed, in seconds since 1970."""


def find_experiment(results: Path, name: str) -> Path | None:
    """Return the experiment file of the comparison with this name; None if there is none."""
    path = results / _FOLDER / file_name(name) / _EXPERIMENT
    return path if not name.endswith(FILES) and path.is_file() else None


def keep(plan: Plan, store: Store) -> None:
    """Keep what a comparison asks for under its name; what had another experiment under this name gets another name."""
    if plan.spec is None:
        return
    folder = store.root / _FOLDER / file_name(plan.name)
    text = dump(plan.spec.model_dump(mode="json", exclude_defaults=True))
    path = folder / _EXPERIMENT
    if path.is_file() and (former := path.read_text(encoding="utf-8")) != text:
        other = folder.with_name(f"{folder.name}-{digest(former)[:6]}")
        if not other.exists():
            folder.rename(other)
            table = {**json.loads(former), "name": other.name}
            write_atomically(other / _EXPERIMENT, dump(table))
    write_atomically(path, text)
    write_atomically(folder / _PLAN, dump(plan.model_dump(mode="json", exclude={"spec"})))


def kept(store: Store) -> Iterator[Kept]:
    """Yield the kept comparisons, the last computed first.

    Raises:
        HarnessError: One cannot be read, so that its runs are not known.
    """
    paths = sorted(store.root.glob(f"{_FOLDER}/*/{_PLAN}"), key=lambda path: -path.stat().st_mtime)
    for path in paths:
        try:
            plan = Plan.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            message = (
                f"comparison {path.parent.name!r} cannot be read; it is damaged or of another version of harness: move "
                f"{str(path.parent)!r} away, or use that version"
            )
            raise HarnessError(message) from None
        yield Kept(path.parent.name, plan, path.stat().st_mtime)


def forget(name: str, store: Store) -> None:
    """Remove a kept comparison; its runs stay."""
    folder = store.root / _FOLDER / file_name(name)
    for path in (folder / _EXPERIMENT, folder / _PLAN):
        path.unlink(missing_ok=True)
    folder.rmdir()
