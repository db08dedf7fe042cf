"""What a run costs, phase by phase.

Phases nest and never overlap: while an inner one runs, the outer one's clock stands. What metering itself takes is the
outermost phase's, so that phases sum to the time in that one. Time is read after the device has finished what it was given.
Peak memory starts anew at every change of phase.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from harness.engine.energy import Energy
from harness.records import Phase, Shared, largest

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class Meter:
    """Clocks, memory marks and counters of one process."""

    def __init__(
        self,
        device: torch.device,
        on_phase: Callable[[str], None] = lambda _: None,
        energy: Energy | None = None,
    ) -> None:
        """Start in no phase; `on_phase` is told the name of each that begins."""
        self._device, self._on_phase, self._energy = device, on_phase, energy or Energy("not asked")
        self._totals: dict[str, dict[str, Any]] = defaultdict(
            lambda: {
                "wall": 0.0,
                "cpu": 0.0,
                "memory": None,
                "device": None,
                "reserved": None,
                "flops": 0,
                "joules": 0.0,
            }
        )
        self._stack: list[str] = []
        self._mark = (0.0, 0.0)
        self._joules: float | None = None
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
        told = self._energy.joules() is not None
        return {
            name: Phase(
                wall_seconds=total["wall"],
                device_seconds=total["wall"],
                cpu_seconds=total["cpu"],
                peak_memory_bytes=total["memory"],
                peak_device_bytes=total["device"],
                peak_reserved_bytes=total["reserved"],
                flops=total["flops"],
                energy_joules=total["joules"] if told else None,
            )
            for name, total in self._totals.items()
        }

    def _switch(self) -> None:
        """Charge what has passed since the last change to the phase that was on, and start anew."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = (time.perf_counter(), time.process_time())
        joules = self._energy.joules()
        if self._stack:
            total = self._totals[self._stack[-1]]
            total["wall"] += now[0] - self._mark[0]
            total["cpu"] += now[1] - self._mark[1]
            total["joules"] += (joules or 0.0) - (self._joules or 0.0)
            if self._tells_memory:
                total["memory"] = largest((total["memory"], _peak_resident_bytes()))
            if self._device.type == "cuda":
                total["device"] = largest((total["device"], torch.cuda.max_memory_allocated(self._device)))
                total["reserved"] = largest((total["reserved"], torch.cuda.max_memory_reserved(self._device)))
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        # Where the peak cannot be started anew (not Linux), it would tell another phase's.
        self._tells_memory = _reset_peak_resident()
        self._mark, self._joules = (time.perf_counter(), time.process_time()), joules
        if self._stack:
            outermost = self._totals[self._stack[0]]
            outermost["wall"] += self._mark[0] - now[0]
            outermost["cpu"] += self._mark[1] - now[1]


def merge_phases(parts: Sequence[dict[str, Phase]]) -> dict[str, Phase]:
    """Return the phases of a run's processes as the run's, the first process's first.

    Device and CPU time, operations and energy add up; peaks are the largest process's; wall time is the first's.
    """
    return {name: _merge([part[name] for part in parts if name in part]) for name in parts[0]}


def spent_between(before: Phase, after: Phase) -> Shared:
    """Return what a process spent between two moments of a phase; the peaks are those of the phase until then."""
    known = before.energy_joules is not None and after.energy_joules is not None
    return Shared(
        seconds=after.wall_seconds - before.wall_seconds,
        flops=after.flops - before.flops,
        energy_joules=(after.energy_joules or 0.0) - (before.energy_joules or 0.0) if known else None,
        peak_memory_bytes=after.peak_memory_bytes,
        peak_device_bytes=after.peak_device_bytes,
        peak_reserved_bytes=after.peak_reserved_bytes,
    )


def merge_spent(parts: Sequence[Shared]) -> Shared:
    """Return what a run's processes spent side by side, the first process's first."""
    joules = [part.energy_joules for part in parts if part.energy_joules is not None]
    return Shared(
        seconds=parts[0].seconds,
        flops=sum(part.flops for part in parts),
        energy_joules=sum(joules) if len(joules) == len(parts) else None,
        peak_memory_bytes=largest(part.peak_memory_bytes for part in parts),
        peak_device_bytes=largest(part.peak_device_bytes for part in parts),
        peak_reserved_bytes=largest(part.peak_reserved_bytes for part in parts),
    )


def _merge(phases: Sequence[Phase]) -> Phase:
    joules = [phase.energy_joules for phase in phases if phase.energy_joules is not None]
    return Phase(
        wall_seconds=phases[0].wall_seconds,
        device_seconds=sum(phase.wall_seconds for phase in phases),
        cpu_seconds=sum(phase.cpu_seconds for phase in phases),
        peak_memory_bytes=largest(phase.peak_memory_bytes for phase in phases),
        peak_device_bytes=largest(phase.peak_device_bytes for phase in phases),
        peak_reserved_bytes=largest(phase.peak_reserved_bytes for phase in phases),
        flops=sum(phase.flops for phase in phases),
        energy_joules=sum(joules) if len(joules) == len(phases) else None,
    )


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
