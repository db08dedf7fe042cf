"""Protocols of the objects that tasks and strategies receive: the model, the data and the training loop.

The engine implements them; plugins are written against these protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from harness.records import Failure, Job, Outcome, Predictions, Split, TrainConfig

if TYPE_CHECKING:
    import datasets
    import torch
    from numpy.typing import NDArray
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from harness.contracts import Facts, Task

Pooling = Literal["mean", "first", "last"]


class Loader(Protocol):
    """Loads a run's base model with a head, using the run's settings."""

    @property
    def config(self) -> PretrainedConfig:
        """The model's configuration; `architectures` names the heads it was published with."""

    def __call__(self, auto_class: str, **settings: Any) -> PreTrainedModel:
        """Return the model with the head of `transformers.<auto_class>`, as `Model.load` does."""


class View(Protocol):
    """A dataset as seen by a model at one moment of a run."""

    @property
    def facts(self) -> Facts:
        """Facts about the dataset."""

    @property
    def before(self) -> Predictions | None:
        """Predictions of the same evaluation before tuning; None if this is the evaluation before tuning."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""

    def rows(self, split: Split) -> datasets.Dataset:
        """Return the rows as read, each with its `id`."""

    def ids(self, split: Split) -> NDArray[Any]:
        """Return the id of each item, `[n]`: unique, unless the task makes several items from a row."""

    def targets(self, split: Split) -> NDArray[Any]:
        """Return the target of each item, `[n, ...]`.

        Raises:
            UndefinedError: The data has no targets.
        """

    def features(self, split: Split, pooling: Pooling = "mean") -> NDArray[Any]:
        """Return the body's last hidden states, pooled over each text's tokens, `[n, width]`, float32."""

    def outputs(self, split: Split) -> NDArray[Any]:
        """Return the task's prediction for each item with its head, `[n, ...]`."""


class Earlier(Protocol):
    """An earlier stage, evaluated with the current model."""

    @property
    def items(self) -> int:
        """Number of rows in its train split."""

    def loss(self, rows: Sequence[int] | NDArray[Any]) -> torch.Tensor:
        """Return the mean loss of rows of its train split with its own head, a scalar with a gradient."""


class Stage(Protocol):
    """The input of a strategy: one dataset to tune on, the model, and the training loop."""

    index: int
    """0 for the first stage of the run."""
    seed: int
    facts: Facts
    task: Task
    config: TrainConfig

    @property
    def model(self) -> PreTrainedModel:
        """The body with this stage's head, after all earlier stages."""

    @property
    def body(self) -> nn.Module:
        """The pretrained part, shared by every head of the run: tune it in place."""

    @property
    def head(self) -> nn.ModuleList:
        """The modules of `model` outside the body, and new ones inside it that were not published, such as a pooler.

        A stage always trains and delivers them.
        """

    def baseline(self) -> nn.Module:
        """Return the model without learning from any text: the task's baseline, or else the model as it is."""

    def last_blocks(self, count: int) -> Sequence[nn.Module]:
        """Return the body's last blocks, from input to output, `[count]`.

        Raises:
            HarnessError: The body has no blocks, or fewer than `count`.
        """

    @property
    def earlier(self) -> Sequence[Earlier]:
        """The earlier stages, in order, for strategies that preserve what was learned there."""

    def steps(self) -> int:
        """Return the number of optimizer steps of `fit`."""

    def fit(
        self,
        model: nn.Module,
        penalty: Callable[[], torch.Tensor] | None = None,
        after_backward: Callable[[int], None] | None = None,
    ) -> nn.Module:
        """Train all parameters that require a gradient with the run's settings, and return the same model.

        Args:
            model: A model that works with the `loss` of the stage's task.
            penalty: Returns a scalar that is added to the mean loss of every step.
            after_backward: Called with the number of each step, from 0, after its gradients are computed and before the
                optimizer step.
        """

    def features(self, split: Split, pooling: Pooling = "mean") -> NDArray[Any]:
        """Return the body's pooled features, `[n, width]`; cached and shared while the body is as published."""

    def targets(self, split: Split) -> NDArray[Any]:
        """Return the target of each item, `[n, ...]`."""

    def score(self, outputs: NDArray[Any], split: Split = "validation") -> float | None:
        """Return the score of outputs `[n, ...]`, as the task's `predict` gives them, on a split; higher is better.

        Uses the metric of the run's choices (`train.select_by`); None if it is undefined on these outputs.
        """

    def head_on_features(self, head: nn.Module, pooling: Pooling = "mean") -> nn.Module:
        """Return a model that applies `head` (`[b, width] -> [b, classes]`) to the body's pooled features."""

    def ship(self, model: nn.Module) -> None:
        """Declare `model` as what must be saved in addition to the published base: it determines the saved size.

        An adapter is delivered instead of the model that it is merged into.

        Only needed if it differs from what `tune` returns: an adapter, before it is merged.
        """


class Host(Protocol):
    """The command, as seen by an executor."""

    def tell(self, job: Job, event: dict[str, Any]) -> str | None:
        """Report an event of a running job; return why the job should be stopped, or None.

        A stopped job gives a `Failure` with the status `pruned`.
        """

    def compute(self, job: Job, *, cpu: bool = False) -> Outcome | Failure:
        """Compute a job in this process with the plugins of this command. Other processes call `harness.compute`."""
