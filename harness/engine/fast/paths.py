"""Selection of the fast paths of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import nn

from harness.engine.compat import clip_in_step, clips_in_step, usable
from harness.engine.fast import attention, dropout, rows
from harness.engine.fast.attention import short_attention
from harness.engine.fast.dropout import fast_dropout
from harness.engine.fast.rows import UsedRows, find_word_embedding

if TYPE_CHECKING:
    from harness.engine.forward import Compute
    from harness.engine.session import Session

_CHECKS = {"fast dropout": dropout.holds, "attention by plain products": attention.holds, "used rows": rows.holds}


def holds(name: str) -> bool:
    """Return whether a fast path agrees with the plain implementation on this machine; checked once."""
    return usable(name, _CHECKS[name])


def evaluating(session: Session) -> AbstractContextManager[None]:
    """Return a context in which passes without training use the fast paths."""
    device = session.accelerator.device.type
    if session.fast and device == "cpu" and holds("attention by plain products"):
        return short_attention()
    return nullcontext()


class FastPaths:
    """The fast paths of one training."""

    def __init__(self, session: Session, *, watched: bool) -> None:
        """Decide which may be used.

        Args:
            session: The current run. The fast paths do not support several processes, compiled graphs or accelerator
                memory.
            watched: Whether a strategy reads the embedding or its gradients, which must then not be replaced.
        """
        config, accelerator = session.run.train, session.accelerator
        fast = session.fast and accelerator.device.type == "cpu" and session.processes == 1 and not config.compile
        self._dropout = fast and holds("fast dropout")
        self._attention = fast and holds("attention by plain products")
        self._may_use_rows = fast and not watched and holds("used rows")
        self._clipping = fast and accelerator.scaler is None and clips_in_step()
        self._accelerator, self._max_norm = accelerator, config.max_grad_norm
        self._rows: UsedRows | None = None
        self._decay = config.weight_decay

    def trained(
        self, model: nn.Module, batch: dict[str, torch.Tensor], compute: Compute, vocabulary: Callable[[], object]
    ) -> list[nn.Parameter]:
        """Return the parameters for the optimizer: those of the model, with an embedding replaced by its used rows.

        Args:
            model: The model.
            batch: Any batch.
            compute: A pass over it.
            vocabulary: Returns the tokens in the data, `[k]`.
        """
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        embedding = find_word_embedding(model, batch, compute) if self._may_use_rows else None
        if embedding is None:
            return parameters
        used = self._rows = UsedRows(embedding, vocabulary())  # type: ignore[arg-type]
        return [used.replaced(parameter) for parameter in parameters]

    @contextmanager
    def training(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Use the fast paths temporarily."""
        with ExitStack() as stack:
            if self._dropout:
                stack.enter_context(fast_dropout(model))
            if self._attention:
                stack.enter_context(short_attention())
            if self._rows is not None:
                stack.enter_context(self._rows.training(optimizer))
            yield

    def clip(self, optimizer: torch.optim.Optimizer, trained: list[nn.Parameter]) -> None:
        """Clip the gradient norm now, or in the optimizer's next step."""
        if self._clipping:
            clip_in_step(optimizer, trained, self._max_norm)
        else:
            self._accelerator.clip_grad_norm_(trained, self._max_norm)

    def reload(self) -> None:
        """Continue with the weights that the model has now."""
        if self._rows is not None:
            self._rows.reload()

    def stepped(self, rate: float) -> None:
        """Record a step with this learning rate."""
        if self._rows is not None:
            self._rows.decay(1 - rate * self._decay)

    def state(self) -> dict[str, torch.Tensor]:
        """Return what the fast paths hold beside the model."""
        return {} if self._rows is None else self._rows.state()

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Set what the fast paths hold beside the model."""
        if self._rows is not None:
            self._rows.load(state)
