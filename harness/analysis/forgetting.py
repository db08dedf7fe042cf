"""Forgetting and transfer over the stages of a run: pure functions of a score matrix.

The matrix has shape `[stages + 1, datasets]`: row 0 before tuning, row i after stage i; higher is better (negate a
metric where lower is better); nan if a score is undefined. The datasets are those of the stages, then the watched ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def forgetting(matrix: Matrix, learned_at: Sequence[int]) -> NDArray[np.float64]:
    """Return how far each dataset's final score is below its score when it was learned.

    Positive means forgotten; negative means that later stages helped. This is the negated backward transfer of
    Lopez-Paz and Ranzato, 2017 (Gradient Episodic Memory, section 3, equation 3), dataset by dataset. A dataset that is
    only watched counts as learned before tuning.

    Args:
        matrix: Scores, `[stages + 1, datasets]`.
        learned_at: For each dataset the stage after which it counts as known; 0 for one that is only watched.

    Returns:
        One value per dataset, in the unit of the scores; nan for the dataset learned last, or where a score is
        undefined.
    """
    last = matrix.shape[0] - 1
    values = [
        np.nan if at == last else matrix[at, column] - matrix[last, column] for column, at in enumerate(learned_at)
    ]
    return np.array(values, dtype=np.float64)


def maximal_forgetting(matrix: Matrix, learned_at: Sequence[int]) -> NDArray[np.float64]:
    """Return how far each dataset's final score is below its best score since it was learned.

    Differs from `forgetting` if a stage in between helped. Source: Chaudhry et al., 2018 (Riemannian Walk, section
    3.2, equation 3).

    Args:
        matrix: Scores, `[stages + 1, datasets]`.
        learned_at: For each dataset the stage after which it counts as known; 0 for one that is only watched.

    Returns:
        One value per dataset, in the unit of the scores; nan for the dataset learned last, or where a score is
        undefined.
    """
    last = matrix.shape[0] - 1
    values = [
        np.nan if at == last else np.max(matrix[at:last, column]) - matrix[last, column]
        for column, at in enumerate(learned_at)
    ]
    return np.array(values, dtype=np.float64)


def backward_transfer(matrix: Matrix, learned_at: Sequence[int]) -> float:
    """Return the mean change of the stages' scores from when each was learned to the end.

    Source: Lopez-Paz and Ranzato, 2017 (Gradient Episodic Memory, section 3, equation 3). Datasets that are only
    watched do not count; nan with fewer than two stages.
    """
    earlier = [
        -lost for lost, at in zip(forgetting(matrix, learned_at), learned_at, strict=True) if 0 < at < len(matrix) - 1
    ]
    return float(np.mean(earlier)) if earlier else float("nan")


def forward_transfer(matrix: Matrix, learned_at: Sequence[int]) -> float:
    """Return the mean gain on a stage's dataset just before its own stage, compared with before any tuning.

    Source: Lopez-Paz and Ranzato, 2017 (Gradient Episodic Memory, section 3, equation 4), with the untuned model in
    place of a randomly initialised one. Needs scores before a dataset's own stage, so it is nan if tuning creates the
    heads.
    """
    gains = [matrix[at - 1, column] - matrix[0, column] for column, at in enumerate(learned_at) if at > 1]
    return float(np.mean(gains)) if gains else float("nan")
