"""Inference speed of a tuned model: single items and batches.

Measured with the task's `predict`, from token ids to predictions in host memory, through the whole body and without cached
features or fast paths, which a delivered model does not have. Runs in a separate phase, so that it is not part of any other
phase's time. The first process measures, the others wait.
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
"""Maximum number of test items for throughput."""
_SINGLE, _WARM_UP = 30, 3
"""Number of test items for latency, and number of warm-up items."""
_SECONDS_SINGLE, _SECONDS_MANY = 1.0, 0.5
"""Time limit of the two measurements; generating an answer can take seconds."""
_FEWEST = 20
"""Minimum number of items for a 95th percentile."""
_COMPARED = 8
"""Number of items compared before and after merging."""
_TOLERANCE = {"fp32": 1e-3, "bf16": 5e-2, "fp16": 1e-2}
"""Tolerance of changes by merging, relative to the largest value."""


def can_merge(model: nn.Module) -> bool:
    """Return whether the model offers merging its adapters."""
    return callable(getattr(model, "merge_and_unload", None))


def measure_inference(session: Session, tuned: nn.Module, apart: Speed | str | None) -> Inference:
    """Return the inference speed of the last stage's model.

    Args:
        session: The current run.
        tuned: The model returned by the strategy.
        apart: An earlier measurement with unmerged adapters, if there was one.
    """
    if not can_merge(tuned):
        return _inference(measure_speed(session, tuned), apart)
    if apart is None:
        apart = measure_speed(session, tuned)
    with session.meter.phase(_PHASE):
        whole = _merged(session, tuned)
    # The first process decides for all, so that none waits for a measurement that does not happen.
    if session.agree(isinstance(whole, nn.Module)):
        assert isinstance(whole, nn.Module)
        return _inference(measure_speed(session, whole), apart)
    return _inference(str(whole), apart)


def measure_speed(session: Session, model: nn.Module) -> Speed | str:
    """Return a model's speed on test items of the last stage, or why it is unknown."""
    with session.meter.phase(_PHASE):
        speed: Speed | str = "measured by the first process only"
        try:
            if session.rank == 0:
                speed = measure(session, model)
        except UndefinedError as error:
            speed = str(error)
        except RuntimeError as error:
            if not ran_out(error):
                raise
            speed = "out of memory during the measurement"
        session.accelerator.wait_for_everyone()
    return speed


def _inference(whole: Speed | str, apart: Speed | str | None) -> Inference:
    return Inference(
        whole=whole if isinstance(whole, Speed) else None,
        apart=apart if isinstance(apart, Speed) else None,
        undefined=whole if isinstance(whole, str) else None,
    )


def _merged(session: Session, tuned: nn.Module) -> nn.Module | str:
    """Return a copy of a model with merged adapters, or why there is none with the same predictions."""
    try:
        copied: Any = copy.deepcopy(tuned)
        merged: nn.Module = copied.merge_and_unload()
        same = _agree(session, tuned, merged)
    except Exception as error:  # noqa: BLE001 - libraries raise many kinds of errors if adapters cannot be merged
        return f"the adapters cannot be merged: {' '.join(str(error).split())}"
    return merged if same else "merging the adapters changes its predictions"


def measure(session: Session, model: nn.Module) -> Speed:
    """Measure and return a model's inference speed."""
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
        # If the time ended during warm-up, use the last warm-up measurement.
        latencies = latencies[min(_WARM_UP, len(items), len(latencies) - 1) :]
        parts = [rows[part] for part in evaluation_batches(batches.lengths[rows], session.run.train.eval_batch_tokens)]
        # Random order instead of longest first, so that batches skipped at the time limit are like the others.
        parts = [parts[number] for number in np.random.default_rng(0).permutation(len(parts))]
        if session.accelerator.device.type != "cpu":
            seconds(parts[0])  # allocates memory that later passes reuse
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
    """Return a random sample of items, each as its row numbers: windows of a long text are one item."""
    _, which, counts = np.unique(ids, return_inverse=True, return_counts=True)
    items = np.split(np.argsort(which, kind="stable"), np.cumsum(counts)[:-1])
    return [items[number] for number in np.random.default_rng(0).permutation(len(items))[:_ITEMS]]


def within(limit: float, measured: Iterator[float]) -> list[float]:
    """Return measured seconds until they sum to a limit; at least one."""
    taken: list[float] = []
    for seconds in measured:
        taken.append(seconds)
        if sum(taken) > limit:
            break
    return taken


@contextmanager
def predicting(session: Session, *models: nn.Module) -> Iterator[None]:
    """Run models as in scoring, temporarily: in eval mode, without gradients, in the run's precision."""
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
    """Return whether two models give the same predictions."""
    problem = len(session.run.stages) - 1
    task, batches = session.tokens[problem].task, Batches(session, problem, "test")
    batch = batches(np.arange(min(_COMPARED, len(batches.lengths))))
    with predicting(session, first, second):
        expected, found = task.predict(first, batch).float(), task.predict(second, batch).float()
    limit = _TOLERANCE[session.run.train.precision] * float(expected.abs().max().clamp(min=1))
    return torch.allclose(expected, found, rtol=0, atol=limit, equal_nan=True)
