"""How much the body's features reveal about a dataset that is not tuned on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

import harness

_FEWEST_CLASSES = 2


class Probe(harness.Task):
    """Watch a labelled dataset with a linear probe, refitted on pooled features before and after tuning.

    Source: Alain and Bengio, 2016 (Understanding intermediate layers using linear classifier probes), here in closed
    form: ridge regression on centred and scaled features against one-hot targets.
    """

    name = "probe"
    tunable = False
    headless = True
    watchable = True
    metrics = ("accuracy",)

    ridge: float = Field(1.0, gt=0, description="weight of the penalty, in units of 0.01 per training example")
    pooling: harness.Pooling = Field("mean", description="pooling of a text's token features into one vector")

    def check(self, facts: harness.Facts, columns: Sequence[str]) -> str | None:
        """Return why the data cannot be used."""
        if "label" not in columns or facts.classes is None or len(facts.classes) < _FEWEST_CLASSES:
            return "needs labels of at least two classes; for unlabelled text, use the task representation"
        return super().check(facts, columns)

    def evaluate(self, view: harness.View, split: harness.Split = "test") -> harness.Predictions:
        """Return the class scores on a split, `[n, classes]`, of a probe fitted on the train split."""
        train, test = (np.asarray(view.features(part, self.pooling), dtype=np.float64) for part in ("train", split))
        targets = view.targets("train")
        scores = ridge_scores(train, targets, test, len(view.facts.classes or ()), self.ridge)
        return harness.Predictions(scores.astype(np.float32), view.targets(split), view.ids(split))


def ridge_scores(
    train: NDArray[np.float64], targets: NDArray[Any], test: NDArray[np.float64], classes: int, ridge: float
) -> NDArray[np.float64]:
    """Return the class scores `[m, classes]` for `test` `[m, width]` of a ridge regression on `train` `[n, width]`.

    Args:
        train: Features, `[n, width]`.
        targets: Class numbers, `[n]`.
        test: Features, `[m, width]`.
        classes: Number of classes.
        ridge: Penalty; 0.01 * n * ridge is added to the diagonal of the features' second moments.
    """
    mean, scale = train.mean(0), train.std(0) + 1e-9
    inputs, queries = (train - mean) / scale, (test - mean) / scale
    onehot = np.eye(classes)[targets]
    moments = inputs.T @ inputs + 0.01 * ridge * len(inputs) * np.eye(inputs.shape[1])
    weights = np.linalg.solve(moments, inputs.T @ (onehot - onehot.mean(0)))
    return np.asarray(queries @ weights + onehot.mean(0))


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Register the task."""
    return [Probe]
