"""What a run costs, phase by phase.

Phases nest and never overlap: while an inner one runs, the outer one's clock stands. Time is read after the device has
finished what it was given. Peak memory starts anew at every change of phase.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from harness.records import Phase

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class Meter:
    """Clocks, memory marks and counters of one process."""

    def __init__(self, device: torch.device, on_phase: Callable[[str], None] = lambda _: None) -> None:
        """Start in no phase; `on_phase` is told the name of each that begins."""
        self._device, self._on_phase = device, on_phase
        self._totals: dict[str, dict[str, Any]] = defaultdict(lambda: {"wall": 0.0, "cpu": 0.0, "memory": None, "device": None, "flops": 0})
        self._stack: list[str] = []
        self._known_flops: dict[Hashable, int] = {}
        self._mark = (0.0, 0.0)

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

    @contextmanager
    def flops(self, shape: Hashable) -> Iterator[None]:
        """Count the floating point operations inside, once for each `shape`; afterwards only add them up.

        `shape` must name everything that decides the count: which computation, on inputs of which size.
        """
        if shape in self._known_flops:
            yield
        else:
            with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter:
                yield
            self._known_flops[shape] = counter.get_total_flops()
        if self._stack:
            self._totals[self._stack[-1]]["flops"] += self._known_flops[shape]

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
            total["memory"] = _larger(total["memory"], _peak_resident_bytes())
            if self._device.type == "cuda":
                total["device"] = _larger(total["device"], torch.cuda.max_memory_allocated(self._device))
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        _reset_peak_resident()
        self._mark = (time.perf_counter(), time.process_time())


def merge_phases(parts: list[dict[str, Phase]]) -> dict[str, Phase]:
    """Return the phases of several processes as one run's: CPU time and operations add up, wall time and peaks do not."""
    return {
        name: Phase(
            wall_seconds=max(part[name].wall_seconds for part in parts if name in part),
            cpu_seconds=sum(part[name].cpu_seconds for part in parts if name in part),
            peak_memory_bytes=max((part[name].peak_memory_bytes or 0 for part in parts if name in part), default=0) or None,
            peak_device_bytes=max((part[name].peak_device_bytes or 0 for part in parts if name in part), default=0) or None,
            flops=sum(part[name].flops for part in parts if name in part),
        )
        for name in parts[0]
    }


def _cpu_attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401 - torch passes shapes
    return int(sdpa_flop_count(query, key, value))


def _cpu_attention_backward_flops(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:  # noqa: ANN401
    # Two matrix products forward; five backward, because the fast kernel computes the scores anew. As torch counts it for
    # the same kernel on a GPU (torch.utils.flop_counter.sdpa_backward_flop_count).
    del gradient
    return int(sdpa_flop_count(query, key, value)) * 5 // 2


# torch counts the attention kernels of GPUs only.
_CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _cpu_attention_flops,  # noqa: SLF001 - torch's own name
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _cpu_attention_backward_flops,  # noqa: SLF001
}


def _larger(first: int | None, second: int | None) -> int | None:
    return max((value for value in (first, second) if value is not None), default=None)


def _reset_peak_resident() -> None:
    try:
        _CLEAR.write_text("5")
    except OSError:
        return


def _peak_resident_bytes() -> int | None:
    """Return the peak since the last reset; None where Linux's /proc cannot reset it, because it would tell another's peak."""
    try:
        if not _can_reset():
            return None
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024


def _can_reset() -> bool:
    try:
        with _CLEAR.open("w"):
            return True
    except OSError:
        return False
