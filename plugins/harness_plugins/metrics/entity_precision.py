"""Precision of entities."""

from typing import Any

from numpy.typing import NDArray

import harness


class EntityPrecision(harness.Metric):
    """Share of the entities answered that are right in type, first word and last word.

    Source: Tjong Kim Sang and De Meulder, 2003 (CoNLL-2003, section 2.3), by their conlleval.
    """

    name = "entity-precision"
    title = "entity precision"

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the precision of tags `[n, words]` against those that are right.

        Raises:
            UndefinedError: No entity is answered.
        """
        from harness_plugins.metrics._entities import count

        found = count(outputs, targets)
        if not found.answered:
            message = "no entity is answered"
            raise harness.UndefinedError(message)
        return found.right / found.answered


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [EntityPrecision]
