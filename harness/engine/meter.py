"""What a run costs, phase by phase.

Phases nest and never overlap: while an inner one runs, the outer one's clock stands. Time is read after the device has
finished what it was given. Peak memory starts anew at every change of phase.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from harness.records import Phase

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class Meter:
    """Clocks, memory marks and counters of one process."""

    def __init__(self, device: torch.device, on_phase: Callable[[str], None] = lambda _: None) -> None:
        """Start in no phase; `on_phase` is told the name of each that begins."""
        self._device, self._on_phase = device, on_phase
        self._totals: dict[str, dict[str, Any]] = defaultdict(
            lambda: {"wall": 0.0, "cpu": 0.0, "memory": None, "device": None, "flops": 0}
        )
        self._stack: list[str] = []
        self._mark = (0.0, 0.0)
        self._tells_memory = False

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Charge what happens inside to the phase `name`, and to no outer phase."""
        self._switch()
        self._stack.append(name)
        self._on_phase(name)
        try:
            yield
        finally:
            self._switch()
            self._stack.pop()
            if self._stack:
                self._on_phase(self._stack[-1])

    def now(self) -> Phase:
        """Return what the present phase has cost until now."""
        self._switch()
        return self.phases()[self._stack[-1]]

    def add_flops(self, count: int) -> None:
        """Charge floating point operations to the present phase."""
        if self._stack:
            self._totals[self._stack[-1]]["flops"] += count

    def phases(self) -> dict[str, Phase]:
        """Return what every phase has cost so far."""
        return {
            name: Phase(
                wall_seconds=total["wall"],
                cpu_seconds=total["cpu"],
                peak_memory_bytes=total["memory"],
                peak_device_bytes=total["device"],
                flops=total["flops"],
            )
            for name, total in self._totals.items()
        }

    def _switch(self) -> None:
        """Charge what has passed since the last change to the phase that was on, and start anew."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = (time.perf_counter(), time.process_time())
        if self._stack:
            total = self._totals[self._stack[-1]]
            total["wall"] += now[0] - self._mark[0]
            total["cpu"] += now[1] - self._mark[1]
            if self._tells_memory:
                total["memory"] = _larger(total["memory"], _peak_resident_bytes())
            if self._device.type == "cuda":
                total["device"] = _larger(total["device"], torch.cuda.max_memory_allocated(self._device))
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        # Where the peak cannot be started anew (not Linux), it would tell another phase's.
        self._tells_memory = _reset_peak_resident()
        self._mark = (time.perf_counter(), time.process_time())


def merge_phases(parts: list[dict[str, Phase]]) -> dict[str, Phase]:
    """Return the phases of several processes as one run's: CPU time and operations add up, wall time and peaks do not."""
    return {
        name: Phase(
            wall_seconds=max(part[name].wall_seconds for part in parts if name in part),
            cpu_seconds=sum(part[name].cpu_seconds for part in parts if name in part),
            peak_memory_bytes=max((part[name].peak_memory_bytes or 0 for part in parts if name in part), default=0)
            or None,
            peak_device_bytes=max((part[name].peak_device_bytes or 0 for part in parts if name in part), default=0)
            or None,
            flops=sum(part[name].flops for part in parts if name in part),
        )
        for name in parts[0]
    }


def _larger(first: int | None, second: int | None) -> int | None:
    return max((value for value in (first, second) if value is not None), default=None)


def _reset_peak_resident() -> bool:
    """Start the peak of resident memory anew; returns whether the system can."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _peak_resident_bytes() -> int:
    """Return the peak of resident memory since it was started anew."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
