"""Preparation of a dataset's splits, and tokenisation. Both are cached on disk."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts import Data, Dataset, Facts, Task
from harness.engine.cache import Cache
from harness.engine.splits import plainly, split_rows, text_keys
from harness.errors import HarnessError, UndefinedError
from harness.records import SPLITS, ComponentRef, Split, SplitNote, TaskData, digest
from harness.store import dump

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

# Increase when splitting (harness.engine.splits) or encoding changes, so that older cache entries are not used.
_FORMAT = 6


@dataclass(frozen=True)
class Prepared:
    """A dataset's splits as a run uses them; memory-mapped."""

    key: list[Any]
    splits: Mapping[Split, datasets.Dataset]
    facts: Facts
    moved: int
    """Rows removed because their text is in another split."""
    over: int = 0
    """Rows removed by a limit."""


def prepare(dataset: Dataset, reference: ComponentRef, cache: Cache, seed: int | None) -> Prepared:
    """Return the dataset's splits: read, separated, completed and limited, or from the cache.

    Args:
        dataset: The dataset.
        reference: Identifies it in the cache.
        cache: Where its splits are kept.
        seed: That of the run, which decides the rows if the dataset draws by seed or is split into folds; None for all
            rows and no folds.

    Raises:
        HarnessError: The data does not match its parameters, or there is too little of it.
    """
    import datasets

    datasets.disable_progress_bars()  # harness shows its own progress
    key = [_FORMAT, reference.model_dump(mode="json", exclude={"location"})]
    if seed is None:
        dataset = dataset.model_copy(update={"draws": "fixed", "folds": None})
    key += [seed] if dataset.draws == "seeds" or dataset.folds else []

    def build(target: Path) -> None:
        raw, facts = _read(dataset)
        try:
            splits, moved, over, notes = split_rows(dataset, dict(raw), seed or 0)
            facts = facts._replace(notes=(*facts.notes, *notes))
        except HarnessError as error:
            # A problem with the data may be the reason why there is too little of it.
            raise HarnessError("; ".join([str(error), *facts.warnings])) from None
        _write(Prepared(key, splits, facts, moved, over), target)

    folder = cache.make("data", key, build)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    moved, over = facts.pop("moved"), facts.pop("over")
    columns = {role: tuple(names) for role, names in facts.pop("columns").items()}
    kept: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
    return Prepared(
        key=key,
        splits={name: datasets.load_from_disk(folder / name) for name in SPLITS},
        facts=Facts(**kept, columns=columns),
        moved=moved,
        over=over,
    )


def _read(dataset: Dataset) -> Data:
    """Return the result of a dataset's `read`.

    Raises:
        HarnessError: The result has the wrong type or the wrong splits.
    """
    import datasets

    try:
        found: Any = dataset.read()
    except SystemExit as error:
        message = f"dataset {dataset.name!r}: read() exited the program (exit code {error.code})"
        raise HarnessError(message) from error
    except Exception as error:
        error.add_note(f"while reading dataset {dataset.name!r}")
        raise
    if not isinstance(found, Data):
        # Older plugins return splits only and have a method `facts`.
        found = Data(found, getattr(dataset, "facts", Facts)())
    data: Data = found
    splits: Any = data.splits
    facts: Any = data.facts
    if not (isinstance(splits, Mapping) and all(isinstance(rows, datasets.Dataset) for rows in splits.values())):
        kind = f"{type(splits).__name__}" if not isinstance(splits, Mapping) else "a mapping with other values"
        message = (
            f"dataset {dataset.name!r}: read() must return harness.Data with datasets.Dataset as splits, not {kind}"
        )
        raise HarnessError(message)
    if strange := sorted(set(splits) - set(SPLITS)) or ([] if "train" in splits else ["no train"]):
        message = f"dataset {dataset.name!r}: read() must return splits named {', '.join(SPLITS)}, including train; found: {', '.join(strange)}"
        raise HarnessError(message)
    if not isinstance(facts, Facts):
        message = f"dataset {dataset.name!r}: facts must be harness.Facts, not {type(facts).__name__}"
        raise HarnessError(message)
    return data


def with_train_of(prepared: Prepared, added: Sequence[Split]) -> Prepared:
    """Return splits whose train split contains the rows of all these splits."""
    import datasets

    train = datasets.concatenate_datasets([prepared.splits[name] for name in added])
    return replace(prepared, key=[*prepared.key, "train on", *added], splits={**prepared.splits, "train": train})


def keep(prepared: Prepared, cache: Cache) -> None:
    """Write splits to this cache, where `prepare` finds them."""
    cache.make("data", prepared.key, functools.partial(_write, prepared))


def _write(prepared: Prepared, target: Path) -> None:
    for name, rows in prepared.splits.items():
        rows.save_to_disk(target / name)
    facts = dump({**prepared.facts._asdict(), "moved": prepared.moved, "over": prepared.over})
    (target / "facts.json").write_text(facts, encoding="utf-8")


def check_problem(problem: TaskData, task: Task, prepared: Prepared) -> None:
    """Check that the task can use the data.

    Raises:
        HarnessError: It cannot; gives the reason.
    """
    reason = task.check(prepared.facts, prepared.splits["train"].column_names)
    if reason is not None:
        message = f"dataset {problem.dataset.name!r} does not fit task {problem.task.name!r}: {reason}"
        raise HarnessError(message)


class Tokens:
    """The encoded splits of one problem, each encoded at first use."""

    def __init__(
        self,
        prepared: Prepared,
        task: Task,
        tokenizer: PreTrainedTokenizerBase,
        tokenizer_key: str,
        max_length: int,
        cache: Cache,
        clock: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Store what to encode and how; encoding runs inside the context that `clock` returns."""
        self._clock = clock
        self.prepared, self.task, self.tokenizer = prepared, task, tokenizer
        self._max_length, self._cache = max_length, cache
        self._key = [prepared.key, task.reference().model_dump(mode="json"), tokenizer_key, max_length]
        self._splits: dict[Split, datasets.Dataset] = {}

    def key(self, split: Split) -> list[Any]:
        """Return the cache key of a split's tokens."""
        return [*self._key, split]

    def split(self, split: Split) -> datasets.Dataset:
        """Return the encoded split, in the row order of the data."""
        import datasets

        if split not in self._splits:

            def build(target: Path) -> None:
                rows = self.prepared.splits[split]
                # Write to a file, so that memory does not grow with the data.
                passing = target.with_suffix(".arrow")
                try:
                    encoded = rows.map(
                        self._encode, batched=True, remove_columns=rows.column_names, cache_file_name=str(passing),
                        new_fingerprint=digest(self.key(split)),  # else the tokenizer is pickled for one
                    )  # fmt: skip
                    encoded.save_to_disk(target)
                finally:
                    passing.unlink(missing_ok=True)

            with self._clock():
                self._splits[split] = datasets.load_from_disk(self._cache.make("tokens", self.key(split), build))
        return self._splits[split]

    def lengths(self, split: Split) -> NDArray[np.int64]:
        """Return the number of tokens of each item, `[n]`."""
        import pyarrow.compute as pc

        column = self.split(split).data.column("input_ids")
        return np.asarray(pc.list_value_length(column).to_numpy(), dtype=np.int64)

    def vocabulary(self, split: Split) -> NDArray[np.int64]:
        """Return the distinct tokens, `[k]`, in ascending order."""
        import pyarrow.compute as pc

        column = self.split(split).data.column("input_ids")
        return np.sort(pc.unique(pc.list_flatten(column)).to_numpy()).astype(np.int64)

    def ids(self, split: Split) -> NDArray[Any]:
        """Return the items' ids, `[n]`."""
        return np.asarray(self.split(split).with_format("numpy")["id"][:])

    def targets(self, split: Split) -> NDArray[Any]:
        """Return the target of each item, `[n, ...]`.

        Raises:
            UndefinedError: The data has no labels.
        """
        rows = self.split(split)
        if "labels" not in rows.column_names:
            message = "the data has no labels"
            raise UndefinedError(message)
        return np.asarray(rows.with_format("numpy")["labels"][:])

    def groups(self, ids: NDArray[Any]) -> NDArray[np.int64] | None:
        """Return the group of each test item, `[n]`; None if each is by itself.

        Rows of one group are similar, such as those of one user, or questions about one passage: a test has as much
        information as it has groups.

        Args:
            ids: The ids of the items, `[n]`, which are those of rows.
        """
        known = self._grouped
        if known is None or not all(item in known for item in ids.tolist()):
            return None
        return np.array([known[item] for item in ids.tolist()], dtype=np.int64)

    @functools.cached_property
    def _grouped(self) -> dict[int, int] | None:
        """The group of each test row, by id."""
        rows = self.prepared.splits["test"]
        names = ("group",) if "group" in rows.column_names else self.task.grouped_by
        keys, numbers = np.unique(text_keys(rows, plainly, names), return_inverse=True)
        if len(keys) == len(rows):
            return None
        return dict(zip(rows["id"][:], numbers.tolist(), strict=True))

    def notes(self) -> dict[str, SplitNote]:
        """Return item and truncation counts of the splits used."""
        notes = {}
        for split, rows in self._splits.items():
            cut = int(np.sum(rows.with_format("numpy")["truncated"][:]))
            items = len(self.prepared.splits[split])
            grouped = self._grouped if split == "test" else None
            notes[split] = SplitNote(
                items=items,
                truncated=cut,
                windows=len(rows) if len(rows) != items else None,
                groups=None if grouped is None else len(set(grouped.values())),
            )
        return {split: notes[split] for split in SPLITS if split in notes}

    def _encode(self, rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        encoded = self.task.encode(rows, self.tokenizer, self._max_length)
        of = encoded.pop("row", range(len(rows["id"])))
        return {**encoded, "id": [rows["id"][row] for row in of]}


def class_counts(rows: Any, classes: int) -> NDArray[np.int64]:
    """Return the number of rows (words for tags) per class, `[classes]`; a row with several classes counts for each."""
    name = next((name for name in ("label", "tags") if name in rows.column_names), None)
    if name is None or not len(rows):
        return np.zeros(classes, dtype=np.int64)
    values = rows[name][:]
    if name == "label" and isinstance(values[0], list):
        return np.asarray(np.asarray(values, dtype=np.int64).sum(axis=0))
    flat = (
        np.concatenate([np.asarray(tags, dtype=np.int64) for tags in values]) if name == "tags" else np.asarray(values)
    )
    return np.bincount(flat.astype(np.int64), minlength=classes)


def split_counts(prepared: Prepared) -> dict[str, dict[str, int]] | None:
    """Return the number of rows or words per class for each split; None without classes."""
    classes = prepared.facts.classes
    if not classes:
        return None
    return {
        split: dict(zip(classes, map(int, class_counts(rows, len(classes))), strict=True))
        for split, rows in prepared.splits.items()
    }
