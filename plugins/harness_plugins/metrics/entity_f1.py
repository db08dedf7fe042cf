"""F1 of entities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class EntityF1(harness.Ratio):
    """Harmonic mean of entity-precision and entity-recall, over the entities of all texts.

    Source: Tjong Kim Sang and De Meulder, 2003 (CoNLL-2003, section 2.3), by their conlleval.
    """

    name = "entity-f1"
    title = "entity F1"
    bounds = (0.0, 1.0)
    nothing = "the texts have no entities, and none is predicted"

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return the contributions of each text's tags `[n, words]` to numerator and denominator: `[n, 2]`.

        Raises:
            UndefinedError: The inputs are not tags.
        """
        from harness_plugins.metrics._entities import count

        found = count(outputs, targets)
        return np.stack([2 * found.right, found.answered + found.wanted], axis=1)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Register the metric."""
    return [EntityF1]
