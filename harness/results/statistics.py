"""Intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A mean and what is known of it."""

    mean: float
    half_width: float | None
    """Half of the 95 % interval; None with fewer than two values."""
    n: int


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of one value per seed, with its 95 % interval by Student's t.

    The interval speaks of the seeds only: another sample of test items would move the mean as well. Source: Student, 1908
    (The Probable Error of a Mean).
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return Estimate(float(array.mean()), None, len(array))
    from scipy.special import stdtrit

    deviation = array.std(ddof=1) if np.ptp(array) else 0.0
    return Estimate(
        float(array.mean()), float(stdtrit(len(array) - 1, 0.975) * deviation / len(array) ** 0.5), len(array)
    )
