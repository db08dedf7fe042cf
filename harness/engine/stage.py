"""What a strategy is handed: one dataset of a run to tune on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from torch import nn

from harness.contracts import Facts, Metric, Pooling
from harness.engine.evaluate import DataView
from harness.engine.features import FeatureHead, Features
from harness.engine.models import find_blocks, head_of
from harness.engine.session import Session
from harness.engine.train import fit
from harness.errors import HarnessError, UndefinedError
from harness.records import Split, TrainConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RunStage:
    """One stage of a run; see `harness.contracts.Stage`."""

    def __init__(self, session: Session, features: Features, index: int, metric: Metric, folder: Path) -> None:
        """Prepare the stage with this index.

        Args:
            session: The run under way.
            features: Of the run's body.
            index: Which of the run's stages, from 0.
            metric: What validation is scored by.
            folder: Where what would be delivered is written.
        """
        self.index = index
        self.seed = session.run.seed
        self.facts: Facts = session.tokens[index].prepared.facts
        self.config: TrainConfig = session.run.train
        self._session, self._features, self._metric, self._folder = session, features, metric, folder
        self._known = {id(parameter) for model in self._modules() for parameter in model.parameters()}
        self.shipped = False
        """Whether the strategy has said what would be delivered."""
        session.trained.clear()

    @property
    def model(self) -> PreTrainedModel:
        """The body under this stage's head."""
        model = self._session.heads.models[self.index]
        if model is None:
            message = f"task {self._session.tokens[self.index].task.name!r} builds no model to tune"
            raise UndefinedError(message)
        return model

    @property
    def body(self) -> nn.Module:
        """The pretrained part, shared by every head of the run."""
        body: nn.Module = self._session.heads.body
        return body

    @property
    def head(self) -> nn.ModuleList:
        """The modules of `model` outside the body."""
        return head_of(self.model)

    def last_blocks(self, count: int) -> Sequence[nn.Module]:
        """Return the body's last blocks, from input to output, `[count]`."""
        blocks = find_blocks(self.body)
        if count > len(blocks):
            name = self._session.run.strategy.name
            message = f"strategy {name!r}: the model has {len(blocks)} blocks, so layers={count} is too many"
            raise HarnessError(message)
        return blocks[len(blocks) - count :]

    def fit(self, model: nn.Module) -> nn.Module:
        """Train what requires a gradient with the run's settings, and return the same model."""
        fitted = fit(self._session, self.index, model, self._validate)
        self._features.look()
        return fitted

    def features(self, split: Split, pooling: Pooling = "mean") -> NDArray[Any]:
        """Return the body's pooled features, `[n, width]`."""
        with self._session.meter.phase("features"):
            extracted = self._features.get(self.index, split, pooling)
        self._session.shared += extracted.shared
        return extracted.array

    def targets(self, split: Split) -> NDArray[Any]:
        """Return what is right for each item, `[n, ...]`."""
        return self._session.tokens[self.index].targets(split)

    def head_on_features(self, head: nn.Module, pooling: Pooling = "mean") -> nn.Module:
        """Return a model that puts `head` on the body's pooled features."""
        return FeatureHead(self.body, head.to(self._session.accelerator.device), pooling)

    def ship(self, model: nn.Module) -> None:
        """Write `model` as what would be delivered."""
        self.shipped = True
        if self._session.rank != 0:
            return
        with self._session.meter.phase("save"):
            self._folder.mkdir(parents=True, exist_ok=True)
            save = getattr(model, "save_pretrained", None)
            if callable(save):
                save(self._folder)
            else:
                from safetensors.torch import save_file

                save_file(model.state_dict(), self._folder / "model.safetensors")

    def trained(self, tuned: nn.Module) -> int:
        """Return how many parameters tuning has trained or made."""
        made = {id(p): p for p in tuned.parameters() if id(p) not in self._known}
        return sum(parameter.numel() for parameter in {**made, **self._session.trained}.values())

    def _modules(self) -> list[nn.Module]:
        return [self._session.heads.body, *(model for model in self._session.heads.models if model is not None)]

    def _validate(self, model: nn.Module) -> float | None:
        """Return the validation score, higher is better; None where the data has nothing to score."""
        with self._session.meter.phase("validate"):
            view = DataView(self._session, self._features, self.index, model, None)
            try:
                value = self._metric.score(view.outputs("validation"), view.targets("validation"))
            except UndefinedError:
                return None
        return value if self._metric.better == "higher" else -value
