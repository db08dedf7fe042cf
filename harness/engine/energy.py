"""What a run takes from the socket, as far as the machine tells it.

    accelerator ─ NVML ──┐
                         ├─► joules since the run began
    CPU packages ─ RAPL ─┘

A counter is of a device, not of a process: whatever else runs there is in it. What is not told is None, never 0.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of running average power limit (RAPL), Intel's and AMD's."""

_OFTEN_SECONDS = 10.0
_SHARED = "no energy: several runs shared the machine, and its counters cannot tell them apart"


class Energy:
    """The counters that one process of a run reads."""

    def __init__(self, about: str, counters: Sequence[Callable[[], float]] | None = None) -> None:
        """Take counters of joules; None where there are none that tell the run's energy.

        Args:
            about: What they measure, or why there are none.
            counters: Each returns the joules since some fixed moment.
        """
        self.about, self._counters = about, counters
        self._asked = time.monotonic()

    def joules(self) -> float | None:
        """Return the energy since some fixed moment; None if it is not told, or is not told any more."""
        if self._counters is None:
            return None
        self._asked = time.monotonic()
        try:
            return float(sum(counter() for counter in self._counters))
        except (OSError, ValueError, RuntimeError) as error:
            self.about, self._counters = f"no energy: a counter failed during the run: {error}", None
            return None

    def follow(self) -> None:
        """Ask the counters if that is some time ago, so that none starts anew twice unseen."""
        if time.monotonic() - self._asked > _OFTEN_SECONDS:
            self.joules()


class Package:
    """The RAPL counter of one CPU package, which starts anew at 0 every few minutes to hours."""

    def __init__(self, folder: Path) -> None:
        """Open `folder`, which holds `energy_uj` and `max_energy_range_uj`.

        Raises:
            OSError: It cannot be read.
        """
        self._file = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last, self._total = self._read(), 0

    def joules(self) -> float:
        """Return the energy since the counter was opened; right if it is asked at least once in each of its rounds."""
        now = self._read()
        self._total += now - self._last + (self._range if now < self._last else 0)
        self._last = now
        return self._total / 1e6

    def _read(self) -> int:
        return int(self._file.read_text())


def open_energy(device: torch.device, *, first: bool = True, alone: bool = True, powercap: Path = POWERCAP) -> Energy:
    """Return the counters that tell what a process of a run takes.

    Args:
        device: The process's own.
        first: Whether this is the run's first process: it alone counts what the processes share.
        alone: Whether no other run is under way on this machine.
        powercap: Where the CPU's counters are.
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
        # That of the CPU alone would be taken for the whole.
        return Energy(f"no energy: {error}")
    also = f"and of {cpu}" if packages else f"alone: {cpu}"
    return Energy(f"energy of the accelerator (NVML) {also}", counters)


class _NotTold(Exception):  # noqa: N818 - not an error: says why there is no counter
    """Why an accelerator's energy is not told."""


def _open_packages(powercap: Path) -> tuple[list[Package], str]:
    """Return the counters of the CPU packages that can all be read, and what they are, or why there are none."""
    # A package's parts, such as `intel-rapl:0:1`, are in it; so may it be in that of the whole board, `psys`.
    folders = [folder for folder in sorted(powercap.glob("intel-rapl:*")) if folder.name.count(":") == 1]
    try:
        packages = [Package(folder) for folder in folders if (folder / "name").read_text().startswith("package")]
    except PermissionError:
        return [], "this machine lets only root read the CPU's energy (RAPL)"
    except (OSError, ValueError) as error:
        return [], f"the CPU's energy (RAPL) cannot be read: {error}"
    if not packages:
        return [], "this machine does not tell the CPU's energy (RAPL)"
    count = "the CPU package" if len(packages) == 1 else f"{len(packages)} CPU packages"
    return packages, f"{count} (RAPL), whatever else ran there included"


def _open_nvml(device: torch.device) -> Callable[[], float]:
    """Return the accelerator's counter of joules.

    Source: NVML API reference, nvmlDeviceGetTotalEnergyConsumption: millijoules since the driver was loaded, from Volta on.

    Raises:
        _NotTold: It has none, or what reads it is not installed.
    """
    try:
        import pynvml
    except ImportError:
        message = (
            "the accelerator's is read by nvidia-ml-py, which is not installed: pip install 'finetune-harness[gpu]'"
        )
        raise _NotTold(message) from None

    def joules() -> float:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except pynvml.NVMLError as error:
            raise RuntimeError(str(error)) from error

    try:
        pynvml.nvmlInit()
        # By its name and not by its number: CUDA may see only some of the devices, and in another order.
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        joules()
    except (pynvml.NVMLError, RuntimeError) as error:
        message = f"the accelerator does not tell it (NVML): {error}"
        raise _NotTold(message) from None
    return joules
