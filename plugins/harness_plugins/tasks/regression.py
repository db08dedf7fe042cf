"""Regression on texts or pairs of texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

import harness
from harness_plugins.tasks._answers import build, logits

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn
    from transformers import PreTrainedModel


class Regression(harness.Task):
    """Predict a number for a text or a pair of texts, such as a rating or a similarity."""

    name = "regression"
    answers = "number"
    metrics = ("spearman", "pearson")

    def build(self, load: harness.Loader, facts: harness.Facts) -> "PreTrainedModel":
        """Return the model with a new head with one output."""
        del facts
        return build(load, num_labels=1, problem_type="regression")

    def check(self, facts: harness.Facts, columns: Sequence[str]) -> str | None:
        """Return why the data cannot be used."""
        if "label" not in columns or facts.classes is not None:
            return "needs a number in each row, not a class (for your own file, use -o file.numeric=true)"
        return super().check(facts, columns)

    def baseline(self, targets: "Callable[[], NDArray[Any]]", facts: harness.Facts) -> "nn.Module":
        """Return a model that predicts the mean for any text."""
        from harness_plugins.tasks._constant import Constant

        del facts
        return Constant([targets().mean()])

    def loss(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the summed squared error, a scalar."""
        from torch.nn.functional import mse_loss

        return mse_loss(self.predict(model, batch), batch["labels"].float(), reduction="sum")

    def predict(self, model: "nn.Module", batch: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return the numbers, `[b]`."""
        return logits(model, batch).float().squeeze(-1)

    def readable(
        self, outputs: "NDArray[Any]", rows: Mapping[str, list[Any]], facts: harness.Facts
    ) -> list[dict[str, JsonValue]]:
        """Return each text's number."""
        del rows, facts
        return [{"number": float(number)} for number in outputs]


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Register the task."""
    return [Regression]
