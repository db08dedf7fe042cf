"""Decide what can be compared: two runs field by field, and the arms of a table.

    scores        different data, test items, length, precision or engine: the scores measure different things
    forgetting    different watched datasets
    costs         different device, number of processes or library
    budget        different epochs or batches: comparable, if the reader knows

Any other difference is what the comparison is about. A metric's version does not matter: every score of a table is
computed from stored predictions with the installed metric.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from harness.records import Outcome, Record, Run, TaskData
from harness.store import Store

Effect = Literal["scores", "forgetting", "costs", "budget"]

_SETTINGS: Mapping[str, tuple[Effect, ...]] = {
    "engine": ("scores", "costs"),
    "trial": ("scores", "costs"),
    "train.max_length": ("scores",),
    "train.precision": ("scores",),
    "train.epochs": ("budget",),
    "train.patience": ("budget",),
    "train.batch_size": ("budget",),
    "train.batch_tokens": ("budget",),
    "train.refit": ("budget",),
}
_SHOWN = 3
"""Number of names that are listed; the rest is only counted."""


class Difference(Record):
    """One field in which two runs differ."""

    field: str
    """Dotted path in a run's record or its outcome."""
    first: JsonValue
    second: JsonValue
    """None if a run does not have the field, or it is empty."""
    hinders: tuple[Effect, ...] = ()
    """What cannot be compared because of it; empty if the comparison is about this field."""


@dataclass(frozen=True)
class Finished:
    """A finished run, and where its predictions are."""

    run: Run
    outcome: Outcome
    store: Store

    @functools.cached_property
    def item_sums(self) -> dict[tuple[int, int], int]:
        """A checksum of the item ids of every cell of the score matrix."""
        cells = [cell for cell in self.outcome.evaluations if cell.undefined is None]
        known = {(cell.moment, cell.problem): cell.ids_crc32 for cell in cells if cell.ids_crc32 is not None}
        return known if len(known) == len(cells) else self.store.item_sums(self.run)


def compare_settings(first: Run, second: Run) -> list[Difference]:
    """Return the settings in which two runs differ, with all defaults resolved."""
    left, right = first.model_dump(mode="json"), second.model_dump(mode="json")
    stages: Iterable[tuple[int | None, int | None]] = zip_longest(range(len(first.stages)), range(len(second.stages)))
    found = []
    for name in left:
        match name:
            case "stages":
                found += _compare_problems(name, first.stages, second.stages, stages)
            case "watch":
                found += _compare_problems(name, first.watch, second.watch, _matched(first.watch, second.watch))
            case _:
                found += _compare(name, left[name], right[name])
    return found


def compare_outcomes(first: Finished, second: Finished) -> list[Difference]:
    """Return the differences in how two runs were computed: device, libraries, data, test items."""
    mine, theirs = first.outcome, second.outcome
    rows: list[tuple[str, JsonValue, JsonValue]] = [
        ("device", mine.device, theirs.device),
        ("processes", mine.processes, theirs.processes),
        ("sharded", mine.sharded, theirs.sharded),
    ]
    libraries = sorted(mine.versions.keys() | theirs.versions.keys())
    rows += [(f"versions.{name}", mine.versions.get(name), theirs.versions.get(name)) for name in libraries]
    # Only plugins that both used: the others are what the comparison is about.
    used = sorted(mine.plugins.keys() & theirs.plugins.keys())
    rows += [(f"plugins.{name}", mine.plugins[name], theirs.plugins[name]) for name in used]
    tests = []
    for path, at, their_at in _same_data(first.run, second.run):
        params, same = first.run.task_data[at].dataset.params, first.run.seed == second.run.seed
        if params.get("folds") and not same:
            continue  # each seed is meant to test on other rows
        drawn = params.get("draws") == "seeds" and not same  # and here only to train on others
        # Some runs read fewer splits than others.
        known, beside = mine.data[at].splits, theirs.data[their_at].splits
        rows += [
            (f"{path}.{split}.{key}", getattr(note, key), getattr(beside[split], key))
            for split, note in known.items()
            if split in beside and (split == "test" or not drawn)
            for key in ("items", "truncated")
        ]
        tests += _compare_tests(first, second, path, at, their_at)
    return [
        *(Difference(field=path, first=a, second=b, hinders=_hindered(path)) for path, a, b in rows if a != b),
        *tests,
    ]


def compare_items(path: str, first: NDArray[Any], second: NDArray[Any]) -> list[Difference]:
    """Return how two lists of test item ids, `[n]` and `[m]`, differ, ignoring order."""
    only = [np.setdiff1d(first, second), np.setdiff1d(second, first)]
    if not any(map(len, only)):
        return []
    texts = [f"{len(ids):,} only here" + (f": {listed(map(str, ids))}" if len(ids) else "") for ids in only]
    return [Difference(field=path, first=texts[0], second=texts[1], hinders=_hindered(path))]


def conclude(differences: Sequence[Difference]) -> str:
    """Return a sentence on what can and cannot be compared between two runs."""
    why = {
        effect: listed(difference.field for difference in differences if effect in difference.hinders)
        for effect in ("scores", "forgetting", "costs", "budget")
    }
    things = {"scores": "their scores", "forgetting": "their forgetting of watched datasets", "costs": "their costs"}
    if not why["forgetting"]:
        del things["forgetting"]
    allowed = " and ".join(thing for effect, thing in things.items() if not why[effect])
    parts = [f"{allowed} can be compared"] if allowed else []
    for effect, thing in things.items():
        if why[effect]:
            parts.append(f"{thing} cannot{'' if parts else ' be compared'}: {why[effect]}")
    if why["budget"]:
        parts.append(f"their budgets differ: {why['budget']}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}"


def listed(names: Iterable[str]) -> str:
    """Return the first few names, and how many more there are."""
    known = list(dict.fromkeys(names))
    more = [f"and {len(known) - _SHOWN:,} more"] if len(known) > _SHOWN else []
    return ", ".join([*known[:_SHOWN], *more])


def _compare_problems(
    path: str, first: Sequence[TaskData], second: Sequence[TaskData], pairs: Iterable[tuple[int | None, int | None]]
) -> list[Difference]:
    """Return the differences between paired problems, given as positions; an unpaired problem is one difference."""
    found = []
    for mine, theirs in pairs:
        at = f"{path}.{theirs if mine is None else mine}"
        if mine is not None and theirs is not None:
            dumps = [problem.model_dump(mode="json") for problem in (first[mine], second[theirs])]
            found += _compare(at, *dumps)
        else:
            names = [_name(first, mine), _name(second, theirs)]
            found.append(Difference(field=at, first=names[0], second=names[1], hinders=_hindered(at)))
    return found


def _name(problems: Sequence[TaskData], at: int | None) -> str | None:
    return None if at is None else f"{problems[at].dataset.name} by {problems[at].task.name}"


def _compare(path: str, first: Any, second: Any) -> list[Difference]:
    mine, theirs = dict(_flat(path, first)), dict(_flat(path, second))
    return [
        Difference(field=name, first=mine.get(name), second=theirs.get(name), hinders=_hindered(name))
        for name in dict.fromkeys([*mine, *theirs])
        if mine.get(name) != theirs.get(name)
    ]


def _flat(path: str, value: Any) -> Iterator[tuple[str, JsonValue]]:
    """Yield every leaf of a record's JSON with its dotted path; a list is a leaf."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, item in value.items():
        yield from _flat(f"{path}.{key}", item)


def _hindered(path: str) -> tuple[Effect, ...]:
    """Return what cannot be compared between runs that differ in this field."""
    parts = path.split(".")
    if "location" in parts or parts[-1] == "truncated":
        return ()  # the location of data does not matter, and truncation follows from the length limit
    match parts[0]:
        case "stages":
            return ("scores",) if "test" in parts else ("scores", "costs")
        case "watch":
            return ("forgetting",)
        case "device" | "processes" | "sharded" | "versions" | "plugins":
            return ("costs",)
    return _SETTINGS.get(path, ())


def _matched(first: Sequence[TaskData], second: Sequence[TaskData]) -> list[tuple[int | None, int | None]]:
    """Return pairs of matching watched problems in any order: identical ones first, then those with the same names."""
    mine, theirs = list(range(len(first))), list(range(len(second)))
    pairs: list[tuple[int | None, int | None]] = []
    for alike in (lambda problem: problem, lambda problem: (problem.dataset.name, problem.task.name)):
        for at in list(mine):
            found = next((other for other in theirs if alike(first[at]) == alike(second[other])), None)
            if found is not None:
                pairs.append((at, found))
                mine.remove(at)
                theirs.remove(found)
    return [*pairs, *((at, None) for at in mine), *((None, at) for at in theirs)]


def _same_data(first: Run, second: Run) -> list[tuple[str, int, int]]:
    """Return the paths of problems with the same data, each with its position in the first and in the second run."""
    stages = [(f"stages.{at}", at, at) for at in range(min(len(first.stages), len(second.stages)))]
    watched = [
        (f"watch.{mine}", len(first.stages) + mine, len(second.stages) + theirs)
        for mine, theirs in _matched(first.watch, second.watch)
        if mine is not None and theirs is not None
    ]

    def data(run: Run, at: int) -> tuple[str, str | None]:
        dataset = run.task_data[at].dataset
        return dataset.name, dataset.fingerprint

    return [
        (path, mine, theirs) for path, mine, theirs in [*stages, *watched] if data(first, mine) == data(second, theirs)
    ]


def _compare_tests(first: Finished, second: Finished, path: str, at: int, their_at: int) -> list[Difference]:
    """Return how the test items of a problem's final evaluation differ."""
    cell, their_cell = (len(first.run.stages), at), (len(second.run.stages), their_at)
    checksum, other = first.item_sums.get(cell), second.item_sums.get(their_cell)
    if checksum is None or other is None or checksum == other:
        return []  # no predictions, for a reason given in the table; or the same ids in the same order
    return compare_items(
        f"{path}.test.ids", first.store.item_ids(first.run, *cell), second.store.item_ids(second.run, *their_cell)
    )
