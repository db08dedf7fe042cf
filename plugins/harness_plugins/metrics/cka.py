"""Centred kernel alignment."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class CKA(harness.Metric):
    """Linear CKA of features before and after tuning: 1 if they differ only by rotation and scale.

    Source: Kornblith et al., 2019 (Similarity of Neural Network Representations Revisited, section 3, linear CKA).
    """

    name = "cka"
    title = "CKA"

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the alignment of features `[n, width]` with features `[n, other width]`, from 0 to 1.

        Raises:
            UndefinedError: There are no items, or all have the same features on one side.
        """
        if not len(outputs):
            message = "there are no items"
            raise harness.UndefinedError(message)
        if np.array_equal(outputs, targets):
            return 1.0  # exactly 1, without rounding, for unchanged features
        first, second = (
            np.asarray(side, dtype=np.float64) - side.mean(0, dtype=np.float64) for side in (outputs, targets)
        )
        scale = np.linalg.norm(first.T @ first) * np.linalg.norm(second.T @ second)
        if scale == 0:
            message = "all texts have the same features"
            raise harness.UndefinedError(message)
        return float(np.linalg.norm(second.T @ first) ** 2 / scale)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [CKA]
