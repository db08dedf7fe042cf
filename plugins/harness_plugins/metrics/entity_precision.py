"""Precision of entities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class EntityPrecision(harness.Ratio):
    """Share of predicted entities with the correct type, first word and last word.

    Source: Tjong Kim Sang and De Meulder, 2003 (CoNLL-2003, section 2.3), by their conlleval.
    """

    name = "entity-precision"
    title = "entity precision"
    bounds = (0.0, 1.0)
    nothing = "no entity is predicted"

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return the contributions of each text's tags `[n, words]` to numerator and denominator: `[n, 2]`.

        Raises:
            UndefinedError: The inputs are not tags.
        """
        from harness_plugins.metrics._entities import count

        found = count(outputs, targets)
        return np.stack([found.right, found.answered], axis=1)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [EntityPrecision]
