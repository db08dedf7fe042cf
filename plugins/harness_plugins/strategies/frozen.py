"""Feature-based tuning: the body stays as it is."""

from typing import TYPE_CHECKING

from pydantic import Field

import harness

if TYPE_CHECKING:
    from torch import nn


class Frozen(harness.Strategy):
    """Train a logistic regression on the body's pooled features; the body stays as it was.

    The penalty is chosen on the validation split. Mean pooling by default: a linear head on MiniLM's own pooler stays at
    chance, because nothing ever trained that pooler.
    """

    name = "frozen"
    default = True
    imports = ("sklearn.linear_model", "sklearn.preprocessing")

    pooling: harness.Pooling = Field("mean", description="how a text's token features become one vector")
    strengths: tuple[float, ...] = Field(
        (0.001, 0.01, 0.1, 1.0, 10.0), min_length=1, description="inverse penalties tried on the validation split"
    )
    iterations: int = Field(1000, gt=0, description="at most, of the solver")

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the regression on the body, as one linear layer that takes the features as they are."""
        import numpy as np
        import torch
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(stage.features("train", self.pooling))
        train, validation = (scaler.transform(stage.features(split, self.pooling)) for split in ("train", "validation"))
        labels, expected = stage.targets("train"), stage.targets("validation")
        fitted = [
            LogisticRegression(C=strength, max_iter=self.iterations).fit(train, labels) for strength in self.strengths
        ]
        best = max(fitted, key=lambda regression: regression.score(validation, expected))
        weights, biases = best.coef_ / scaler.scale_, best.intercept_
        biases = biases - weights @ scaler.mean_
        if len(best.classes_) == 2:
            weights, biases = np.vstack([-weights / 2, weights / 2]), np.concatenate([-biases / 2, biases / 2])
        head = torch.nn.Linear(weights.shape[1], len(stage.facts.classes or ()))
        with torch.no_grad():
            # A class without a training example is never the answer.
            head.weight.zero_()
            head.bias.fill_(-1e4)
            head.weight[torch.as_tensor(best.classes_)] = torch.as_tensor(weights, dtype=head.weight.dtype)
            head.bias[torch.as_tensor(best.classes_)] = torch.as_tensor(biases, dtype=head.bias.dtype)
        return stage.head_on_features(head, self.pooling)


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Offer the strategy."""
    return [Frozen]
