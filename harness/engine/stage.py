"""Implementation of a stage: one dataset of a run that a strategy tunes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.architecture import find_blocks
from harness.contracts import Facts, Metric, Task
from harness.delivery.pooled import FeatureHead
from harness.delivery.write import is_adapter, saved_bytes, write_adapter
from harness.engine.evaluate import DataView
from harness.engine.features import Features
from harness.engine.flops import count_flops
from harness.engine.forward import Batches
from harness.engine.serve import can_merge, measure_speed
from harness.engine.session import Session
from harness.engine.train import fit, planned_steps
from harness.errors import HarnessError, UndefinedError
from harness.protocols import Pooling
from harness.records import Speed, Split, TrainConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class EarlierStage:
    """An earlier stage; see `harness.protocols.Earlier`."""

    def __init__(self, session: Session, index: int) -> None:
        """Open the stage with this index, from 0."""
        model = session.heads.models[index]
        assert model is not None
        self._session, self._task, self._model = session, session.tokens[index].task, model
        self._batches = Batches(session, index, "train")
        with session.meter.phase("count"):
            self._flops = count_flops(
                session,
                index,
                model,
                lambda batch: self._task.loss(model, batch),
                self._batches,
                "whole",
                training=True,
            )

    @property
    def items(self) -> int:
        """Number of rows of its train split."""
        return len(self._batches.lengths)

    def loss(self, rows: Sequence[int] | NDArray[Any]) -> torch.Tensor:
        """Return the mean loss of rows of its train split with its head, a scalar with a gradient."""
        numbers = np.asarray(rows)
        items = self._batches.items(numbers)
        batch, weight = self._batches(numbers, items), self._task.weight(items)
        self._session.meter.add_flops(self._flops(batch["input_ids"].shape, weight))
        # Use dropout in the head only if the body does: `train` and `eval` reach the head only through its own model.
        self._session.heads.head_of(self._model).train(self._session.heads.body.training)
        with self._session.evaluating():
            return self._task.loss(self._model, batch) / weight


class RunStage:
    """One stage of a run; see `harness.protocols.Stage`."""

    def __init__(self, session: Session, features: Features, index: int, metric: Metric, folder: Path | None) -> None:
        """Prepare the stage with this index.

        Args:
            session: The current run.
            features: Features of the run's body.
            index: Index of the stage, from 0.
            metric: Metric of the validation score.
            folder: Target folder of a delivered adapter, written before it is merged; None to not write it.
        """
        self.index = index
        self.seed = session.run.seed
        self.facts: Facts = session.tokens[index].prepared.facts
        self.task: Task = session.tokens[index].task
        self.config: TrainConfig = session.run.train.model_copy(update={"fast": session.fast})
        self._session, self._features, self._metric, self._folder = session, features, metric, folder
        self._known = {id(parameter) for model in self._modules() for parameter in model.parameters()}
        self.ship_bytes: int | None = None
        """Saved size in bytes; None until `ship` is called."""
        self.apart: Speed | str | None = None
        """Inference speed of the last stage's model with unmerged adapters, or why it is unknown; None without adapters."""
        self._fitted = False
        session.trained.clear()

    @property
    def model(self) -> PreTrainedModel:
        """The body with this stage's head."""
        model = self._session.heads.models[self.index]
        if model is None:
            message = f"task {self._session.tokens[self.index].task.name!r} has no model to tune"
            raise UndefinedError(message)
        return model

    @property
    def body(self) -> nn.Module:
        """The pretrained part, shared by every head of the run."""
        body: nn.Module = self._session.heads.body
        return body

    @property
    def head(self) -> nn.ModuleList:
        """The modules of `model` outside the body, and body parts missing in the published model."""
        return self._session.heads.head_of(self.model)

    def baseline(self) -> nn.Module:
        """Return a model that learned from no text: the task's baseline, or the unchanged model if there is none."""
        baseline = self.task.baseline(lambda: self.targets("train"), self.facts)
        return self.model if baseline is None else baseline.to(self._session.accelerator.device)

    def last_blocks(self, count: int) -> Sequence[nn.Module]:
        """Return the last blocks of the body, from input to output, `[count]`."""
        blocks = find_blocks(self.body)
        if count > len(blocks):
            name = self._session.run.strategy.name
            message = f"strategy {name!r}: layers={count} is too many; the model has {len(blocks)} blocks"
            raise HarnessError(message)
        return blocks[len(blocks) - count :]

    @cached_property
    def earlier(self) -> Sequence[EarlierStage]:
        """The stages before this one, in order."""
        return [EarlierStage(self._session, index) for index in range(self.index)]

    def steps(self) -> int:
        """Return the number of optimizer steps of `fit`."""
        return planned_steps(self._session, self.index)

    def fit(
        self,
        model: nn.Module,
        penalty: Callable[[], torch.Tensor] | None = None,
        after_backward: Callable[[int], None] | None = None,
    ) -> nn.Module:
        """Train all parameters that require a gradient with the run's settings, and return the same model."""
        fitted = fit(self._session, self.index, model, self.validate, penalty, after_backward)
        self._features.look()
        self._fitted = True
        return fitted

    def conclude(self, tuned: nn.Module) -> None:
        """Log the validation score of a model made without `fit` (which logs every epoch)."""
        if not self._fitted and self.trained(tuned):
            value = self.validate(tuned)
            self._session.log({"stage": self.index, "validation": value, **self._session.spent()})

    def features(self, split: Split, pooling: Pooling = "mean") -> NDArray[Any]:
        """Return the body's pooled features, `[n, width]`."""
        with self._session.meter.phase("features"):
            extracted = self._features.get(self.index, split, pooling)
        self._session.shared += extracted.shared
        return extracted.array

    def targets(self, split: Split) -> NDArray[Any]:
        """Return the target of each item, `[n, ...]`."""
        return self._session.tokens[self.index].targets(split)

    def score(self, outputs: NDArray[Any], split: Split = "validation") -> float | None:
        """Return the score of outputs for a split by the run's selection metric; higher is better."""
        try:
            value = self._metric.score(outputs, self.targets(split))
        except UndefinedError:
            return None
        return value if self._metric.better == "higher" else -value

    def head_on_features(self, head: nn.Module, pooling: Pooling = "mean") -> nn.Module:
        """Return a model with `head` on the body's pooled features."""
        return FeatureHead(self.body, head.to(self._session.accelerator.device), pooling)

    def ship(self, model: nn.Module) -> None:
        """Declare `model` as the delivered model: record its saved size, and write it if it is a delivered adapter."""
        published = isinstance(model, FeatureHead) and self._features.published
        self.ship_bytes = saved_bytes(model, body_is_published=published)
        if not self._session.run.trial and self.index == len(self._session.run.stages) - 1 and can_merge(model):
            # Measure now, because the adapters may be merged next.
            self.apart = measure_speed(self._session, model)
        if self._folder is not None and self._session.rank == 0 and is_adapter(model):
            with self._session.meter.phase("save"):
                write_adapter(self._folder, model)

    def trained(self, tuned: nn.Module) -> int:
        """Return the number of parameters that tuning trained or created."""
        made = {id(p): p for p in tuned.parameters() if id(p) not in self._known}
        return sum(parameter.numel() for parameter in {**made, **self._session.trained}.values())

    def validate(self, model: nn.Module) -> float | None:
        """Return the validation score, higher is better; None if it is undefined for the data."""
        with self._session.meter.phase("validate"):
            view = DataView(self._session, self._features, self.index, model, None)
            try:
                found = self._session.tokens[self.index].task.evaluate(view, "validation")
                value = self._metric.score(found.outputs, found.targets)
            except UndefinedError:
                return None
        return value if self._metric.better == "higher" else -value

    def _modules(self) -> list[nn.Module]:
        return [self._session.heads.body, *(model for model in self._session.heads.models if model is not None)]
