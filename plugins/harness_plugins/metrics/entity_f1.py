"""F1 of entities."""

from typing import Any

from numpy.typing import NDArray

import harness


class EntityF1(harness.Metric):
    """Harmonic mean of entity-precision and entity-recall, over the entities of all texts together.

    Source: Tjong Kim Sang and De Meulder, 2003 (CoNLL-2003, section 2.3), by their conlleval.
    """

    name = "entity-f1"
    title = "entity F1"

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the F1 of tags `[n, words]` against those that are right; 0 where none of the entities is found.

        Raises:
            UndefinedError: There are no entities, neither right nor answered.
        """
        from harness_plugins.metrics._entities import count

        found = count(outputs, targets)
        if not found.answered + found.wanted:
            message = "the texts have no entities, and none is answered"
            raise harness.UndefinedError(message)
        return 2 * found.right / (found.answered + found.wanted)


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [EntityF1]
