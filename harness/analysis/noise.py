"""How much runs differ that should not: the same seed run again, and other seeds alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

import numpy as np


class _HasValue(Protocol):
    @property
    def value(self) -> float | None: ...


F = TypeVar("F")


class Noise(NamedTuple):
    """How much a column's values differ for no reason."""

    identical: float
    """The largest difference between two runs of an arm with the same settings and seed."""
    seeds: float | None
    """Standard deviation between the seeds of an arm, root mean square over the arms; None with one seed."""

    @property
    def threshold(self) -> float:
        """Return below what a difference says nothing."""
        return max(self.identical, self.seeds or 0.0)


def measure_noise(
    read: Callable[[F], _HasValue], finished: Mapping[str, Sequence[F]], again: Mapping[str, Sequence[F]]
) -> Noise | None:
    """Return a column's noise; None where no arm has two runs of one seed.

    Args:
        read: How a run's value in the column is found.
        finished: By label, the runs of every seed.
        again: By label, the runs of one seed; none where it was run but once.
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
