"""Split a score into contributions of items: the terms of a ratio of sums, or the jackknife for any other score."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.contracts import Metric, Ratio
from harness.errors import MetricError, UndefinedError
from harness.records import Predictions, digest

_BLOCKS = 50
"""Maximum number of blocks for a score that is not a ratio of sums."""

_FEWEST = 2


def score(metric: Metric, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
    """Return a metric's score of `outputs` `[n, ...]` against `targets` `[n, ...]`, checked to be a finite number.

    Raises:
        UndefinedError: The score is undefined on these predictions.
        MetricError: The metric raises any other exception, or does not return a finite number.
    """
    try:
        found: Any = metric.score(outputs, targets)
    except UndefinedError:
        raise
    except (Exception, SystemExit) as error:
        raise MetricError(_failed(metric, error)) from error
    if (
        not isinstance(found, (float, int, np.floating, np.integer))
        or isinstance(found, bool)
        or not np.isfinite(found)
    ):
        raise MetricError(f"metric {metric.name!r} returned {found!r:.40}, which is not a finite number")
    return float(found)


def _ratio(metric: Ratio, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.float64]:
    """Return what each item adds to the numerator and the denominator, `[n, 2]`.

    Raises:
        UndefinedError: The metric is undefined on these predictions.
        MetricError: It raises any other exception, or returns something else.
    """
    try:
        statistics = np.asarray(metric.items(outputs, targets), dtype=np.float64)
    except UndefinedError:
        raise
    except (Exception, SystemExit) as error:
        raise MetricError(_failed(metric, error)) from error
    if statistics.shape != (len(targets), 2) or not np.isfinite(statistics).all():
        raise MetricError(f"metric {metric.name!r}: items() did not return finite numbers of shape [n, 2]")
    return statistics


def _failed(metric: Metric, error: BaseException) -> str:
    return " ".join(f"metric {metric.name!r} failed: {type(error).__name__}: {error}".split())


class Items(NamedTuple):
    """A score, split into contributions of items."""

    statistics: NDArray[np.float64]
    """`[units, 2]`: numerator and denominator; the ratio of their sums is the score."""
    key: str
    """Identifies the units: arms with the same key can be paired unit by unit."""


def take_apart(metric: Metric, predictions: Predictions) -> Items:
    """Return what each item, or each block of items, adds to a metric's score; in order of the items' ids.

    A score that is not a ratio of sums is split by the jackknife: blocks of items are left out in turn, and their
    pseudo-values, shifted so that their mean is the score, represent the blocks (Efron and Tibshirani, 1993, An
    Introduction to the Bootstrap, chapter 11).

    Raises:
        UndefinedError: The score is undefined, or undefined without some of the items, or there is only one item.
    """
    if len(predictions.ids) < _FEWEST:
        message = "only one test item: no interval and no verdict"
        raise UndefinedError(message)
    order = np.argsort(predictions.ids, kind="stable")
    outputs, targets = predictions.outputs[order], predictions.targets[order]
    key = digest([str(one) for one in predictions.ids[order].tolist()])
    if isinstance(metric, Ratio):
        statistics = _ratio(metric, outputs, targets)
        if not statistics[:, 1].any():
            raise UndefinedError(metric.nothing)
        return Items(statistics, key)
    whole = score(metric, outputs, targets)
    # Shuffled in the same way for all runs: data is often sorted by class, and blocks of one class differ more than by
    # chance.
    shuffled = np.random.default_rng(0).permutation(len(outputs))
    blocks = np.array_split(shuffled, min(_BLOCKS, len(outputs)))
    without = []
    for block in blocks:
        kept = np.delete(np.arange(len(outputs)), block)
        try:
            without.append(score(metric, outputs[kept], targets[kept]))
        except UndefinedError as error:
            message = f"no interval: without some of the items, {error}"
            raise UndefinedError(message) from None
    pseudo = len(blocks) * whole - (len(blocks) - 1) * np.array(without)
    pseudo += whole - pseudo.mean()
    return Items(np.stack([pseudo, np.ones_like(pseudo)], axis=1), f"{key} in {len(blocks)} blocks")
