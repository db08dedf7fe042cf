"""How fast a tuned model answers: one item by itself, and many in batches.

Measured through the task's own `predict`, from token ids to predictions in the host's memory: through the whole body, and
without the harness's shortcuts, because what is delivered has neither kept features nor these. In a phase of its own, so that
no other phase's time has any of it. The first process measures, the others wait.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.batches import evaluation_batches
from harness.engine.forward import Batches
from harness.engine.memory import ran_out
from harness.engine.session import Session
from harness.errors import UndefinedError
from harness.records import Inference, Speed

_PHASE = "serve"
_ITEMS = 256
"""Test items that throughput is measured on, at most."""
_SINGLE, _WARM_UP = 30, 3
"""Test items that are answered one by one, and how many of them once more beforehand."""
_SECONDS_SINGLE, _SECONDS_MANY = 1.0, 0.5
"""After which each of the two measurements ends, whatever is left: answers that are written take seconds each."""
_FEWEST = 20
"""Items from which on their 95th percentile is not just their slowest."""
_COMPARED = 8
"""Items whose answers are compared before and after merging."""
_TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2, "fp16": 1e-2}
"""By which merging may change them, relative to the largest."""


def can_merge(model: nn.Module) -> bool:
    """Return whether the model has adapters that it says it can put into its weights."""
    return callable(getattr(model, "merge_and_unload", None))


def measure_inference(session: Session, tuned: nn.Module, apart: Speed | str | None) -> Inference:
    """Return how fast the last stage's model answers.

    Args:
        session: The run under way.
        tuned: The model as the strategy gave it back.
        apart: What was measured of it while its adapters were beside its weights, if it had any and that was before.
    """
    if not can_merge(tuned):
        return _inference(measure_speed(session, tuned), apart)
    if apart is None:
        apart = measure_speed(session, tuned)
    with session.meter.phase(_PHASE):
        whole = _merged(session, tuned)
    # One process decides for all, or some would wait for others that do not measure.
    if session.agree(isinstance(whole, nn.Module)):
        assert isinstance(whole, nn.Module)
        return _inference(measure_speed(session, whole), apart)
    return _inference(str(whole), apart)


def measure_speed(session: Session, model: nn.Module) -> Speed | str:
    """Return how fast a model answers test items of the last stage, or why that is not known."""
    with session.meter.phase(_PHASE):
        speed: Speed | str = "the first process alone measures"
        try:
            if session.rank == 0:
                speed = measure(session, model)
        except UndefinedError as error:
            speed = str(error)
        except RuntimeError as error:
            if not ran_out(error):
                raise
            speed = "memory ran out as it was measured"
        session.accelerator.wait_for_everyone()
    return speed


def _inference(whole: Speed | str, apart: Speed | str | None) -> Inference:
    return Inference(
        whole=whole if isinstance(whole, Speed) else None,
        apart=apart if isinstance(apart, Speed) else None,
        undefined=whole if isinstance(whole, str) else None,
    )


def _merged(session: Session, tuned: nn.Module) -> nn.Module | str:
    """Return a copy of a model with its adapters merged, or why there is none that answers alike."""
    try:
        copied: Any = copy.deepcopy(tuned)
        merged: nn.Module = copied.merge_and_unload()
        same = _agree(session, tuned, merged)
    except Exception as error:  # noqa: BLE001 - libraries have many ways to say that these adapters cannot be merged
        return f"its adapters cannot be merged: {' '.join(str(error).split())}"
    return merged if same else "with its adapters merged it answers otherwise"


def measure(session: Session, model: nn.Module) -> Speed:
    """Return how fast a model answers, measured now."""
    problem = len(session.run.stages) - 1
    task, batches = session.tokens[problem].task, Batches(session, problem, "test")
    items = choose(session.tokens[problem].ids("test"))
    rows = np.concatenate(items)

    def seconds(numbers: NDArray[Any]) -> float:
        read = batches.items(numbers)
        start = time.perf_counter()
        task.predict(model, batches(numbers, read)).float().cpu()
        return time.perf_counter() - start

    with predicting(session, model):
        singles = [*items[:_WARM_UP], *items[:_SINGLE]]
        latencies = within(_SECONDS_SINGLE, map(seconds, singles))
        # What could not be warmed up in the time there was is told as it was.
        latencies = latencies[min(_WARM_UP, len(items), len(latencies) - 1) :]
        parts = [rows[part] for part in evaluation_batches(batches.lengths[rows], session.run.train.eval_batch_tokens)]
        # Not the longest first: what is left out when time is up must be like what is not.
        parts = [parts[number] for number in np.random.default_rng(0).permutation(len(parts))]
        if session.accelerator.device.type != "cpu":
            seconds(parts[0])  # takes memory that it has afterwards
        took = within(_SECONDS_MANY, map(seconds, parts))
    answered = sum(map(len, parts[: len(took)])) * len(items) / len(rows)
    return Speed(
        latency_p50_ms=1e3 * float(np.median(latencies)),
        latency_p95_ms=1e3 * float(np.quantile(latencies, 0.95)) if len(latencies) >= _FEWEST else None,
        latency_items=len(latencies),
        throughput=answered / sum(took),
        batch_size=len(items) / len(parts),
    )


def choose(ids: NDArray[Any]) -> list[NDArray[np.int64]]:
    """Return items from all over a split, in no order, each as the numbers of its rows: windows of a long text are one item."""
    _, which, counts = np.unique(ids, return_inverse=True, return_counts=True)
    items = np.split(np.argsort(which, kind="stable"), np.cumsum(counts)[:-1])
    return [items[number] for number in np.random.default_rng(0).permutation(len(items))[:_ITEMS]]


def within(limit: float, measured: Iterator[float]) -> list[float]:
    """Return measurements of seconds until these sum to a limit; at least one."""
    taken: list[float] = []
    for seconds in measured:
        taken.append(seconds)
        if sum(taken) > limit:
            break
    return taken


@contextmanager
def predicting(session: Session, *models: nn.Module) -> Iterator[None]:
    """Have models as scoring has them meanwhile: in eval mode, without gradients, in the run's precision."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.eval()
    try:
        with torch.no_grad(), session.accelerator.autocast():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _agree(session: Session, first: nn.Module, second: nn.Module) -> bool:
    """Return whether two models answer alike."""
    problem = len(session.run.stages) - 1
    task, batches = session.tokens[problem].task, Batches(session, problem, "test")
    batch = batches(np.arange(min(_COMPARED, len(batches.lengths))))
    with predicting(session, first, second):
        expected, found = task.predict(first, batch).float(), task.predict(second, batch).float()
    limit = _TOLERANCE[session.run.train.precision] * float(expected.abs().max().clamp(min=1))
    return torch.allclose(expected, found, rtol=0, atol=limit, equal_nan=True)
