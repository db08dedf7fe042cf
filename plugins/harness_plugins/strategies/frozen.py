"""Feature-based tuning with a frozen body."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast, get_args

from pydantic import Field, JsonValue

import harness
from harness_plugins.strategies._stage import head_parameters

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

_POOLINGS = {"pooling": get_args(harness.Pooling)}
_DEAD = 1e-6
"""Spread, relative to the largest one, below which a feature carries no information at float32 precision."""
_FOLDS = 5
Selection = Literal["validation", "cross-validation"]
"""On what the penalty is chosen."""
_SELECTION: Any = Field(
    "cross-validation",
    json_schema_extra=harness.added(former="validation"),
    description="where the penalty is chosen: by cross-validation on train, or on the validation split, which takes less "
    "time and is as good if validation has 1,000 rows or more",
)
_WRITES = "the model's own head generates the answer, so there is no new head to train"


class Frozen(harness.Strategy):
    """Train a head on the features of the frozen body, by regression where possible.

    Tasks with one output per text use pooled features: a logistic regression for one class, one logistic regression per
    class for several classes, a ridge regression for numbers. The penalty is chosen by cross-validation on train or
    on the validation split: by `train.select_by` for one class, by likelihood for several classes, by squared error for numbers. The default is
    mean pooling, because a linear head on MiniLM's own pooler stays at chance: that pooler was never trained. For tasks
    with an output per token, the task's own head is trained by gradient descent.
    """

    name = "frozen"
    default = True
    imports = ("sklearn.linear_model", "sklearn.preprocessing")
    selects = True
    shapes = frozenset({"class_weights"})

    pooling: harness.Pooling = Field("mean", description="pooling of a text's token features into one vector")
    strengths: tuple[float, ...] = Field(
        (0.001, 0.01, 0.1, 1.0, 10.0),
        min_length=1,
        description="inverse penalties to choose from",
    )
    selection: Selection = _SELECTION
    iterations: int = Field(1000, gt=0, description="maximum number of solver iterations")

    def training(self, tasks: Sequence[harness.Task]) -> Mapping[str, JsonValue]:
        """Return a learning rate if a task's own head is trained."""
        return {"learning_rate": 1e-3} if any(task.answers is None for task in tasks) else {}

    def searched(self, tasks: Sequence[harness.Task]) -> Mapping[str, tuple[str, ...]]:
        """Return the pooling methods to search, if features are pooled."""
        return {} if any(task.answers is None for task in tasks) else _POOLINGS

    def uses_validation(self) -> bool:
        """Return whether the penalty is chosen on the validation split."""
        return self.selection == "validation"

    def tried(self, tasks: Sequence[harness.Task]) -> int:
        """Return the number of penalties, if there is a regression."""
        return 1 if any(task.answers is None for task in tasks) else len(self.strengths)

    def check(self, model: harness.Model, tasks: Sequence[harness.Task]) -> str | None:
        """Return why these tasks cannot be tuned this way."""
        if any(task.answers == "text" for task in tasks):
            return _WRITES
        return _no_pooling(model, tasks)

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the head on the body; a regression is one linear layer on unscaled features."""
        match stage.task.answers:
            case "class":
                return self._class(stage)
            case "classes":
                return self._classes(stage)
            case "number":
                return _ridge(stage, self.pooling, [1 / strength for strength in self.strengths], self.selection)
        return _own_head(stage)

    def _class(self, stage: harness.Stage) -> "nn.Module":
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        scaled = _scale(stage, self.pooling)

        def fit(strength: float, features: "NDArray[Any]", labels: "NDArray[Any]") -> _Head:
            fitted = LogisticRegression(
                C=strength, max_iter=self.iterations, class_weight=stage.config.class_weights
            ).fit(features, labels)
            weights, biases = fitted.coef_, fitted.intercept_
            if len(fitted.classes_) == 2:
                weights, biases = np.vstack([-weights / 2, weights / 2]), np.concatenate([-biases / 2, biases / 2])
            return _spread(stage, fitted.classes_, weights, biases)

        best = _best(stage, scaled, self.strengths, self.selection, fit)
        return _on_body(stage, self.pooling, *scaled.back(*best))

    def _classes(self, stage: harness.Stage) -> "nn.Module":
        import numpy as np

        scaled = _scale(stage, self.pooling)
        pairs = zip(stage.targets("train").T, stage.targets("validation").T, strict=True)
        weights, biases = zip(*(self._yes_or_no(scaled, *pair) for pair in pairs), strict=True)
        return _on_body(stage, self.pooling, *scaled.back(np.stack(weights), np.stack(biases)))

    def _yes_or_no(
        self, scaled: "_Scaled", labels: "NDArray[Any]", expected: "NDArray[Any]"
    ) -> "tuple[NDArray[Any], NDArray[Any]]":
        """Return the weights `[width]` and bias of the log-odds of one class, chosen by likelihood.

        In cross-validation, a class with fewer examples than folds has the strongest penalty.
        """
        import numpy as np
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import log_loss
        from sklearn.model_selection import cross_val_score

        held, others = int(labels.sum()), len(labels) - int(labels.sum())
        if 0 in {held, others}:
            return np.zeros(scaled.train.shape[1]), np.log((held + 0.5) / (others + 0.5))
        solvers = [LogisticRegression(C=strength, max_iter=self.iterations) for strength in self.strengths]
        if self.selection == "cross-validation":
            if min(held, others) < _FOLDS:
                solvers = [min(solvers, key=lambda solver: solver.C)]

            def likely(solver: LogisticRegression) -> float:
                return float(cross_val_score(solver, scaled.train, labels, cv=_FOLDS, scoring="neg_log_loss").mean())

            found = (max(solvers, key=likely) if len(solvers) > 1 else solvers[0]).fit(scaled.train, labels)
            return found.coef_[0], found.intercept_[0]
        fitted = [solver.fit(scaled.train, labels) for solver in solvers]
        best = min(
            fitted, key=lambda found: log_loss(expected, found.predict_proba(scaled.validation), labels=found.classes_)
        )
        return best.coef_[0], best.intercept_[0]


class Ridge(harness.Strategy):
    """Train a ridge regression for numbers or classes on the pooled features of the frozen body.

    The penalty is chosen by cross-validation on train or on the validation split.
    """

    name = "frozen-ridge"
    imports = ("sklearn.linear_model", "sklearn.preprocessing")
    selects = True
    shapes = frozenset({"class_weights"})

    pooling: harness.Pooling = Field("mean", description="pooling of a text's token features into one vector")
    penalties: tuple[float, ...] = Field(
        (0.1, 1.0, 10.0, 100.0, 1000.0), min_length=1, description="penalties to choose from"
    )
    selection: Selection = _SELECTION

    def uses_validation(self) -> bool:
        """Return whether the penalty is chosen on the validation split."""
        return self.selection == "validation"

    def tried(self, tasks: Sequence[harness.Task]) -> int:
        """Return the number of penalties."""
        del tasks
        return len(self.penalties)

    def check(self, model: harness.Model, tasks: Sequence[harness.Task]) -> str | None:
        """Return why these tasks cannot be tuned this way."""
        return _not_of_texts(tasks, ("class", "classes", "number")) or _no_pooling(model, tasks)

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the regression on the body, as one linear layer on unscaled features."""
        if stage.task.answers == "class":
            return self._class(stage)
        return _ridge(stage, self.pooling, self.penalties, self.selection)

    def _class(self, stage: harness.Stage) -> "nn.Module":
        import numpy as np
        from sklearn.linear_model import RidgeClassifier

        scaled = _scale(stage, self.pooling)

        def fit(penalty: float, features: "NDArray[Any]", labels: "NDArray[Any]") -> _Head:
            fitted = RidgeClassifier(alpha=penalty, class_weight=stage.config.class_weights).fit(features, labels)
            weights, biases = fitted.coef_, fitted.intercept_
            if len(fitted.classes_) == 2:
                weights, biases = np.vstack([-weights, weights]), np.concatenate([-biases, biases])
            return _spread(stage, fitted.classes_, weights, biases)

        best = _best(stage, scaled, self.penalties, self.selection, fit)
        return _on_body(stage, self.pooling, *scaled.back(*best))


class NearestCentroid(harness.Strategy):
    """Predict the class with the nearest mean feature vector; nothing is trained.

    Source: Snell et al., 2017 (Prototypical Networks for Few-shot Learning, section 2.4: a linear classifier).
    """

    name = "nearest-centroid"
    shapes = frozenset()

    pooling: harness.Pooling = Field("mean", description="pooling of a text's token features into one vector")

    def check(self, model: harness.Model, tasks: Sequence[harness.Task]) -> str | None:
        """Return why these tasks cannot be tuned this way."""
        return _not_of_texts(tasks, ("class",)) or _no_pooling(model, tasks)

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the classifier on the body: minus half the squared distance to each mean, without the common term."""
        import numpy as np

        features, labels = np.asarray(stage.features("train", self.pooling)), stage.targets("train")
        classes = np.unique(labels)
        means = np.stack([features[labels == label].mean(0) for label in classes])
        return _on_body(stage, self.pooling, *_spread(stage, classes, means, -np.square(means).sum(1) / 2))


class LinearProbingThenFull(Frozen):
    """Fit a head on frozen features first, then train all weights.

    Source: Kumar et al., 2022 (Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution,
    https://arxiv.org/abs/2202.10054).
    """

    name = "lp-ft"
    version = 2
    default = False
    defaults: ClassVar[Mapping[str, JsonValue]] = {"learning_rate": 5e-5}
    shapes = harness.Strategy.shapes

    def training(self, tasks: Sequence[harness.Task]) -> Mapping[str, JsonValue]:
        """Return the learning rate of the training after the regression."""
        del tasks
        return self.defaults

    def check(self, model: harness.Model, tasks: Sequence[harness.Task]) -> str | None:
        """Return why these tasks cannot be tuned this way."""
        return _not_of_texts(tasks, ("class", "classes", "number")) or _no_pooling(model, tasks)

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the body and the fitted head after training both."""
        model = super().tune(stage)
        _drop_dead(cast("nn.Linear", model.head), stage.features("train", self.pooling))
        model.requires_grad_(True)
        stage.fit(model)
        return model


def _drop_dead(head: "nn.Linear", features: "NDArray[Any]") -> None:
    """Set a head's weights of features that hardly vary to 0.

    One of MiniLM's features is of the order of 1e-31, so a regression gives it a weight of the order of 1e31. This is
    correct for a frozen body, but makes every gradient through it unusable.
    """
    import torch

    spread = torch.from_numpy(features.std(axis=0)).to(head.weight)
    means = torch.from_numpy(features.mean(axis=0)).to(head.weight)
    dead = spread < _DEAD * spread.max()
    with torch.no_grad():
        head.bias.add_(head.weight[:, dead] @ means[dead])
        head.weight[:, dead] = 0.0


class _Scaled(NamedTuple):
    """Features scaled to mean 0 and variance 1 in train."""

    train: "NDArray[Any]"
    """`[n, width]`."""
    validation: "NDArray[Any]"
    mean: "NDArray[Any]"
    """The subtracted mean, `[width]`."""
    scale: "NDArray[Any]"
    """The divisor, `[width]`."""

    def back(self, weights: "NDArray[Any]", biases: "NDArray[Any]") -> "tuple[NDArray[Any], NDArray[Any]]":
        """Return weights `[k, width]` and biases `[k]` for unscaled features, given those for scaled features."""
        weights = weights / self.scale
        return weights, biases - weights @ self.mean


def _scale(stage: harness.Stage, pooling: harness.Pooling) -> _Scaled:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(stage.features("train", pooling))
    train, validation = (scaler.transform(stage.features(split, pooling)) for split in ("train", "validation"))
    return _Scaled(train, validation, scaler.mean_, scaler.scale_)


_Head = tuple["NDArray[Any]", "NDArray[Any]"]
"""Weights `[classes, width]` and biases `[classes]`."""


def _best(
    stage: harness.Stage,
    scaled: _Scaled,
    penalties: Sequence[float],
    selection: Selection,
    fit: "Callable[[float, NDArray[Any], NDArray[Any]], _Head]",
) -> _Head:
    """Return the head, fitted on train, with the penalty that scores best, or the first of several."""
    import numpy as np

    labels = np.asarray(stage.targets("train"))
    folds = _folds(labels) if selection == "cross-validation" else []

    def score(penalty: float) -> float:
        if not folds:
            weights, biases = fit(penalty, scaled.train, labels)
            found = stage.score(scaled.validation @ weights.T + biases)
        else:
            outputs = np.zeros((len(labels), len(stage.facts.classes or ())))
            for learned, held in folds:
                weights, biases = fit(penalty, scaled.train[learned], labels[learned])
                outputs[held] = scaled.train[held] @ weights.T + biases
            found = stage.score(outputs, "train")
        return float("-inf") if found is None else found

    best = max(penalties, key=score) if len(penalties) > 1 else penalties[0]
    return fit(best, scaled.train, labels)


def _folds(labels: "NDArray[Any]") -> "list[tuple[NDArray[Any], NDArray[Any]]]":
    """Return the row numbers to learn from and to score, for each of five folds; none if there are too few rows."""
    import warnings

    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.max() < _FOLDS:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class has fewer rows than there are folds
        folds = list(StratifiedKFold(_FOLDS, shuffle=True, random_state=0).split(labels, labels))
    return folds if all(len(np.unique(labels[learned])) > 1 for learned, _ in folds) else []


def _ridge(
    stage: harness.Stage, pooling: harness.Pooling, penalties: Sequence[float], selection: Selection
) -> "nn.Module":
    """Return a ridge regression on the body, for numbers `[n]`, or for classes `[n, classes]` coded as 1 and -1.

    In cross-validation, each row is left out in turn (Golub, Heath and Wahba, 1979, Generalized Cross-Validation).
    """
    import numpy as np
    from sklearn.linear_model import Ridge as Regression
    from sklearn.linear_model import RidgeCV

    scaled = _scale(stage, pooling)
    wanted, expected = (np.asarray(stage.targets(split), dtype=float) for split in ("train", "validation"))
    if wanted.ndim > 1:
        wanted, expected = 2 * wanted - 1, 2 * expected - 1
    if selection == "cross-validation":
        found = RidgeCV(alphas=list(penalties)).fit(scaled.train, wanted)
        weights, biases = scaled.back(np.atleast_2d(found.coef_), np.atleast_1d(found.intercept_))
        return _on_body(stage, pooling, weights, biases)
    fitted = [Regression(alpha=penalty).fit(scaled.train, wanted) for penalty in penalties]
    best = min(fitted, key=lambda found: float(np.square(found.predict(scaled.validation) - expected).mean()))
    weights, biases = scaled.back(np.atleast_2d(best.coef_), np.atleast_1d(best.intercept_))
    return _on_body(stage, pooling, weights, biases)


def _own_head(stage: harness.Stage) -> "nn.Module":
    """Return the model with its head trained by gradient descent; only the head needs to be saved."""
    trained = head_parameters(stage)
    if not trained:
        message = (
            "strategy 'frozen': the model's head shares all its weights with the body, so there is nothing to train"
        )
        raise harness.HarnessError(message)
    stage.model.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad = True
    model = stage.fit(stage.model)
    stage.ship(stage.head)
    return model


def _not_of_texts(tasks: Sequence[harness.Task], known: Sequence[str]) -> str | None:
    """Return why one of these tasks has no pooled-feature head, as a clause; None if all have one."""
    if any(task.answers == "text" for task in tasks):
        return _WRITES
    others = [task.name for task in tasks if task.answers not in known]
    wanted = {"class": "one class", "classes": "several classes", "number": "one number"}
    said = " or ".join(wanted[word] for word in known)
    return f"it predicts {said} per text; task {others[0]!r} needs another output" if others else None


def _no_pooling(model: harness.Model, tasks: Sequence[harness.Task]) -> str | None:
    """Return why a text's token features cannot be pooled, as a clause; None if they can be."""
    if all(task.answers is None or harness.keeps_tokens(model, task) for task in tasks):
        return None
    return "the model's body returns fewer features than tokens, so they cannot be pooled over tokens"


def _spread(
    stage: harness.Stage, classes: "NDArray[Any]", weights: "NDArray[Any]", biases: "NDArray[Any]"
) -> "tuple[NDArray[Any], NDArray[Any]]":
    """Return weights `[classes, width]` and biases `[classes]` of all classes, given those of the classes `[k]`."""
    import numpy as np

    count = len(stage.facts.classes or ())
    # Never predict a class without training examples.
    all_weights, all_biases = np.zeros((count, weights.shape[1])), np.full(count, -1e4)
    all_weights[classes], all_biases[classes] = weights, biases
    return all_weights, all_biases


def _on_body(
    stage: harness.Stage, pooling: harness.Pooling, weights: "NDArray[Any]", biases: "NDArray[Any]"
) -> "nn.Module":
    """Return a linear head on the body, given its weights `[k, width]` and biases `[k]`."""
    import torch

    head = torch.nn.Linear(weights.shape[1], len(biases))
    with torch.no_grad():
        head.weight.copy_(torch.as_tensor(weights, dtype=head.weight.dtype))
        head.bias.copy_(torch.as_tensor(biases, dtype=head.bias.dtype))
    return stage.head_on_features(head, pooling)


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Register the strategies."""
    return [Frozen, Ridge, NearestCentroid, LinearProbingThenFull]
