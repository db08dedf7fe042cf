"""Which rows make a batch. Nothing here knows how many processes share the work: each takes its part of every batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_POOL = 50
"""Batches that are sorted together: enough to waste little padding, few enough to stay shuffled."""


def training_batches(lengths: ArrayLike, batch_size: int, seed: Sequence[int]) -> list[NDArray[np.int64]]:
    """Return one epoch's batches of row numbers: shuffled by the seed, of like length, each row once.

    Args:
        lengths: Tokens of each row, `[n]`.
        batch_size: Rows per batch, over all processes; the last batch may have fewer.
        seed: What the shuffle depends on, and nothing else.
    """
    random = np.random.default_rng(list(seed))
    sizes = np.asarray(lengths)
    order = random.permutation(len(sizes))
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), _POOL * batch_size):
        pool = order[start : start + _POOL * batch_size]
        pool = pool[np.argsort(sizes[pool], kind="stable")]
        batches += [pool[at : at + batch_size] for at in range(0, len(pool), batch_size)]
    return [batches[position] for position in random.permutation(len(batches))]


def evaluation_batches(lengths: ArrayLike, batch_size: int) -> list[NDArray[np.int64]]:
    """Return batches of row numbers by descending length, each row once: the longest first, so that memory runs out early."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    return [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
