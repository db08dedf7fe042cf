"""Recall of entities."""

from typing import Any

from numpy.typing import NDArray

import harness


class EntityRecall(harness.Metric):
    """Share of the entities there are that are answered with the right type, first word and last word.

    Source: Tjong Kim Sang and De Meulder, 2003 (CoNLL-2003, section 2.3), by their conlleval.
    """

    name = "entity-recall"
    title = "entity recall"

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the recall of tags `[n, words]` against those that are right.

        Raises:
            UndefinedError: The texts have no entities.
        """
        from harness_plugins.metrics._entities import count

        found = count(outputs, targets)
        if not found.wanted:
            message = "the texts have no entities"
            raise harness.UndefinedError(message)
        return found.right / found.wanted


@harness.hookimpl
def harness_metrics() -> list[type[harness.Metric]]:
    """Offer the metric."""
    return [EntityRecall]
