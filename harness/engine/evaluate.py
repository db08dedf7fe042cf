"""The view through which tasks evaluate a model on a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.contracts import Facts
from harness.delivery.pooled import FeatureHead
from harness.engine.features import Answered, Features
from harness.engine.forward import forward
from harness.engine.session import Session
from harness.protocols import Pooling
from harness.records import Predictions, Split

if TYPE_CHECKING:
    import datasets
    from transformers import PreTrainedTokenizerBase


class DataView:
    """One problem with the model of one moment."""

    def __init__(
        self, session: Session, features: Features, problem: int, model: nn.Module | None, before: Predictions | None
    ) -> None:
        """Create a view of a problem through `model`, or through the body if that is None."""
        self._session, self._features, self._problem, self._model = session, features, problem, model
        self._before = before

    @property
    def facts(self) -> Facts:
        """The dataset's facts."""
        return self._session.tokens[self._problem].prepared.facts

    @property
    def before(self) -> Predictions | None:
        """The predictions of the same evaluation before tuning."""
        return self._before

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return self._session.tokens[self._problem].tokenizer

    def rows(self, split: Split) -> datasets.Dataset:
        """Return the original rows, each with its `id`."""
        return self._session.tokens[self._problem].prepared.splits[split]

    def ids(self, split: Split) -> NDArray[Any]:
        """Return the items' ids, `[n]`."""
        return self._session.tokens[self._problem].ids(split)

    def targets(self, split: Split) -> NDArray[Any]:
        """Return the target of each item, `[n, ...]`."""
        return self._session.tokens[self._problem].targets(split)

    def features(self, split: Split, pooling: Pooling = "mean") -> NDArray[Any]:
        """Return the body's pooled features, `[n, width]`."""
        return self._features.get(self._problem, split, pooling).array

    def outputs(self, split: Split) -> NDArray[Any]:
        """Return the task's prediction for each item, `[n, ...]`."""
        task = self._session.tokens[self._problem].task
        model = self._session.heads.body if self._model is None else self._model
        if isinstance(model, FeatureHead):
            # The same computation as a pass through the whole model, but from features that may be cached.
            features = torch.from_numpy(np.array(self.features(split, model.pooling))).to(
                self._session.accelerator.device
            )
            with torch.no_grad():
                return task.predict(Answered(model.head(features)), {}).float().cpu().numpy()
        return forward(self._session, self._problem, split, model, lambda batch: task.predict(model, batch))
