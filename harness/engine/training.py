"""One training: its optimizer steps, its checkpoints, its curve.

The result depends only on the run: batches are drawn for all processes together, each process takes its part of every
batch, and the loss is divided by the weight of the whole batch. Thus neither the number of processes nor accumulation
changes the steps, the schedule or, within rounding, the result (except dropout, whose masks differ).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from accelerate.utils import DistributedType, gather_object
from numpy.typing import NDArray
from torch import nn

from harness.architecture import find_blocks
from harness.batches import training_batches
from harness.delivery.pooled import FeatureHead
from harness.engine.checkpoint import Saved
from harness.engine.compat import unprepared
from harness.engine.data import class_counts
from harness.engine.fast.paths import FastPaths
from harness.engine.fast.splice import splice
from harness.engine.flops import count_flops
from harness.engine.forward import Batches, Compute, passes
from harness.engine.loop_state import LoopState
from harness.engine.memory import ran_out
from harness.engine.session import Session
from harness.engine.shards import Shards
from harness.errors import HarnessError
from harness.records import TrainConfig

Penalty = Callable[[], torch.Tensor]
_LOG_EVERY = 10
"""Steps between readings of the loss from the device."""


def batches_of(session: Session, problem: int, epoch: int) -> list[NDArray[np.int64]]:
    """Return the batches of an epoch (from 0) of a problem's train split, as row numbers."""
    config, lengths = session.run.train, session.tokens[problem].lengths("train")
    return training_batches(lengths, config.batch_size, (session.run.seed, problem, epoch), config.batch_tokens)


class Training:
    """The state of one training: the model and optimizer prepared by accelerate, and the step count."""

    def __init__(
        self,
        session: Session,
        problem: int,
        model: nn.Module,
        total: int,
        penalty: Penalty | None,
        after_backward: Callable[[int], None] | None,
    ) -> None:
        self._penalty, self._after_backward = penalty, after_backward
        self._session, self._problem, self._task = session, problem, session.tokens[problem].task
        self.config = config = session.run.train
        self.model, self.total, self.step = model, total, 0
        self._losses: list[torch.Tensor] = []
        self._pieces = config.gradient_accumulation_steps
        watched = penalty is not None or after_backward is not None
        if config.gradient_checkpointing:
            checkpointed: Any = model if hasattr(model, "gradient_checkpointing_enable") else session.heads.body
            checkpointed.gradient_checkpointing_enable()

        self._shaping = _shaping(session, problem)

        def loss(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
            return self._task.loss(model, batch, **self._shaping)

        self._prefix, session.splice = (None, None) if session.shard else splice(session, problem, model, loss)
        self._batches = Batches(session, problem, "train", session.splice.keep("train") if session.splice else None)
        model.train()
        with session.meter.phase("count"):
            part = "whole" if session.splice is None else f"above {len(session.splice.prefix.blocks)}"
            self._flops = count_flops(session, problem, model, self._spliced(loss), self._batches, part, training=True)
        # A penalty may read the whole embedding, including rows not used by this problem; `after_backward` needs the gradient of
        # the embedding itself.
        self._fast = FastPaths(session, watched=watched)
        new = _new_positions(session, problem, model)
        self._shards = _shared(session, model, watched=watched) if session.shard else None
        computed = model if self._shards is None else self._shards.model
        self.parameters = [parameter for parameter in computed.parameters() if parameter.requires_grad]
        """The parameters that are trained, in the form in which they are."""
        vocabulary = functools.partial(session.tokens[problem].vocabulary, "train")
        self._trained = (
            self._fast.trained(model, self._batches(np.array([0])), self._spliced(loss), vocabulary)
            if self._shards is None
            else self.parameters
        )
        self._adamw = torch.optim.AdamW(parameter_groups(self._trained, config, new), fused=True)
        compiled = torch.compile(computed) if config.compile else computed
        # What shares the model also averages its gradients; otherwise accelerate's wrapper does.
        prepared: tuple[Any, Any] = (
            session.accelerator.prepare(compiled, self._adamw)
            if self._shards is None
            else (compiled, session.accelerator.prepare(self._adamw))
        )
        self._prepared, self._optimizer = prepared
        self.state, self._rate = LoopState(), 0.0
        saved = session.checkpoints.begin(possible=not watched and self._shards is None)
        if saved is not None:
            self._restore(saved)

    @property
    def began(self) -> int:
        """Return the number of steps before the current call of `run`, or before the next one."""
        return self.step - self.state.taken

    @property
    def validation_items(self) -> int:
        """Return the number of validation rows."""
        return len(self._session.tokens[self._problem].prepared.splits["validation"])

    def batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the batches of an epoch (from 0), as row numbers."""
        return batches_of(self._session, self._problem, epoch)

    def run(self, batches: Sequence[NDArray[np.int64]], rate: Callable[[int], float]) -> None:
        """Take one optimizer step for each batch that was not taken yet, with the learning rate that `rate` gives for the step (from 0)."""
        self._prepared.train()
        if self._prefix is not None:
            self._prefix.settle()
        at = self.state
        with self._fast.training(self.model, self._adamw):
            for numbers in batches[at.taken :]:
                now = self._rate = rate(self.step)
                for group in self._optimizer.param_groups:
                    group["lr"] = now * group["times"]
                self._losses.append(self._take_step(numbers))
                self._fast.stepped(now)
                self.step += 1
                at.taken += 1
                self._session.steps += 1
                self._session.examples += len(numbers)
                if self.step % _LOG_EVERY == 0:
                    self._log(now)
                if self._is_due():
                    self._save()
            self._log(self._rate)
        at.taken = 0

    def reload(self) -> None:
        """Continue with the weights that the model has now."""
        self._fast.reload()

    def whole(self) -> AbstractContextManager[None]:
        """Return a context in which the model has all its weights, to evaluate it."""
        return nullcontext() if self._shards is None else self._shards.whole()

    def validation_loss(self) -> float:
        """Return the mean loss on the validation split."""
        session, sums = self._session, np.zeros(2)

        def take(numbers: NDArray[np.int64], _: Any, losses: torch.Tensor) -> None:
            sums[:] += float(losses), self._task.weight(batches.items(numbers))

        splice = session.splice
        batches = Batches(session, self._problem, "validation", splice.keep("validation") if splice else None)
        part = "loss" if splice is None else f"loss above {len(splice.prefix.blocks)}"
        loss = self._spliced(lambda batch: self._task.loss(self.model, batch, **self._shaping))
        with session.meter.phase("validate"), self.whole():
            passes(session, self._problem, batches, self.model, loss, take, part)
            total = np.sum(gather_object([sums.tolist()]), axis=0)
        return float(total[0] / total[1])

    def tell(self, **what: object) -> None:
        """Log a point of the validation curve, with the cost so far."""
        where = {"stage": self._problem, "step": self.step, "steps": self.total}
        self._session.log({**where, **what, **self._session.spent()})

    def close(self) -> nn.Module:
        """Return the trained model without the wrapper of accelerate."""
        if not self.state.done:
            self.state = LoopState(done=True)
            if self._session.agree(self._session.checkpoints.worthwhile(self._session.accelerator.device)):
                self._save()
        if self._shards is not None:
            self._shards.close()
        model = unprepared(self._session.accelerator, self.model)
        self._session.accelerator.free_memory()
        return model

    def _is_due(self) -> bool:
        """Return whether it is time for a checkpoint, in every process of the run."""
        session = self._session
        if session.processes == 1 or not session.checkpoints.enabled:
            return session.checkpoints.due()
        return self.step % _LOG_EVERY == 0 and session.agree(session.checkpoints.due())  # to agree takes time

    def _save(self) -> None:
        """Write a checkpoint from which the training goes on exactly as it would have."""
        session, at = self._session, self.state
        with session.meter.phase("checkpoint"):
            tensors = {f"weight.{name}": values for name, values in self._held().items()}
            if not at.done:
                tensors |= {f"fast.{name}": values for name, values in self._fast.state().items()}
                for number, values in self._adamw.state_dict()["state"].items():
                    tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
                copies = at.best.copies if at.best is not None else []
                tensors |= {f"best.{number}": copy for number, copy in enumerate(copies)}
            scaler = session.accelerator.scaler
            state = {
                "loop": at.state(),
                "step": self.step,
                "rate": self._rate,
                "losses": [float(loss) for loss in self._losses],
                "pieces": self._pieces,
                "scaler": None if scaler is None else scaler.state_dict(),
                **session.state(),
            }
            if failed := session.checkpoints.write(tensors, state):
                session.notes.append(f"no checkpoints: {failed}")

    def _restore(self, saved: Saved) -> None:
        """Go on from a checkpoint."""
        session, state = self._session, saved.state

        def part(prefix: str) -> dict[str, torch.Tensor]:
            return {
                name.removeprefix(prefix): value for name, value in saved.tensors.items() if name.startswith(prefix)
            }

        held = self._held()
        with torch.no_grad():
            for name, value in part("weight.").items():
                held[name].copy_(value)
        copies = [
            value.to(session.accelerator.device)
            for _, value in sorted(part("best.").items(), key=lambda one: int(one[0]))
        ]
        self.state = LoopState.restored(state["loop"], self.parameters, copies)
        if not self.state.done:
            self._fast.load(part("fast."))
            known: dict[int, dict[str, torch.Tensor]] = {}
            for name, value in part("optimizer.").items():
                number, _, what = name.partition(".")
                known.setdefault(int(number), {})[what] = value
            self._adamw.load_state_dict({**self._adamw.state_dict(), "state": known})
        self.step, self._rate, self._pieces = state["step"], state["rate"], state["pieces"]
        self._losses = [torch.tensor(loss, device=session.accelerator.device) for loss in state["losses"]]
        if session.accelerator.scaler is not None:
            session.accelerator.scaler.load_state_dict(state["scaler"])
        session.restore(state)
        lost = session.checkpoints.lost(saved)
        again = (
            f": the {lost:,.0f} s of work after its last checkpoint were done again, and are not counted"
            if lost >= 1
            else ""
        )
        session.notes.append(f"a run was continued after an interruption{again}")

    def _held(self) -> dict[str, torch.Tensor]:
        """Return what training changes in the model: trained parameters, and saved buffers, such as running means."""
        buffers = dict(self.model.named_buffers())
        changed = {name: buffers[name] for name in self.model.state_dict() if name in buffers}
        return {**{str(number): parameter for number, parameter in enumerate(self.parameters)}, **changed}

    def _spliced(self, loss: Compute) -> Compute:
        return loss if self._session.splice is None else self._session.splice.prefix.wrap(loss)

    def _take_step(self, numbers: NDArray[np.int64]) -> torch.Tensor:
        """Take one step on a batch, in more pieces if memory runs out; return this process's part of the loss."""
        while True:
            try:
                return self._step_in_pieces(numbers)
            except RuntimeError as error:
                # Several processes would have to agree on the number of pieces.
                if not ran_out(error) or self._session.processes > 1 or self._pieces >= len(numbers):
                    raise
            self._optimizer.zero_grad()
            self._pieces *= 2
            message = f"each batch was computed in {self._pieces} pieces because larger pieces did not fit in memory"
            self._session.notes[:] = [note for note in self._session.notes if not note.startswith("each batch was")]
            self._session.notes.append(message)

    def _step_in_pieces(self, numbers: NDArray[np.int64]) -> torch.Tensor:
        session = self._session
        items = self._batches.items(numbers)
        # Divide the loss of all processes by the weight of all of them.
        weight = self._task.weight(items)
        mine = np.arange(len(numbers))[session.rank :: session.processes]
        pieces = [mine[at :: self._pieces] for at in range(self._pieces)]
        compute = self._spliced(lambda batch: self._task.loss(self._prepared, batch, **self._shaping))
        total = torch.zeros((), device=session.accelerator.device)
        if self._penalty is not None:
            # The same in every process, so averaging over processes does not change it.
            with session.accelerator.no_sync(self._prepared), session.accelerator.autocast():
                added = self._penalty()
                session.accelerator.backward(added)
            total += added.detach() / session.processes
        for position, piece in enumerate(pieces):
            last = position == len(pieces) - 1
            # A sharded model does not wait for the last piece: its gradients would have to be whole until then.
            with nullcontext() if last or self._shards else session.accelerator.no_sync(self._prepared):
                # A process without rows computes one row with weight 0, so that the others do not wait for it.
                taken = piece if len(piece) else np.array([0])
                part = {name: [values[at] for at in taken] for name, values in items.items()}
                batch = self._batches(numbers[taken], part)
                with session.accelerator.autocast():
                    loss = compute(batch) / weight * bool(len(piece))
                # Gradients are averaged over processes; the sum is needed.
                session.accelerator.backward(loss * session.processes)
                session.meter.add_flops(self._flops(batch["input_ids"].shape, self._task.weight(part)))
            total += loss.detach()
        if self._after_backward is not None:
            self._after_backward(self.step)
        self._fast.clip(self._adamw, self._trained)
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
                at = first + offset + 1
                message = f"the loss is {loss} at step {at}; try a lower learning rate"
                if at == 1:
                    message = f"the loss is {loss} at the first step, before any update; check the model's weights and the data"
                raise RuntimeError(message)
            self._session.log({"step": first + offset + 1, "steps": self.total, "loss": loss, "learning_rate": rate})
        self._losses.clear()


def parameter_groups(
    trained: Sequence[nn.Parameter], config: TrainConfig, new: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """Return optimizer parameter groups: weight decay applies to matrices, not to parameters with one axis (biases, scales).

    Args:
        trained: The trained parameters.
        config: The training settings.
        new: Positions of the parameters of a new head, which may have a separate learning rate.
    """
    times = (config.head_learning_rate or 0.0) / (config.learning_rate or 1.0) if config.head_learning_rate else 1.0
    head = {id(trained[position]) for position in new} if times != 1.0 else set()
    groups = []
    for share in (1.0, times) if head else (1.0,):
        some = [p for p in trained if (id(p) in head) == (share != 1.0)]
        rate = {"lr": (config.learning_rate or 0.0) * share, "times": share}
        groups += [
            {"params": [p for p in some if p.ndim > 1], "weight_decay": config.weight_decay, **rate},
            {"params": [p for p in some if p.ndim <= 1], "weight_decay": 0.0, **rate},
        ]
    return groups


def _shared(session: Session, model: nn.Module, *, watched: bool) -> Shards:
    """Return the model's shares.

    Raises:
        HarnessError: Its strategy reads the weights while they are trained.
    """
    if watched:
        name = session.run.strategy.name
        message = f"strategy {name!r} reads weights while they are trained, so processes cannot share the model"
        raise HarnessError(message)
    session.sharded = True
    return Shards(model, find_blocks(model), session.accelerator.device, session.processes)


def _new_positions(session: Session, problem: int, fitted: nn.Module) -> list[int]:
    """Return the positions of the parameters of a new head among the trained ones; a language-model head is not new."""
    model = session.heads.models[problem]
    if model is None or model.get_output_embeddings() is not None:
        return []
    heads = [session.heads.head_of(model), *([fitted.head] if isinstance(fitted, FeatureHead) else [])]
    head = {id(parameter) for part in heads for parameter in part.parameters()}
    trained = [parameter for parameter in fitted.parameters() if parameter.requires_grad]
    return [at for at, parameter in enumerate(trained) if id(parameter) in head]


def _shaping(session: Session, problem: int) -> dict[str, Any]:
    """Return the additional arguments of the task's loss set in the run's settings."""
    config, tokens = session.run.train, session.tokens[problem]
    given: dict[str, Any] = {}
    if config.label_smoothing:
        given["label_smoothing"] = config.label_smoothing
    if config.class_weights is not None:
        counts = class_counts(tokens.prepared.splits["train"], len(tokens.prepared.facts.classes or ()))
        # n / (classes * count), as scikit-learn's "balanced"; a class without rows has no loss.
        weights = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
        given["class_weights"] = torch.tensor(weights, dtype=torch.float32, device=session.accelerator.device)
    return given
