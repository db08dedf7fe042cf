"""What each item adds to a score: of a ratio of sums the items' own parts, of any other score what leaving items out does."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.contracts import Metric, Ratio
from harness.errors import UndefinedError
from harness.records import Predictions, digest

_BLOCKS = 50
"""Into how many blocks of items, at most, a score that is no ratio of sums is taken apart."""

_FEWEST = 2


class Items(NamedTuple):
    """A score, taken apart."""

    statistics: NDArray[np.float64]
    """`[units, 2]`: numerator and denominator; the ratio of their sums is the score."""
    key: str
    """What the units are: arms with the same key can be paired unit by unit."""


def take_apart(metric: Metric, predictions: Predictions) -> Items:
    """Return what each item, or each block of items, adds to a metric's score; in order of the items' ids.

    A score that is no ratio of sums is taken apart by the jackknife: blocks of items are left out in turn, and their
    pseudo-values, shifted so that their mean is the score, stand for the blocks (Efron and Tibshirani, 1993, An Introduction
    to the Bootstrap, chapter 11).

    Raises:
        UndefinedError: There is no score, or there is none without some of the items, or but one item.
    """
    if len(predictions.ids) < _FEWEST:
        message = "one test item says nothing of others: no interval and no verdict"
        raise UndefinedError(message)
    order = np.argsort(predictions.ids, kind="stable")
    outputs, targets = predictions.outputs[order], predictions.targets[order]
    key = digest([str(one) for one in predictions.ids[order].tolist()])
    if isinstance(metric, Ratio):
        statistics = np.asarray(metric.items(outputs, targets), dtype=np.float64)
        if not statistics[:, 1].any():
            raise UndefinedError(metric.nothing)
        return Items(statistics, key)
    whole = metric.score(outputs, targets)
    # Shuffled, alike for all runs: data often stands class by class, and blocks of one class differ by more than chance.
    shuffled = np.random.default_rng(0).permutation(len(outputs))
    blocks = np.array_split(shuffled, min(_BLOCKS, len(outputs)))
    without = []
    for block in blocks:
        kept = np.delete(np.arange(len(outputs)), block)
        try:
            without.append(metric.score(outputs[kept], targets[kept]))
        except UndefinedError as error:
            message = f"no interval: without some of the items, {error}"
            raise UndefinedError(message) from None
    pseudo = len(blocks) * whole - (len(blocks) - 1) * np.array(without)
    pseudo += whole - pseudo.mean()
    return Items(np.stack([pseudo, np.ones_like(pseudo)], axis=1), f"{key} in {len(blocks)} blocks")
