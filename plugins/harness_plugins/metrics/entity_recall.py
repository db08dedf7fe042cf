"""Recall of entities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import harness


class EntityRecall(harness.Ratio):
    """Share of the entities there are that are answered with the right type, first word and last word.

    Source: Tjong Kim Sang and De Meulder, 2003 (CoNLL-2003, section 2.3), by their conlleval.
    """

    name = "entity-recall"
    title = "entity recall"
    nothing = "the texts have no entities"

    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return what the tags of each text `[n, words]` add to the two sums: `[n, 2]`.

        Raises:
            UndefinedError: These are not tags.
        """
        from harness_plugins.metrics._entities import count

        found = count(outputs, targets)
        return np.stack([found.right, found.wanted], axis=1)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [EntityRecall]
