"""How a score varies over samples of the test items."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.contracts import Confusion, Metric, Ratio
from harness.errors import MetricError, UndefinedError
from harness.records import Predictions, digest

_BLOCKS = 50
"""Maximum number of blocks for a score that is not a ratio of sums."""

_FEWEST = 2
_REWEIGHED = 2_000
"""Number of random weightings of the items."""
_ADDED = 2.0
"""Number of items that are added to a confusion matrix, in total: half an item per cell if there are two classes."""
_CHUNK = 4_000_000
"""Maximum number of weights held in memory at a time."""


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
    """A score, and how it varies over samples of the test items."""

    value: float
    deviations: NDArray[np.floating]
    """`[K]`: the sum of their squares is the variance of the score. Resampled ones are in single precision, in which
    their weights are: a table holds thousands for each run."""
    units: int
    """Number of items, or of groups of items that are drawn together."""
    key: str
    """Identifies the units: scores with the same key can be compared unit by unit."""
    linear: bool
    """Whether each unit has its own deviation, so that K is the number of units."""
    centre: float | None = None
    """Mean of the resampled scores, if `deviations` are those of resampled scores; it differs from `value` by bias."""


def take_apart(metric: Metric, predictions: Predictions) -> Items:
    """Return how a metric's score varies over samples of the items, or of their groups.

    - A ratio of sums is linear in the items (Särndal, Swensson and Wretman, 1992, Model Assisted Survey Sampling,
      section 5.6).
    - A function of the confusion matrix is computed on random weights of the items, with two further items spread over
      the cells of the matrix, so that a class with few items does not look certain (Rubin, 1981, The Bayesian
      Bootstrap; Tötsch and Hoffmann, 2021, Classifier Uncertainty).
    - For any other score, blocks of items are left out in turn: the jackknife (Efron and Tibshirani, 1993, An
      Introduction to the Bootstrap, chapter 11).

    Raises:
        UndefinedError: The score is undefined, or undefined without some of the items, or there is only one unit.
    """
    order = np.argsort(predictions.ids, kind="stable")
    outputs, targets = predictions.outputs[order], predictions.targets[order]
    groups = None if predictions.groups is None else predictions.groups[order]
    _, unit = np.unique(np.arange(len(order)) if groups is None else groups, return_inverse=True)
    units = int(unit.max()) + 1 if len(unit) else 0
    if units < _FEWEST:
        what = "test item" if groups is None else "group of test items"
        message = f"only one {what}: no interval and no verdict"
        raise UndefinedError(message)
    named: list[object] = [str(one) for one in predictions.ids[order].tolist()]
    key = digest(named if groups is None else [named, unit.tolist()])
    if isinstance(metric, Ratio):
        return _linear(metric, outputs, targets, unit, units, key)
    whole = score(metric, outputs, targets)
    if isinstance(metric, Confusion):
        scores = _reweighed(metric, outputs, targets, unit, units, key)
        centre = float(scores.mean())
        deviations = ((scores - centre) / math.sqrt(len(scores) - 1)).astype(np.float32)
        return Items(whole, deviations, units, f"{key} weighed", linear=False, centre=centre)
    return _left_out(metric, outputs, targets, unit, units, key, whole)


def _linear(
    metric: Ratio, outputs: NDArray[Any], targets: NDArray[Any], unit: NDArray[np.intp], units: int, key: str
) -> Items:
    each = _ratio(metric, outputs, targets)
    above, below = (np.bincount(unit, each[:, side], units) for side in (0, 1))
    if not below.any():
        raise UndefinedError(metric.nothing)
    value = float(each[:, 0].sum() / each[:, 1].sum())
    deviations = (above - value * below) / below.sum() * math.sqrt(units / (units - 1))
    return Items(value, deviations, units, key, linear=True)


def _reweighed(  # [2_000]: a score for each weighting
    metric: Confusion, outputs: NDArray[Any], targets: NDArray[Any], unit: NDArray[np.intp], units: int, key: str
) -> NDArray[np.float64]:
    cells, classes = metric.cells(outputs, targets)
    tables, size = cells.shape[1], classes**2
    # Cells of different tables are numbered one after another.
    used, cell = np.unique(cells + size * np.arange(tables), return_inverse=True)
    held = np.zeros((units, len(used)), dtype=np.float32)
    np.add.at(held, (np.repeat(unit, tables), cell.ravel()), 1.0)
    counts = np.random.default_rng(0).gamma(_ADDED / size, size=(_REWEIGHED, tables * size))
    start = 0
    for weights in [_all_weights(key, units)] if units * _REWEIGHED <= _CHUNK else _weights(key, units):
        counts[start : start + len(weights), used] += weights @ held
        start += len(weights)
    return np.asarray(metric.of_counts(counts.reshape(-1, tables, classes, classes)), dtype=np.float64)


def _weights(key: str, units: int) -> Iterator[NDArray[np.float32]]:
    """Yield random weights of the units, `[some, units]`, `_REWEIGHED` in all.

    They do not depend on the predictions: the same items have the same weights in every run.
    """
    random, left = np.random.default_rng(int(digest(key)[:16], 16)), _REWEIGHED
    while left:
        some = min(left, max(1, _CHUNK // units))
        yield random.standard_exponential((some, units), dtype=np.float32)
        left -= some


@functools.lru_cache(maxsize=1)
def _all_weights(key: str, units: int) -> NDArray[np.float32]:
    """Return the weights of units that are few enough to be kept for the next run: drawing them was a fifth of the time."""
    return np.concatenate(list(_weights(key, units)))


def _left_out(
    metric: Metric,
    outputs: NDArray[Any],
    targets: NDArray[Any],
    unit: NDArray[np.intp],
    units: int,
    key: str,
    whole: float,
) -> Items:
    # Shuffled in the same way for all runs: data is often sorted by class, and blocks of one class differ more than by
    # chance.
    blocks = np.array_split(np.random.default_rng(0).permutation(units), min(_BLOCKS, units))
    without = []
    for block in blocks:
        kept = ~np.isin(unit, block)
        try:
            without.append(score(metric, outputs[kept], targets[kept]))
        except UndefinedError as error:
            message = f"no interval: without some of the items, {error}"
            raise UndefinedError(message) from None
    count = len(blocks)
    deviations = (np.mean(without) - np.array(without)) * math.sqrt((count - 1) / count)
    return Items(whole, deviations, count, f"{key} in {count} blocks", linear=False)
