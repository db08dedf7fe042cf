"""Training: how long, at which learning rate, and which weights are kept."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

from torch import nn

from harness.engine.loop_state import Kept
from harness.engine.session import Session
from harness.engine.training import Penalty, Training, batches_of
from harness.records import LEAST_STEPS, MOST_EPOCHS, TrainConfig

_CHECK_STEPS = 50
"""Validation is checked after as many epochs as contain this many steps."""
_PATIENCE = 3
"""Checks without improvement after which validation is flat."""
_LESS_LOSS = 0.02
"""Share of the untrained model's validation loss by which it must decrease to count as improved."""
_FEW_ITEMS = 100
"""Below this number of validation items, the loss decides instead of the score."""
_COOL_DOWN = 0.2
"""Length of the cool-down, as a share of the steps to the best weights."""


def planned_steps(session: Session, problem: int) -> int:
    """Return the number of optimizer steps of `fit` on a problem: the most it can be, if training ends early."""
    config = session.run.train
    if config.epochs == "flat":
        return config.max_steps or max(LEAST_STEPS, MOST_EPOCHS * len(batches_of(session, problem, 0)))
    return sum(len(batches_of(session, problem, epoch)) for epoch in range(config.epochs))


def fit(
    session: Session,
    problem: int,
    model: nn.Module,
    score: Callable[[nn.Module], float | None],
    penalty: Penalty | None = None,
    after_backward: Callable[[int], None] | None = None,
) -> nn.Module:
    """Train the parameters of `model` that require a gradient on a problem's train split, in place, and return the model.

    Args:
        session: The current run.
        problem: Index of the problem in the run.
        model: A model from which the problem's task can compute a loss.
        score: Returns the model's validation score (higher is better) or None; called after every epoch.
        penalty: A scalar added to the mean loss of every step.
        after_backward: Called with the step number (from 0) when its gradients are computed, before the step.

    Raises:
        RuntimeError: No parameter requires a gradient, or the loss is not finite.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        message = "nothing to train: no parameter of the model requires a gradient"
        raise RuntimeError(message)
    session.trained.update({id(parameter): parameter for parameter in trained})
    loop = Training(session, problem, model, planned_steps(session, problem), penalty, after_backward)

    def scored(model: nn.Module) -> float | None:
        with loop.whole():
            return score(model)

    with session.checkpoints.listening():
        if not loop.state.done:
            if session.run.train.epochs == "flat":
                _until_flat(loop, scored)
            else:
                _for_epochs(loop, scored, session.run.train.epochs)
        return loop.close()


def _for_epochs(loop: Training, score: Callable[[nn.Module], float | None], epochs: int) -> None:
    """Train for a number of epochs, or fewer with `patience`; then the best weights are kept."""
    config, at = loop.config, loop.state
    rate = functools.partial(learning_rate, config, total=loop.total)
    while at.epoch < epochs:
        loop.run(loop.batches(at.epoch), rate)
        at.epoch += 1
        value = score(loop.model)
        loop.tell(epoch=at.epoch, validation=value)
        if config.patience is None or value is None:
            continue
        if at.best is None or value > at.best.key[0]:
            at.best, at.waited = Kept((value,), loop.step, loop.parameters), 0
        else:
            at.waited += 1
            if at.waited >= config.patience:
                break
    if at.best is not None:
        at.best.restore()


def _until_flat(loop: Training, score: Callable[[nn.Module], float | None]) -> None:
    """Train until validation is flat: in the last checks, neither its score nor its loss has improved.

    The learning rate is constant after a warm-up, so that no end need be known, and decays to 0 in a short cool-down from
    the best weights (Hägele et al., 2024, Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations,
    section 3). The best are those with the highest score or, of equal scores, the lowest loss; of small validation
    splits, whose score moves in large steps, those with the lowest loss.
    """
    config, at = loop.config, loop.state
    longest = round(loop.total / (1 + _COOL_DOWN))
    warm = round(config.warmup_ratio * min(loop.total, LEAST_STEPS))
    peak = config.learning_rate or 0.0
    small, patience = loop.validation_items < _FEW_ITEMS, config.patience or _PATIENCE
    untrained = at.untrained = loop.validation_loss() if at.untrained is None else at.untrained

    def check() -> tuple[float, ...]:
        value, loss = score(loop.model), loop.validation_loss()
        loop.tell(epoch=at.epoch, validation=value, validation_loss=loss)
        at.losses.append(loss)
        at.scores.append(-math.inf if small or value is None else value)
        return at.scores[-1], -loss

    while at.cooling is None and loop.began < longest and not _flat(at.scores, at.losses, patience, untrained):
        start = at.since = loop.began if at.since is None else at.since
        while loop.began < min(start + _CHECK_STEPS, longest):
            loop.run(
                loop.batches(at.epoch)[: longest - loop.began],
                lambda step: peak * min(1.0, (step + 1) / (warm + 1)),
            )
            at.epoch += 1
        at.since, found = None, check()
        if at.best is None or found > at.best.key:
            at.best = Kept(found, loop.step, loop.parameters)
    best = at.best
    assert best is not None
    ended = "flat" if _flat(at.scores, at.losses, patience, untrained) else "maximum"
    if at.cooling is None:
        best.restore()
        loop.reload()
        at.cooling = loop.step
    start, length = at.cooling, max(1, round(_COOL_DOWN * best.step))
    while loop.began < start + length:
        loop.run(
            loop.batches(at.epoch)[: start + length - loop.began], lambda step: peak * (1 - (step - start) / length)
        )
        at.epoch += 1
    if check() < best.key:
        best.restore()
    loop.tell(ended=ended, best_step=best.step)


def _flat(scores: Sequence[float], losses: Sequence[float], checks: int, untrained: float) -> bool:
    """Return whether the last checks are no better than the earlier ones: no higher score, no clearly lower loss.

    Args:
        scores: Of every check; minus infinity if scores are not used.
        losses: Of every check.
        checks: How many are the last ones.
        untrained: The loss before training.
    """
    if len(losses) <= checks:
        return False
    gained = max(scores[-checks:]) - max(scores[:-checks]) if math.isfinite(scores[0]) else 0.0
    return gained <= 0 and min(losses[:-checks]) - min(losses[-checks:]) < _LESS_LOSS * untrained


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """Return the learning rate of a step (from 0): linear warm-up, then the schedule down to 0 after the last step."""
    peak = config.learning_rate or 0.0
    warm = round(config.warmup_ratio * total)
    if step < warm:
        return peak * (step + 1) / (warm + 1)
    if config.schedule == "constant":
        return peak
    done = (step - warm) / max(total - warm, 1)
    return peak * (1 - done) if config.schedule == "linear" else peak * (1 + math.cos(math.pi * done)) / 2
