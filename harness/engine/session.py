"""State shared by the parts of one run: settings, processes, meter, and the body with its heads."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from numpy.typing import NDArray
from torch import nn

from harness.batches import of_one_width
from harness.engine.cache import Cache
from harness.engine.checkpoint import Checkpoints, random_state, restore_random_state
from harness.engine.compat import plain
from harness.engine.data import Tokens
from harness.engine.fast.paths import evaluating
from harness.engine.meter import Meter, merge_phases
from harness.engine.models import Heads
from harness.records import TUNING, Phase, Run, Shared

if TYPE_CHECKING:
    from harness.engine.fast.splice import Splice


@dataclass
class Session:
    """The current run in one process."""

    run: Run
    accelerator: Accelerator
    meter: Meter
    cache: Cache
    log: Callable[[dict[str, Any]], None]
    """Receives progress events."""
    heads: Heads
    tokens: Sequence[Tokens]
    """The tokens of each problem."""
    published: str
    """Digest of the loaded body."""
    shared: Shared = field(default_factory=Shared)
    """Original cost of the features that tuning read from the cache."""
    trained: dict[int, nn.Parameter] = field(default_factory=dict)
    """Parameters trained by the current stage, by identity; stored so that no identity is reused."""
    splice: Splice | None = None
    """Cached outputs below the blocks trained last."""
    notes: list[str] = field(default_factory=list)
    """Notes on this run for the reader of the table."""
    steps: int = 0
    examples: int = 0
    restarts: int = 0
    """How often the run went on from a checkpoint."""
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    shard: bool = False
    """Whether the processes are to share a model while they train it."""
    sharded: bool = False
    """Whether they have done so."""
    clock: float = field(default_factory=time.perf_counter)
    """When the run began, by `time.perf_counter`; earlier if it goes on from a checkpoint."""

    @property
    def fast(self) -> bool:
        """Whether faster equivalent implementations may be used."""
        return self.run.train.fast and not plain()

    def evaluating(self) -> AbstractContextManager[None]:
        """Return a context for passes without training: they may be computed the fast way."""
        return evaluating(self)

    @property
    def arithmetic(self) -> list[str]:
        """Everything that affects the rounding and the cost of a forward pass."""
        return [self.run.train.precision, describe_device(self.accelerator.device), str(self.processes)]

    def state(self) -> dict[str, Any]:
        """Return what the run has counted so far, and the random numbers to come, as JSON; of all processes."""
        phases = {name: phase.model_dump(mode="json") for name, phase in self.meter.phases().items()}
        return {
            "steps": self.steps,
            "examples": self.examples,
            "restarts": self.restarts,
            "notes": list(self.notes),
            "shared": self.shared.model_dump(mode="json"),
            "seconds": time.perf_counter() - self.clock,
            "processes": gather_object([{"phases": phases, "random": random_state()}]),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state: costs are then those of a run that was not interrupted."""
        mine = state["processes"][self.rank]
        self.steps, self.examples, self.notes[:] = state["steps"], state["examples"], state["notes"]
        self.restarts = state["restarts"] + 1
        self.shared = Shared.model_validate(state["shared"])
        self.meter.restore({name: Phase.model_validate(phase) for name, phase in mine["phases"].items()})
        self.clock = time.perf_counter() - state["seconds"]
        restore_random_state(mine["random"])

    def spent(self) -> dict[str, float]:
        """Return the seconds and operations of tuning so far, without cache savings, in all processes."""
        # Entering a phase charges the time so far to the previous one; this query is not part of tuning.
        with self.meter.phase("validate"):
            phases = merge_phases(gather_object([self.meter.phases()]))
        tuning = [phases[name] for name in TUNING if name in phases]
        return {
            "seconds": sum(phase.wall_seconds for phase in tuning) + self.shared.seconds,
            "flops": sum(phase.flops for phase in tuning) + self.shared.flops,
        }

    @property
    def rank(self) -> int:
        """This process's number, from 0."""
        return int(self.accelerator.process_index)

    @property
    def processes(self) -> int:
        """Number of processes that share the run."""
        return int(self.accelerator.num_processes)

    def agree(self, value: bool) -> bool:
        """Return the first process's value, in every process."""
        values = [value]
        broadcast_object_list(values)
        return values[0]

    def gather(self, parts: Sequence[tuple[NDArray[np.int64], NDArray[Any]]], n: int) -> NDArray[Any]:
        """Return the rows computed by all processes, `[n, ...]`, in order.

        Args:
            parts: Row numbers `[b]` and results `[b, ...]` of this process.
            n: Expected number of rows.

        Raises:
            RuntimeError: A row is missing or was computed twice.
        """
        everything = gather_object(list(parts))
        rows = np.concatenate([numbers for numbers, _ in everything])
        if len(rows) != n or len(np.unique(rows)) != n:
            message = f"got {len(rows)} predictions of {len(np.unique(rows))} items for {n} items"
            raise RuntimeError(message)
        values = np.concatenate(of_one_width([array for _, array in everything]))
        result = np.empty_like(values)
        result[rows] = values
        return result


def has_bf16_units(device: torch.device) -> bool:
    """Return whether the device multiplies in bfloat16 itself, instead of by way of float32, which is slower than that."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        known = torch.cpu.get_capabilities()
        return any(known.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))
    return True  # not known


def describe_device(device: torch.device) -> str:
    """Return a description of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            name = next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    used = min(torch.get_num_threads(), cores or 1)
    share = f"{cores}" if used == cores else f"{used} of {cores}"
    return f"CPU {name} ({share} {'core' if cores == 1 else 'cores'})"
