"""Centred kernel alignment."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class CKA(harness.Metric):
    """Linear CKA of features before and after tuning, without bias: 1 if they differ only by rotation and scale.

    Unrelated features score 0 on average, for any number of texts; single values may be slightly negative. The common
    estimator (Kornblith et al., 2019) scores them far above 0 if there are fewer texts than features. Source: Murphy,
    Zylberberg and Fyshe, 2024 (Correcting Biased Centered Kernel Alignment Measures, section 3), with the estimator of
    HSIC by Song et al., 2012 (Feature Selection via Dependence Maximization, equation 5).
    """

    name = "cka"
    version = 2
    title = "CKA"
    chance = 0.0

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the alignment of features `[n, width]` with features `[n, other width]`, at most 1.

        Raises:
            UndefinedError: There are fewer than four items, or all have the same features on one side.
        """
        if len(outputs) < _FEWEST:
            message = f"fewer than {_FEWEST} texts"
            raise harness.UndefinedError(message)
        first, second = (
            np.asarray(side, dtype=np.float64) - side.mean(0, dtype=np.float64) for side in (outputs, targets)
        )
        alone = _hsic(first, first), _hsic(second, second)
        tiny = 1e-12 * max(np.sum(first**2), np.sum(second**2), 1e-300) ** 2
        if min(alone) <= tiny:
            message = "all texts have the same features"
            raise harness.UndefinedError(message)
        if np.array_equal(outputs, targets):
            return 1.0  # exactly 1, without rounding, for unchanged features
        return float(_hsic(first, second) / np.sqrt(alone[0] * alone[1]))


_FEWEST = 4


def _hsic(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return n(n - 3) times the unbiased HSIC of centred features `[n, ...]`, without computing `[n, n]` kernels."""
    n = len(first)
    own = np.sum(first**2, axis=1), np.sum(second**2, axis=1)
    product = np.sum((first.T @ second) ** 2) - own[0] @ own[1]
    # The rows of centred kernels sum to 0; without their diagonals, to its negative.
    return float(product + own[0].sum() * own[1].sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (own[0] @ own[1]))


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [CKA]
