"""Preparation of a dataset's splits, and tokenisation. Both are cached on disk.

No text is in two splits: texts of the test split are removed from the others, texts of the validation split from train.
A missing split is taken from train, stratified by class, keeping all rows with the same text together.
"""

from __future__ import annotations

import functools
import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts import Data, Dataset, Facts, Task
from harness.engine.cache import Cache
from harness.errors import HarnessError, UndefinedError
from harness.records import SPLITS, ComponentRef, Split, SplitNote, TaskData
from harness.store import dump

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase

# Increase when splitting, limiting or encoding changes, so that older cache entries are not used.
_FORMAT = 6
_ROWS = 1000
"""Rows held in memory at a time."""
_SHIELDS: Mapping[Split, tuple[Split, ...]] = {"validation": ("test",), "train": ("test", "validation")}
"""For each split, the splits whose texts must not occur in it."""


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
            splits, moved, over, notes = _split(dataset, dict(raw), seed or 0)
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


def with_all_data(prepared: Prepared, *, without_validation: bool) -> Prepared:
    """Return splits whose train split contains all data.

    Args:
        prepared: The splits.
        without_validation: Exclude validation, because tuning makes choices by the validation score.
    """
    import datasets

    added: tuple[Split, ...] = ("train", "test") if without_validation else SPLITS
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
                        self._encode, batched=True, remove_columns=rows.column_names, cache_file_name=str(passing)
                    )
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


def _split(dataset: Dataset, raw: dict[Split, Any], seed: int) -> tuple[dict[Split, Any], int, int, list[str]]:
    """Return the prepared splits, the number of rows removed for their text, that removed by a limit, and notes."""
    import datasets

    if not len(raw.get("train", ())):
        message = f"dataset {dataset.name!r} has no rows to train on"
        raise HarnessError(message)
    present = [name for name in SPLITS if name in raw]
    table = datasets.concatenate_datasets([raw[name] for name in present])
    table = table.add_column("id", np.arange(len(table)))
    keys = text_keys(table, plainly)
    together = _groups(dataset, table)
    grouped, together = together is not None, keys if together is None else together
    labels = _classes(table)
    starts = np.cumsum([0, *(len(raw[name]) for name in present)])
    rows = {name: np.arange(starts[i], starts[i + 1]) for i, name in enumerate(present)}

    moved = _shield(rows, keys) + (_shield(rows, together) if grouped else 0)
    notes: list[str] = []
    # One generator per split, so that settings of one split do not change another.
    drawn = dataset.draws == "seeds"  # the test split is the same for every seed even then
    own = {name: [1 + seed] if drawn and name != "test" else [] for name in SPLITS}
    random = {name: np.random.default_rng([dataset.split_seed, at, *own[name]]) for at, name in enumerate(SPLITS)}
    if dataset.folds is not None:
        rows["test"] = _fold(dataset, dataset.folds, rows, together, labels, seed)
        rows["train"] = np.setdiff1d(rows["train"], rows["test"])
        notes.append(f"{dataset.folds}-fold cross-validation: each seed tests on its own part of all rows")
    shares: dict[Split, float] = {"test": dataset.test_share, "validation": dataset.validation_share}
    for name, share in shares.items():
        if name not in rows:
            rows[name] = _carve(rows["train"], together, labels, share, random[name])
            rows["train"] = np.setdiff1d(rows["train"], rows[name])
    # Splits made by group may share texts with other groups.
    moved += _shield(rows, keys)
    over = 0
    if drawn and len(rows["train"]):
        pool = len(rows["train"])
        rows["train"], note = _draw(rows["train"], together, labels, dataset.limit.get("train"), random["train"])
        over += pool - len(rows["train"]) if dataset.limit.get("train", pool) < pool else 0
        notes.append(note)
    for name in SPLITS:
        if not len(rows[name]):
            message = (
                f"dataset {dataset.name!r} is too small: the {name} split would be empty ({len(table)} rows, "
                f"{len(np.unique(keys))} distinct texts"
                + (f", {len(np.unique(together))} groups, none of which may be in two splits)" if grouped else ")")
            )
            raise HarnessError(message)
        if name in dataset.limit:
            kept = _limit(rows[name], labels, dataset.limit[name], random[name])
            over += len(rows[name]) - len(kept)
            rows[name] = kept
    return {name: table.select(rows[name]) for name in SPLITS}, moved, over, notes


def _groups(dataset: Dataset, table: Any) -> NDArray[np.uint64] | None:
    """Return the group of each row, `[n]`; None without groups.

    Raises:
        HarnessError: There is only one group.
    """
    if "group" not in table.column_names:
        return None
    groups = text_keys(table, plainly, ("group",))
    if len(np.unique(groups)) == 1:
        message = f"dataset {dataset.name!r}: all rows have the same group, so it cannot be split: leave the group out"
        raise HarnessError(message)
    return groups


def _fold(
    dataset: Dataset,
    folds: int,
    rows: Mapping[Split, NDArray[np.int64]],
    together: NDArray[np.uint64],
    labels: NDArray[np.int64],
    seed: int,
) -> NDArray[np.int64]:
    """Return the rows, `[k]`, that a seed tests on: seeds 0 to folds - 1 cover all rows, and so do the next ones.

    Raises:
        HarnessError: The dataset has a test split, or too few rows.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if "test" in rows:
        message = f"dataset {dataset.name!r} has a test split, so it cannot be split into folds: leave out folds or the test split"
        raise HarnessError(message)
    among = rows["train"]
    if (units := len(np.unique(together[among]))) < 2 * folds:
        message = f"dataset {dataset.name!r} has {units} distinct texts or groups, too few for {folds} folds"
        raise HarnessError(message)
    classes = labels[among]
    if np.unique(classes, return_counts=True)[1].max() < folds:
        classes = np.zeros_like(classes)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=dataset.split_seed + seed // folds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer rows than folds is in some of them only
        parts = list(splitter.split(among, classes, together[among]))
    return np.asarray(among[parts[seed % folds][1]])


_LEFT_OUT = 0.2
"""Share of the rows that each seed leaves out if all of them are asked for."""


def _draw(
    rows: NDArray[np.int64],
    together: NDArray[np.uint64],
    labels: NDArray[np.int64],
    limit: int | None,
    random: np.random.Generator,
) -> tuple[NDArray[np.int64], str]:
    """Return the rows that a seed trains on, in order, with whole texts or groups; and a note."""
    if limit is None or limit >= len(rows):
        kept = np.setdiff1d(rows, _carve(rows, together, labels, _LEFT_OUT, random))
        return kept, (
            f"each seed trains on its own {1 - _LEFT_OUT:.0%} of {len(rows):,} rows, so intervals contain a part of what "
            "other training rows would change"
        )
    if len(np.unique(together[rows])) < len(rows):
        kept = _carve(rows, together, labels, limit / len(rows), random)
        kept = _limit(np.sort(kept), labels, limit, random)
    else:
        kept = _limit(rows, labels, limit, random)
    return kept, (
        f"each seed trains on its own {len(kept):,} of {len(rows):,} rows, so intervals contain what other training rows "
        "would change"
    )


def _shield(rows: dict[Split, NDArray[np.int64]], keys: NDArray[np.uint64]) -> int:
    """Remove from each split the texts that also occur in a held-out split; return the number of rows removed."""
    moved = 0
    for name, shields in _SHIELDS.items():
        shielded = [keys[rows[shield]] for shield in shields if shield in rows]
        if name in rows and shielded:
            kept = rows[name][~np.isin(keys[rows[name]], np.concatenate(shielded))]
            moved += len(rows[name]) - len(kept)
            rows[name] = kept
    return moved


def _classes(table: Any) -> NDArray[np.int64]:
    """Return the classes used for stratification, `[n]`: the class indices, or all 0 for other kinds of labels."""
    if "label" in table.column_names:
        labels = np.asarray(table.select([0])["label"][:])
        if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
            return np.asarray(table["label"][:], dtype=np.int64)
    return np.zeros(len(table), dtype=np.int64)


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


def plainly(text: str) -> str:
    """Return a text with case and spacing normalised; texts equal in this form are never in two splits."""
    return " ".join(text.lower().split())


def text_keys(
    table: Any, plain: Callable[[str], str], names: Sequence[str] = ("text", "text_pair")
) -> NDArray[np.uint64]:
    """Return one number per row, `[n]`, equal if the texts are equal after `plain`."""
    columns = [name for name in names if name in table.column_names]
    keys = np.empty(len(table), dtype=np.uint64)
    at = 0
    for rows in table.select_columns(columns).iter(batch_size=_ROWS):
        for texts in zip(*rows.values(), strict=True):
            whole = "\0".join(plain(text) for text in texts)
            # 64 bits: the probability of a collision among a million distinct texts is 1 in 37 million.
            keys[at] = int.from_bytes(hashlib.blake2b(whole.encode(), digest_size=8).digest())
            at += 1
    return keys


def _carve(
    rows: NDArray[np.int64],
    keys: NDArray[np.uint64],
    labels: NDArray[np.int64],
    share: float,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the rows, `[k]`, of a random share of each class's texts; of rare classes, one text from as many as their shares add up to."""
    if not len(rows):
        return rows
    _, first = np.unique(keys[rows], return_index=True)
    texts = rows[np.sort(first)]
    classes, counts = np.unique(labels[texts], return_counts=True)
    exact = share * counts
    quota = np.round(exact).astype(np.int64)
    rare = np.flatnonzero((quota == 0) & (counts > 1))  # a single text stays in train
    quota[random.permutation(rare)[: round(exact[rare].sum())] if len(rare) else rare] = 1
    taken = [
        random.permutation(texts[labels[texts] == label])[:count] for label, count in zip(classes, quota, strict=True)
    ]
    return rows[np.isin(keys[rows], keys[np.concatenate(taken)])]


def _limit(
    rows: NDArray[np.int64], labels: NDArray[np.int64], limit: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return at most `limit` rows in order, with class proportions preserved by the largest remainder method."""
    if limit >= len(rows):
        return rows
    classes, counts = np.unique(labels[rows], return_counts=True)
    exact = counts * limit / len(rows)
    quota = np.floor(exact).astype(np.int64)
    for position in np.argsort(quota - exact, kind="stable")[: limit - quota.sum()]:
        quota[position] += 1
    taken = [
        random.permutation(rows[labels[rows] == label])[:count] for label, count in zip(classes, quota, strict=True)
    ]
    return np.sort(np.concatenate(taken))
