"""Splitting of a dataset's rows.

No text and no group is in two splits: those of the test split are removed from the others, those of the validation split
from train. A missing split is taken from train, stratified by class, keeping all rows with the same text or group
together.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.contracts import Dataset
from harness.errors import HarnessError
from harness.records import SPLITS, Split

_ROWS = 1000
"""Rows held in memory at a time."""
_SHIELDS: Mapping[Split, tuple[Split, ...]] = {"validation": ("test",), "train": ("test", "validation")}
"""For each split, the splits whose texts must not occur in it."""
_LEFT_OUT = 0.2
"""Share of the rows that each seed leaves out if all of them are asked for."""


def split_rows(dataset: Dataset, raw: dict[Split, Any], seed: int) -> tuple[dict[Split, Any], int, int, list[str]]:
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
        kept = np.sort(_carve(rows, together, labels, limit / len(rows), random))
        units, sizes = np.unique(together[kept], return_counts=True)
        order = random.permutation(len(units))
        fitting = units[order][np.cumsum(sizes[order]) <= limit]
        kept = kept[np.isin(together[kept], fitting)]
    else:
        kept = _limit(rows, labels, limit, random)
    return kept, (
        f"each seed trains on its own {len(kept):,} of {len(rows):,} rows, so intervals contain what other training rows "
        "would change"
    )


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


def _classes(table: Any) -> NDArray[np.int64]:
    """Return the classes used for stratification, `[n]`: the class indices, or all 0 for other kinds of labels."""
    if "label" in table.column_names:
        labels = np.asarray(table.select([0])["label"][:])
        if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer):
            return np.asarray(table["label"][:], dtype=np.int64)
    return np.zeros(len(table), dtype=np.int64)


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
