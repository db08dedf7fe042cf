"""One of several classes per text or pair of texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

import harness
from harness_plugins.tasks._answers import build_classes, logits, probabilities

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn
    from transformers import PreTrainedModel

_FEWEST_CLASSES = 2


class TextClassification(harness.Task):
    """Assign one of several classes to a text or a pair of texts."""

    name = "text-classification"
    answers = "class"
    shaping = frozenset({"class_weights", "label_smoothing"})
    metrics = ("accuracy", "macro-f1", "mcc")

    def build(self, load: harness.Loader, facts: harness.Facts) -> "PreTrainedModel":
        """Return the model with a new classification head."""
        return build_classes(load, facts, "single_label_classification")

    def baseline(self, targets: "Callable[[], NDArray[Any]]", facts: harness.Facts) -> "nn.Module":
        """Return a model whose class scores are the log frequencies of the classes, for any text."""
        import numpy as np

        from harness_plugins.tasks._constant import Constant

        counts = np.bincount(targets(), minlength=len(facts.classes or ()))
        return Constant(np.log(np.maximum(counts, 0.5) / counts.sum()))

    def check(self, facts: harness.Facts, columns: Sequence[str]) -> str | None:
        """Return why the data cannot be used."""
        if "label" not in columns:
            return f"needs a column 'label', but the data has: {', '.join(columns)}"
        if facts.classes is None or len(facts.classes) < _FEWEST_CLASSES:
            return f"needs at least two classes, but the data has only {', '.join(map(repr, facts.classes or ()))}"
        return super().check(facts, columns)

    def loss(
        self,
        model: "nn.Module",
        batch: "Mapping[str, torch.Tensor]",
        *,
        class_weights: "torch.Tensor | None" = None,
        label_smoothing: float = 0.0,
    ) -> "torch.Tensor":
        """Return the summed cross-entropy in nats, a scalar, with optional class weights and label smoothing.

        Source of label smoothing: Szegedy et al., 2016 (Rethinking the Inception Architecture, section 7).
        """
        from torch.nn.functional import cross_entropy

        return cross_entropy(
            logits(model, batch).float(),
            batch["labels"],
            weight=class_weights,
            label_smoothing=label_smoothing,
            reduction="sum",
        )

    def predict(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the class scores before softmax, `[b, classes]`."""
        return logits(model, batch)

    def readable(
        self, outputs: "NDArray[Any]", rows: Mapping[str, list[Any]], facts: harness.Facts
    ) -> list[dict[str, JsonValue]]:
        """Return each text's class and its probability."""
        del rows
        classes, found = facts.classes or (), probabilities(outputs)
        return [{"label": classes[int(row.argmax())], "probability": float(row.max())} for row in found]


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Register the task."""
    return [TextClassification]
