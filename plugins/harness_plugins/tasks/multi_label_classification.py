"""Any number of classes per text or pair of texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

import harness
from harness_plugins.tasks._answers import build_classes, logits

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn
    from transformers import PreTrainedModel


class MultiLabelClassification(harness.Task):
    """Assign any number of classes to a text or a pair of texts."""

    name = "multi-label-classification"
    metrics = ("micro-f1", "macro-f1", "subset-accuracy")
    answers = "classes"

    def build(self, load: harness.Loader, facts: harness.Facts) -> "PreTrainedModel":
        """Return the model with a new classification head."""
        return build_classes(load, facts, "multi_label_classification")

    def check(self, facts: harness.Facts, columns: Sequence[str]) -> str | None:
        """Return why the data cannot be used."""
        if "label" not in columns or not facts.classes:
            return (
                "needs labels for each text (for your own file, set the separator between them: -o "
                "file.label_separator=,)"
            )
        return super().check(facts, columns)

    def baseline(self, targets: "Callable[[], NDArray[Any]]", facts: harness.Facts) -> "nn.Module":
        """Return a model whose score for each class is its log-odds in train, for any text."""
        import numpy as np

        from harness_plugins.tasks._constant import Constant

        del facts
        known = targets()
        shares = (known.sum(0) + 0.5) / (len(known) + 1)
        return Constant(np.log(shares / (1 - shares)))

    def loss(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the binary cross-entropy in nats, averaged over the classes and summed over the texts, a scalar."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        scores = self.predict(model, batch)
        total = binary_cross_entropy_with_logits(scores.float(), batch["labels"].float(), reduction="sum")
        return total / scores.shape[1]

    def predict(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the log-odds of the classes, `[b, classes]`; a class is predicted if they are above 0."""
        return logits(model, batch)

    def readable(
        self, outputs: "NDArray[Any]", rows: Mapping[str, list[Any]], facts: harness.Facts
    ) -> list[dict[str, JsonValue]]:
        """Return each text's classes, and the probability of every class."""
        from scipy.special import expit

        del rows
        classes = facts.classes or ()
        return [
            {
                "labels": [name for name, score in zip(classes, row, strict=True) if score > 0],
                "probabilities": {name: float(expit(score)) for name, score in zip(classes, row, strict=True)},
            }
            for row in outputs.astype(float)
        ]


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Register the task."""
    return [MultiLabelClassification]
