"""Energy use of a run, as measured by the machine's counters.

    accelerator ─ NVML ──┐
                         ├─► joules since the run started
    CPU packages ─ RAPL ─┘

A counter belongs to a device, not a process: it includes everything that runs there. Unknown energy is None, never 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
"""Folder of the Linux counters of running average power limit (RAPL), for Intel and AMD."""

_OFTEN_SECONDS = 10.0
_SHARED = "no energy: several runs shared the machine, and its counters do not distinguish them"


class Energy:
    """The energy counters read by one process of a run."""

    def __init__(self, about: str, counters: Sequence[Callable[[], float]] | None = None) -> None:
        """Store counters of joules; None if no counter measures the run's energy.

        Args:
            about: What they measure, or why there are none.
            counters: Each returns the joules since a fixed moment.
        """
        self.about, self._counters = about, counters
        self._asked = time.monotonic()

    def joules(self) -> float | None:
        """Return the joules since a fixed moment; None if not measured or a counter failed."""
        if self._counters is None:
            return None
        self._asked = time.monotonic()
        try:
            return float(sum(counter() for counter in self._counters))
        except (OSError, ValueError, RuntimeError) as error:
            self.about, self._counters = f"no energy: a counter failed during the run: {error}", None
            return None

    def follow(self) -> None:
        """Read the counters if the last reading is old, so that no counter wraps around twice unnoticed."""
        if time.monotonic() - self._asked > _OFTEN_SECONDS:
            self.joules()


class Package:
    """The RAPL counter of one CPU package, which wraps around to 0 every few minutes to hours."""

    def __init__(self, folder: Path) -> None:
        """Open `folder`, which contains `energy_uj` and `max_energy_range_uj`.

        Raises:
            OSError: The files cannot be read.
        """
        self._file = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last, self._total = self._read(), 0

    def joules(self) -> float:
        """Return the joules since the counter was opened; correct if read at least once per wrap-around."""
        now = self._read()
        self._total += now - self._last + (self._range if now < self._last else 0)
        self._last = now
        return self._total / 1e6

    def _read(self) -> int:
        return int(self._file.read_text())


def open_energy(device: torch.device, *, first: bool = True, alone: bool = True, powercap: Path = POWERCAP) -> Energy:
    """Return the counters for the energy of one process of a run.

    Args:
        device: The device of the process.
        first: Whether this is the run's first process, the only one that counts shared devices.
        alone: Whether no other run is active on this machine.
        powercap: Folder of the CPU counters.
    """
    if not alone:
        return Energy(_SHARED)
    packages, cpu = _open_packages(powercap)
    counters = [package.joules for package in packages] if first else []
    if device.type != "cuda":
        return Energy(f"energy of {cpu}" if packages else f"no energy: {cpu}", counters if packages else None)
    try:
        counters.append(_open_nvml(device))
    except _NotTold as error:
        # The CPU's energy alone would be mistaken for the total.
        return Energy(f"no energy: {error}")
    also = f"and of {cpu}" if packages else f"only: {cpu}"
    return Energy(f"energy of the accelerator (NVML) {also}", counters)


class _NotTold(Exception):  # noqa: N818 - not an error: gives the reason why there is no counter
    """The reason why an accelerator's energy is unknown."""


def _open_packages(powercap: Path) -> tuple[list[Package], str]:
    """Return the readable counters of CPU packages, and a description or the reason why there are none."""
    # A package includes its parts, such as `intel-rapl:0:1`, and may itself be included in the whole board, `psys`.
    folders = [folder for folder in sorted(powercap.glob("intel-rapl:*")) if folder.name.count(":") == 1]
    try:
        packages = [Package(folder) for folder in folders if (folder / "name").read_text().startswith("package")]
    except PermissionError:
        return [], "only root can read the CPU's energy (RAPL) on this machine"
    except (OSError, ValueError) as error:
        return [], f"the CPU's energy (RAPL) cannot be read: {error}"
    if not packages:
        return [], "this machine does not report the CPU's energy (RAPL)"
    count = "the CPU package" if len(packages) == 1 else f"{len(packages)} CPU packages"
    return packages, f"{count} (RAPL), including other processes"


def _open_nvml(device: torch.device) -> Callable[[], float]:
    """Return the accelerator's counter of joules.

    Source: NVML API reference, nvmlDeviceGetTotalEnergyConsumption: millijoules since the driver was loaded, from Volta on.

    Raises:
        _NotTold: The accelerator has no counter, or nvidia-ml-py is not installed.
    """
    try:
        import pynvml
    except ImportError:
        message = "the accelerator's energy cannot be read without nvidia-ml-py: pip install 'finetune-harness[gpu]'"
        raise _NotTold(message) from None

    def joules() -> float:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except pynvml.NVMLError as error:
            raise RuntimeError(str(error)) from error

    try:
        pynvml.nvmlInit()
        # Use the UUID, not the index: CUDA may see only some devices, in another order.
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        joules()
    except (pynvml.NVMLError, RuntimeError) as error:
        message = f"the accelerator does not report its energy (NVML): {error}"
        raise _NotTold(message) from None
    return joules
