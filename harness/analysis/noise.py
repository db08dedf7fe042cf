"""Noise: how much values differ between runs with the same seed, and between seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np


class _HasValue(Protocol):
    @property
    def value(self) -> float | None: ...


F = TypeVar("F")


class Noise(NamedTuple):
    """The noise of a column's values."""

    identical: float
    """The largest difference between two runs of an arm with the same settings and seed."""
    seeds: float | None
    """Standard deviation between the seeds of an arm, root mean square over the arms; None with one seed."""

    @property
    def threshold(self) -> float:
        """Return the difference below which values differ only by noise."""
        return max(self.identical, self.seeds or 0.0)


def measure_noise(
    read: Callable[[F], _HasValue], finished: Mapping[str, Sequence[F]], again: Mapping[str, Sequence[F]]
) -> Noise | None:
    """Return a column's noise; None if no arm has two runs of the same seed.

    Args:
        read: Reads a run's value in the column.
        finished: By label, the runs of every seed.
        again: By label, the repeated runs of one seed; empty if it was run only once.
    """
    ranges, variances = [], []
    for label, repeats in again.items():
        if not repeats:
            continue
        values = [value for run in repeats if (value := read(run).value) is not None]
        if len(values) > 1:
            ranges.append(max(values) - min(values))
        seeds = [value for run in finished[label] if (value := read(run).value) is not None]
        if len(seeds) > 1:
            variances.append(np.var(seeds, ddof=1))
    if not ranges:
        return None
    return Noise(max(ranges), float(np.sqrt(np.mean(variances))) if variances else None)
