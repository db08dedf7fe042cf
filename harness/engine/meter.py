"""Cost of a run by phase.

Phases nest and never overlap: while an inner phase runs, the outer phase's clock stops. The time of metering is charged to
the outermost phase, so that all phases sum to the total time. Time is read after the device has finished its work. Peak
memory is reset at every change of phase.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from harness.engine.energy import Energy
from harness.records import Phase, Shared, largest

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class Meter:
    """Clocks, memory peaks and counters of one process."""

    def __init__(
        self,
        device: torch.device,
        on_phase: Callable[[str], None] = lambda _: None,
        energy: Energy | None = None,
    ) -> None:
        """Start without a phase; `on_phase` is called with the name of each phase that starts."""
        self._device, self._on_phase, self._energy = device, on_phase, energy or Energy("not measured")
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
        """Charge the cost of the context to the phase `name` only, not to outer phases."""
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
        """Return the cost of the current phase so far."""
        self._switch()
        return self.phases()[self._stack[-1]]

    def add_flops(self, count: int) -> None:
        """Charge floating point operations to the current phase."""
        if self._stack:
            self._totals[self._stack[-1]]["flops"] += count

    def restore(self, phases: Mapping[str, Phase]) -> None:
        """Go on from the costs of an earlier attempt, instead of what was spent so far."""
        self._switch()
        self._totals.clear()
        for name, phase in phases.items():
            self._totals[name] = {
                "wall": phase.wall_seconds,
                "cpu": phase.cpu_seconds,
                "memory": phase.peak_memory_bytes,
                "device": phase.peak_device_bytes,
                "reserved": phase.peak_reserved_bytes,
                "flops": phase.flops,
                "joules": phase.energy_joules or 0.0,
            }

    def phases(self) -> dict[str, Phase]:
        """Return the cost of every phase so far."""
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
        """Charge the cost since the last change to the current phase, and restart the measurement."""
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
        # If the peak cannot be reset (not Linux), it would include earlier phases.
        self._tells_memory = _reset_peak_resident()
        self._mark, self._joules = (time.perf_counter(), time.process_time()), joules
        if self._stack:
            outermost = self._totals[self._stack[0]]
            outermost["wall"] += self._mark[0] - now[0]
            outermost["cpu"] += self._mark[1] - now[1]


def merge_phases(parts: Sequence[dict[str, Phase]]) -> dict[str, Phase]:
    """Merge the phases of a run's processes, first process first.

    Device time, CPU time, operations and energy are summed; peaks are the maximum over processes; wall time is that of the
    first process.
    """
    return {name: _merge([part[name] for part in parts if name in part]) for name in parts[0]}


def spent_between(before: Phase, after: Phase) -> Shared:
    """Return the cost of a process between two moments of a phase; peaks cover the phase up to the second moment."""
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
    """Merge the costs of a run's parallel processes, first process first."""
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
    """Reset the peak of resident memory; return whether the system supports it."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _peak_resident_bytes() -> int:
    """Return the peak of resident memory since the last reset."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
