"""F1 of entities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class EntityF1(harness.Ratio):
    """Harmonic mean of entity-precision and entity-recall, over the entities of all texts together.

    Source: Tjong Kim Sang and De Meulder, 2003 (CoNLL-2003, section 2.3), by their conlleval.
    """

    name = "entity-f1"
    title = "entity F1"
    nothing = "the texts have no entities, and none is answered"

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return what the tags of each text `[n, words]` add to the two sums: `[n, 2]`.

        Raises:
            UndefinedError: These are not tags.
        """
        from harness_plugins.metrics._entities import count

        found = count(outputs, targets)
        return np.stack([2 * found.right, found.answered + found.wanted], axis=1)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [EntityF1]
