"""Shared by the correlation metrics."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness

_FEWEST = 2


def correlation(compute: Callable[[Any, Any], Any], outputs: NDArray[Any], targets: NDArray[Any]) -> float:
    """Return the correlation that scipy computes for `outputs` `[n]` and `targets` `[n]`.

    Raises:
        UndefinedError: There are fewer than two items, or all predictions or all targets are equal.
    """
    if len(targets) < _FEWEST or not np.ptp(targets) or not np.ptp(outputs):
        message = "all predictions or all targets are equal, so the correlation is undefined"
        raise harness.UndefinedError(message)
    return float(compute(outputs, targets).statistic)
