"""The one training loop.

What it computes depends on the run alone: batches are drawn for all processes together, each process takes its part of
every batch, and the loss is divided by the weight of the whole batch. So neither the number of processes nor
accumulation changes the steps, the schedule or, within rounding, the result (but for dropout, whose masks differ).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from accelerate.utils import DistributedType
from numpy.typing import NDArray
from torch import nn

from harness.engine.batches import training_batches
from harness.engine.flops import FlopCount, count_flops
from harness.engine.forward import inputs_of, to_device
from harness.engine.session import Session
from harness.records import TrainConfig

_LOG_EVERY = 10
"""Steps between readings of the loss from the device."""


def fit(session: Session, problem: int, model: nn.Module, score: Callable[[nn.Module], float | None]) -> nn.Module:
    """Train what requires a gradient in `model` on a problem's train split, in place, and return it.

    Args:
        session: The run under way.
        problem: Which of the run's problems.
        model: What the problem's task can compute a loss with.
        score: The validation score of the model, higher is better; called after every epoch. None if there is none.

    Raises:
        RuntimeError: Nothing in the model requires a gradient, or the loss is not a number.
    """
    config = session.run.train
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        message = "nothing to train: no parameter of the model requires a gradient"
        raise RuntimeError(message)
    session.trained.update({id(parameter): parameter for parameter in trained})
    rows = session.tokens[problem].split("train")
    lengths = session.tokens[problem].lengths("train")
    total = config.epochs * math.ceil(len(lengths) / config.batch_size)
    loop = _Loop(session, problem, model, total)
    best: tuple[float, list[torch.Tensor]] | None = None
    waited = 0
    for epoch in range(config.epochs):
        loop.epoch(training_batches(lengths, config.batch_size, (session.run.seed, problem, epoch)), rows)
        value = score(model)
        session.log({"epoch": epoch + 1, "validation": value, "step": loop.step, "steps": total})
        if config.patience is None or value is None:
            continue
        if best is None or value > best[0]:
            best, waited = (value, [parameter.detach().clone() for parameter in trained]), 0
        else:
            waited += 1
            if waited >= config.patience:
                break
    if best is not None:
        with torch.no_grad():
            for parameter, kept in zip(trained, best[1], strict=True):
                parameter.copy_(kept)
    return loop.close()


class _Loop:
    """The state of one training: model and optimizer as accelerate prepared them, and the step count."""

    def __init__(self, session: Session, problem: int, model: nn.Module, total: int) -> None:
        self._session, self._problem, self._task = session, problem, session.tokens[problem].task
        self._config = config = session.run.train
        self._model, self.step = model, 0
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable()  # type: ignore[operator]
        with session.meter.phase("count"):
            self._flops = self._count_flops()
        optimizer = torch.optim.AdamW(parameter_groups(model, config), fused=True)
        compiled = torch.compile(model) if config.compile else model
        self._prepared, self._optimizer = session.accelerator.prepare(compiled, optimizer)
        self._total = total
        self._losses: list[torch.Tensor] = []

    def epoch(self, batches: Sequence[NDArray[Any]], rows: Any) -> None:
        """Take one optimizer step for each batch."""
        self._prepared.train()
        for numbers in batches:
            rate = learning_rate(self._config, self.step, self._total)
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            self._losses.append(self._take_step(numbers, rows))
            self.step += 1
            self._session.steps += 1
            self._session.examples += len(numbers)
            if self.step % _LOG_EVERY == 0:
                self._log(rate)
        self._log(rate)

    def close(self) -> nn.Module:
        """Return the trained model as it was before accelerate wrapped it."""
        # What accelerate put over `forward` for mixed precision; its own unwrapping takes off the library's decorators, too.
        for name in ("forward", "_original_forward"):
            self._model.__dict__.pop(name, None)
        self._session.accelerator.free_memory()
        return self._model

    def _count_flops(self) -> FlopCount:
        session, tokens = self._session, self._session.tokens[self._problem]
        rows = tokens.split("train")

        def batch_of(numbers: NDArray[Any]) -> dict[str, torch.Tensor]:
            return to_device(self._task.collate(inputs_of(rows[numbers]), tokens.tokenizer), session.accelerator.device)

        def compute(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
            return self._task.loss(self._model, batch)

        self._model.train()
        lengths = tokens.lengths("train")
        return count_flops(session, self._problem, self._model, compute, lengths, batch_of, training=True)

    def _take_step(self, numbers: NDArray[Any], rows: Any) -> torch.Tensor:
        """Make one step on the rows of a whole batch; returns this process's part of their mean loss."""
        session, config = self._session, self._config
        tokenizer = session.tokens[self._problem].tokenizer
        # What all processes do together is divided by what all of them together hold.
        weight = self._task.weight(inputs_of(rows[numbers]))
        mine = numbers[session.rank :: session.processes]
        pieces = [mine[at :: config.accumulation] for at in range(config.accumulation)]
        total = torch.zeros((), device=session.accelerator.device)
        for position, piece in enumerate(pieces):
            last = position == len(pieces) - 1
            with nullcontext() if last else session.accelerator.no_sync(self._prepared):
                # A process without rows takes part with one that counts nothing, so that none waits for it.
                items = inputs_of(rows[piece if len(piece) else numbers[:1]])
                batch = to_device(self._task.collate(items, tokenizer), session.accelerator.device)
                with session.accelerator.autocast():
                    loss = self._task.loss(self._prepared, batch) / weight * bool(len(piece))
                # Gradients are averaged over processes; a sum is what is wanted.
                session.accelerator.backward(loss * session.processes)
                session.meter.add_flops(self._flops(*batch["input_ids"].shape[:2]))
            total += loss.detach()
        session.accelerator.clip_grad_norm_(self._prepared.parameters(), config.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return total

    def _log(self, rate: float) -> None:
        if not self._losses:
            return
        losses = torch.stack(self._losses)
        if self._session.accelerator.distributed_type != DistributedType.NO:
            losses = self._session.accelerator.reduce(losses, "sum")
        first = self.step - len(self._losses)
        for offset, loss in enumerate(losses.tolist()):
            if not math.isfinite(loss):
                message = f"the loss is {loss} at step {first + offset + 1}: a lower learning rate may help"
                raise RuntimeError(message)
            self._session.log({"step": first + offset + 1, "steps": self._total, "loss": loss, "learning_rate": rate})
        self._losses.clear()


def parameter_groups(model: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """Return what is trained, for an optimizer: weight matrices decay; biases and scales, which have one axis, do not."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay, "lr": config.learning_rate},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0, "lr": config.learning_rate},
    ]


def learning_rate(config: TrainConfig, step: int, total: int) -> float:
    """Return the learning rate of a step (from 0): linear warm-up, then the schedule down to 0 after the last step."""
    peak = config.learning_rate or 0.0
    warm = round(config.warmup * total)
    if step < warm:
        return peak * (step + 1) / (warm + 1)
    if config.schedule == "constant":
        return peak
    done = (step - warm) / max(total - warm, 1)
    return peak * (1 - done) if config.schedule == "linear" else peak * (1 + math.cos(math.pi * done)) / 2
