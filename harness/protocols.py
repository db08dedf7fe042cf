"""What the harness hands to a task and to a strategy: the model, the data and the loop, as they may be used.

The engine has the classes behind them; a plugin is written against what stands here.
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
    """Loads a run's base model under a head, with the run's settings."""

    @property
    def config(self) -> PretrainedConfig:
        """The model's configuration; `architectures` names the heads it was published with."""

    def __call__(self, auto_class: str, **settings: Any) -> PreTrainedModel:
        """Return the model under the head of `transformers.<auto_class>`, as `Model.load` does."""


class View(Protocol):
    """A dataset as a model sees it at one moment of a run."""

    @property
    def facts(self) -> Facts:
        """What the dataset says of itself."""

    @property
    def before(self) -> Predictions | None:
        """What the same evaluation gave before tuning; None when this is that evaluation."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""

    def rows(self, split: Split) -> datasets.Dataset:
        """Return the rows as they were read, each with its `id`."""

    def ids(self, split: Split) -> NDArray[Any]:
        """Return the id of each item, `[n]`: unique, unless the task makes several items of a row."""

    def targets(self, split: Split) -> NDArray[Any]:
        """Return what is right for each item, `[n, ...]`.

        Raises:
            UndefinedError: The data says nothing of the kind.
        """

    def features(self, split: Split, pooling: Pooling = "mean") -> NDArray[Any]:
        """Return the body's last hidden states, pooled over each text's tokens, `[n, width]`, float32."""

    def outputs(self, split: Split) -> NDArray[Any]:
        """Return the task's prediction for each item through its head, `[n, ...]`."""


class Earlier(Protocol):
    """A stage that was tuned on before, in the model as it is now."""

    @property
    def items(self) -> int:
        """How many rows its train split has."""

    def loss(self, rows: Sequence[int] | NDArray[Any]) -> torch.Tensor:
        """Return the mean loss of rows of its train split under its own head, a scalar with a gradient."""


class Stage(Protocol):
    """What a strategy is handed: one dataset to tune on, the model, and the loop."""

    index: int
    """0 for the first stage of the run."""
    seed: int
    facts: Facts
    task: Task
    config: TrainConfig

    @property
    def model(self) -> PreTrainedModel:
        """The body under this stage's head, as the stages before left it."""

    @property
    def body(self) -> nn.Module:
        """The pretrained part, shared by every head of the run: tune it in place."""

    @property
    def head(self) -> nn.ModuleList:
        """The modules of `model` outside the body, and those inside that it was published without, such as a pooler.

        What a stage always trains and delivers.
        """

    def baseline(self) -> nn.Module:
        """Return what answers without having learned from any text: the task's baseline, else the model as it is."""

    def last_blocks(self, count: int) -> Sequence[nn.Module]:
        """Return the body's last blocks, from input to output, `[count]`.

        Raises:
            HarnessError: The body has no blocks, or not so many.
        """

    @property
    def earlier(self) -> Sequence[Earlier]:
        """The stages before this one, in order, for strategies that guard what was learned there."""

    def steps(self) -> int:
        """Return how many optimizer steps `fit` takes."""

    def fit(
        self,
        model: nn.Module,
        penalty: Callable[[], torch.Tensor] | None = None,
        after_backward: Callable[[int], None] | None = None,
    ) -> nn.Module:
        """Train what requires a gradient with the run's settings, and return the same model.

        Args:
            model: What the stage's task can compute a loss with.
            penalty: A scalar added to the mean loss of every step.
            after_backward: Told the number of each step, from 0, when its gradients are there and before it is taken.
        """

    def features(self, split: Split, pooling: Pooling = "mean") -> NDArray[Any]:
        """Return the body's pooled features, `[n, width]`; kept and shared while the body is as published."""

    def targets(self, split: Split) -> NDArray[Any]:
        """Return what is right for each item, `[n, ...]`."""

    def score(self, outputs: NDArray[Any], split: Split = "validation") -> float | None:
        """Return how good outputs `[n, ...]` for a split are, as the task's `predict` would give them; higher is better.

        By the metric that the run's choices are made by (`train.select_by`); None where it has no value on them.
        """

    def head_on_features(self, head: nn.Module, pooling: Pooling = "mean") -> nn.Module:
        """Return a model that puts `head` (`[b, width] -> [b, classes]`) on the body's pooled features."""

    def ship(self, model: nn.Module) -> None:
        """Declare `model` as what must be shipped where the published base is: its bytes are counted.

        An adapter is delivered in place of the model that it is merged into.

        Only needed where that differs from what `tune` returns: an adapter, before it is merged.
        """


class Host(Protocol):
    """The command, as an executor sees it."""

    def tell(self, job: Job, event: dict[str, Any]) -> str | None:
        """Pass on what a job says of itself while it is computed; returns why it should be ended, or None.

        A job that is ended gives a `Failure` whose status is `pruned`.
        """

    def compute(self, job: Job, *, cpu: bool = False) -> Outcome | Failure:
        """Compute a job in this process, with the plugins of this command. Other processes call `harness.compute`."""
