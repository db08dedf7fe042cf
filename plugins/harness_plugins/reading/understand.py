"""Finds the kind of labels in a user's files, and converts rows to the columns a task needs.

Columns are found by the names the user gives, or by the usual names of common formats; their values decide the rest.
Each non-trivial step adds a note, and each likely mistake a warning.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import harness
from harness_plugins.reading import labels, tags
from harness_plugins.reading.parts import Part, read_part
from harness_plugins.reading.roles import Asked, Roles, find_roles
from harness_plugins.reading.rows import Rows, column
from harness_plugins.reading.structured import split_of
from harness_plugins.reading.values import describe, is_container, is_missing, word

SPLITS: tuple[harness.Split, ...] = ("train", "validation", "test")
_SMALL = 10
"""Number of rows below which skipping rows is always offered."""
_WHY = {
    "class": "each text has one of several labels",
    "classes": "a text may have several labels",
    "number": "each text has a number",
    "tags": "words have tags that mark entities",
    "words": "each word has one tag",
    "answers": "questions have answers in a passage",
    "completion": "each prompt has a completion",
    "nothing": "the texts have no labels",
}
_FORMS = {
    "spans": "character spans are converted to words and tags (IOB2)",
    "written lists": "labels are lists written as text",
    "marks": "labels are lists of one 0/1 per class",
    "named marks": "labels are objects of one 0/1 per class",
}

Parts = Mapping[harness.Split, Sequence[Part]]


class Understood(NamedTuple):
    """The data in the form a task uses."""

    says: str
    """The kind of labels: class, classes, number, tags, words (independent tags), answers, completion or nothing."""
    splits: Mapping[harness.Split, Mapping[str, list[Any]]]
    facts: harness.Facts


def understand(files: Mapping[harness.Split, Sequence[Rows]], asked: Asked) -> Understood:
    """Return the kind of labels, the splits and the facts of some rows.

    Args:
        files: For each split, the rows of its files.
        asked: The user's settings.

    Raises: HarnessError: A column is missing or has the wrong content, or rows are bad; the message says where and how
        to fix it.
    """
    if not files.get("train"):
        message = f"{_paths(files)}: no split is named train{'; the splits are ' + ', '.join(files) if files else ''}"
        raise harness.HarnessError(message)
    if asked.split is not None and len(files) > 1:
        message = (
            f"{_paths(files)}: splits are given both by column {asked.split!r} and by the data itself; use only one"
        )
        raise harness.HarnessError(message)
    if asked.split is not None:
        files = _by_column(files["train"], asked)
    files = {split: files[split] for split in SPLITS if split in files}
    for rows in (rows for found in files.values() for rows in found):
        if not len(rows):
            message = f"{rows.path}: the file has no rows"
            raise harness.HarnessError(message)
    others = [rows for split, found in files.items() if split != "train" for rows in found]
    roles = find_roles(files["train"], others, asked)
    parts = {split: [read_part(rows, roles, asked) for rows in found] for split, found in files.items()}
    notes = [*_how_read(files), *_how_understood(roles)]
    warnings: list[str] = []
    says = roles.says
    if says == "tags":
        says = _convert_tags(parts, notes, asked)
    known = None
    if says in ("class", "classes", "tags", "words"):
        known = _classes(parts, roles, says, asked, warnings)
        _mark_strange(parts, known, "tags" if says in ("tags", "words") else "label", asked)
    left_out = _leave_out(parts, asked, notes)
    for part in _every(parts):
        _number(part, known or (), says)
    splits = {split: _joined(found) for split, found in parts.items()}
    warnings += labels.conflicts(splits["train"], says)
    named = {name for names in roles.columns.values() for name in names} | {asked.split}
    facts = harness.Facts(
        classes=known,
        notes=tuple(dict.fromkeys(notes)),
        columns={role: tuple(names) for role, names in roles.columns.items()},
        unused=tuple(dict.fromkeys(name for rows in files["train"] for name in rows.columns if name not in named)),
        left_out=dict(left_out),
        warnings=tuple(warnings),
        why=_WHY[says],
    )
    return Understood(says, splits, facts)


def _paths(files: Mapping[harness.Split, Sequence[Rows]]) -> str:
    return ", ".join(dict.fromkeys(rows.path for found in files.values() for rows in found)) or "the data"


def _every(parts: Parts) -> Iterator[Part]:
    return (part for found in parts.values() for part in found)


def _by_column(files: Sequence[Rows], asked: Asked) -> dict[harness.Split, list[Rows]]:
    """Return the rows of each split, according to the split column."""
    found: dict[harness.Split, list[Rows]] = {}
    for rows in files:
        name = column(rows, str(asked.split), asked.flag("split"))
        said = [
            describe(value) if is_container(value) else "" if is_missing(value) else word(value).strip()
            for value in rows.columns[name]
        ]
        if strange := sorted(set(said) - set(SPLITS)):
            hint = f" (write {split!r})" if (split := split_of(strange[0])) else ""
            message = f"{rows.path}: column {asked.split!r} holds {strange[0]!r}{hint}; allowed are {', '.join(SPLITS)}"
            raise harness.HarnessError(message)
        for split in SPLITS:
            if places := [at for at, value in enumerate(said) if value == split]:
                columns = {key: [values[at] for at in places] for key, values in rows.columns.items()}
                numbers = [rows.numbers[at] for at in places]
                found.setdefault(split, []).append(replace(rows, columns=columns, numbers=numbers))
    if "train" not in found:
        message = f"{files[0].path}: column {asked.split!r} assigns no row to train"
        raise harness.HarnessError(message)
    return found


def _how_read(files: Mapping[harness.Split, Sequence[Rows]]) -> Iterator[str]:
    """Yield notes on how the files were read; with several files, each note names its file."""
    every = [rows for found in files.values() for rows in found]
    several = len({rows.path for rows in every}) > 1
    for rows in every:
        yield from (f"{Path(rows.path).name}: {note}" if several else note for note in rows.notes)


def _how_understood(roles: Roles) -> Iterator[str]:
    if roles.form == "chat":
        names = " and ".join(map(repr, roles.columns["messages"]))
        yield f"chat messages in {names}: the last answer is predicted, and the loss covers every answer"
    if roles.prompt is not None:
        yield f"the text is built from columns: {roles.prompt!r}"
    if roles.form in _FORMS:
        yield _FORMS[roles.form]
    if roles.form == "lists" and roles.says == "class":
        yield "each label is a one-element list"


def _convert_tags(parts: Parts, notes: list[str], asked: Asked) -> str:
    """Convert entity tags to IOB2 and leave independent word tags unchanged; return which kind they are."""
    if asked.classes:
        for part in _every(parts):
            part.columns["tags"] = [labels.by_number(found, asked.classes) for found in part.columns["tags"]]
    train = [found for part in parts["train"] for found in part.columns["tags"]]
    scheme = tags.scheme_of(train)
    if not any(train) and not any(problem for part in parts["train"] for problem in part.problems):
        message = f"{parts['train'][0].rows.path}: no word has a tag"
        raise harness.HarnessError(message)
    if scheme.name == "plain" and all(tag.isdigit() for found in train for tag in found):
        message = (
            f"{parts['train'][0].rows.path}: the tags are numbers; give their names in order, such as "
            f'-o {asked.option}.classes=\'["O", "B-PER", "I-PER"]\''
        )
        raise harness.HarnessError(message)
    for part in _every(parts):
        for at, found in enumerate(part.columns["tags"]):
            part.columns["tags"][at], problem = tags.to_iob2(found, scheme.name)
            if problem:
                part.note(at, "a tag that violates its scheme", problem)
    if scheme.note:
        notes.append(scheme.note)
    if cut := sum(part.cut for part in _every(parts)):
        notes.append(f"{cut} span boundaries are inside a word, which is split there")
    return "words" if scheme.name == "plain" else "tags"


def _classes(parts: Parts, roles: Roles, says: str, asked: Asked, warnings: list[str]) -> tuple[str, ...]:
    """Return the classes in order: those given, those named by the data, or those that occur in train."""
    tagged = says in ("tags", "words")
    if roles.form == "columns":
        return tuple(roles.columns["label"])
    if roles.form == "marks":
        return _of_marks(parts, roles.columns["label"][0], asked, warnings)
    if roles.form == "named marks" and asked.classes is None:
        label = roles.columns["label"][0]
        values = [value for part in parts["train"] for value in part.rows.columns[label] if isinstance(value, dict)]
        return tuple(dict.fromkeys(name for value in values for name in value))
    if asked.classes and not tagged:
        _by_number(parts, asked.classes)
    found = Counter(_labels(parts["train"], "tags" if tagged else "label"))
    if not tagged:
        warnings += labels.doubts(found, sum(len(part.rows) for part in parts["train"]), says, asked.option)
    if asked.classes is not None:
        return _of_iob2(asked.classes) if says == "tags" else asked.classes
    occur = labels.ordered(found, outside=tags.OUTSIDE if says == "tags" else None)
    label = roles.columns["label"][0]
    named = next((part.rows.names[label] for part in parts["train"] if label in part.rows.names), ())
    # Converted tags may have prefixes that the published names lack.
    return (*named, *(name for name in occur if name not in named)) if named else occur


def _of_iob2(classes: Sequence[str]) -> tuple[str, ...]:
    """Return given tags as IOB2 tags; tags of another scheme, or without prefixes, become two per type."""
    if all(map(tags.is_iob2, classes)):
        return tuple(classes)
    types = dict.fromkeys(tags.type_of(name) for name in classes if name != tags.OUTSIDE)
    return (tags.OUTSIDE, *(f"{mark}-{kind}" for kind in types for mark in "BI"))


def _of_marks(parts: Parts, label: str, asked: Asked, warnings: list[str]) -> tuple[str, ...]:
    """Return one class per position in lists of 0 and 1, and replace positions by class names."""
    values = [value for part in parts["train"] for value in part.rows.columns[label]]
    width = max(len(value) for value in values if isinstance(value, list) and value)
    known = asked.classes or tuple(f"class {at}" for at in range(1, width + 1))
    if len(known) != width:
        message = (
            f"{parts['train'][0].rows.path}: {len(known)} classes are given, but the lists of 0 and 1 have {width} "
            "elements"
        )
        raise harness.HarnessError(message)
    if asked.classes is None:
        warnings.append(f"the classes have no names; name them in order with -o {asked.option}.classes=[...]")
    for part in _every(parts):
        for at, places in enumerate(part.columns["label"]):
            given = part.rows.columns[label][at]
            if places is not None and given and len(given) != width:
                part.note(at, "wrong number of 0/1 values", f"{len(given)} 0/1 values for {width} classes")
                part.columns["label"][at] = None
            elif places is not None:
                part.columns["label"][at] = [known[place] for place in places]
    return known


def _by_number(parts: Parts, classes: Sequence[str]) -> None:
    """Replace class numbers by the given class names, unless any label already is one of the names."""
    if not set(_labels(parts["train"], "label")) & set(classes):
        for part in _every(parts):
            part.columns["label"] = [labels.by_number(value, classes) for value in part.columns["label"]]


def _mark_strange(parts: Parts, known: Sequence[str], name: str, asked: Asked) -> None:
    """Record rows whose labels are not among the classes."""
    lacks = "that is not among the given classes" if asked.classes is not None else "that does not occur in train"
    inside = set(known)
    for part in _every(parts):
        for at, value in enumerate(part.columns[name]):
            if part.problems[at] is not None or value is None:
                continue
            for label in value if isinstance(value, list) else [value]:
                if label not in inside:
                    part.note(at, f"a label {lacks}", f"a label {lacks}: {label!r}{labels.near(label, known)}")


def _labels(parts: Sequence[Part], name: str) -> Iterable[str]:
    """Yield the labels of the valid rows."""
    for part in parts:
        for value, problem in zip(part.columns[name], part.problems, strict=True):
            if problem is None and value is not None:
                yield from value if isinstance(value, list) else [value]


def _leave_out(parts: Parts, asked: Asked, notes: list[str]) -> Counter[str]:
    """Remove bad rows, and return how many, by reason.

    Raises:
        HarnessError: A row is bad and bad rows are not skipped, or no row would be left.
    """
    left_out: Counter[str] = Counter()
    for split, found in parts.items():
        bad = [
            (part, part.rows.numbers[at], problem)
            for part in found
            for at, problem in enumerate(part.problems)
            if problem
        ]
        rows = sum(len(part.rows) for part in found)
        if bad:
            part, number, problem = bad[0]
            many = "1 bad row" if len(bad) == 1 else f"{len(bad):,} bad rows"
            told = f"{many} (first: row {number}: {problem[1]})"
            if not asked.skip or len(bad) == rows:
                # If most rows are bad, skipping them is not a fix.
                few = 2 * len(bad) <= rows or rows < _SMALL
                leave = f", or skip them with -o {asked.option}.on_bad_rows=skip" if few else ""
                message = f"{part.rows.path}: {told}; fix or remove them{leave}"
                raise harness.HarnessError(message)
            notes.append(f"{split}: skipped {told}")
            left_out.update(problem[0] for _, _, problem in bad)
    moved, empty = 0, 0
    for part in _every(parts):
        kept = [at for at, problem in enumerate(part.problems) if problem is None]
        part.columns = {name: [values[at] for at in kept] for name, values in part.columns.items()}
        moved += sum(part.moved[at] for at in kept) if part.moved else 0
        empty += part.rows.empty
    if stripped := sum(part.stripped for part in _every(parts)):
        notes.append(f"{stripped} labels have surrounding spaces, which are removed")
    if moved:
        notes.append(
            f"{moved} answers are not exactly at their offset, or have surrounding spaces; their offsets are corrected"
        )
    if empty:
        left_out["empty row"] = empty
        notes.append(f"skipped {empty} empty rows")
    return left_out


def _number(part: Part, known: Sequence[str], says: str) -> None:
    """Replace labels by class numbers, or by one 0/1 per class for multi-label data."""
    numbers = {label: number for number, label in enumerate(known)}
    columns = part.columns
    if says == "class":
        columns["label"] = [numbers[label] for label in columns["label"]]
    elif says == "classes":
        columns["label"] = [[int(label in found) for label in numbers] for found in map(set, columns["label"])]
    elif says in ("tags", "words"):
        columns["tags"] = [[numbers[tag] for tag in found] for found in columns["tags"]]


def _joined(parts: Sequence[Part]) -> dict[str, list[Any]]:
    """Return the columns of a split's files, concatenated."""
    return {name: [value for part in parts for value in part.columns[name]] for name in parts[0].columns}
