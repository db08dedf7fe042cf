"""Checkpoints within a run: a run that was interrupted goes on where its training was, with the same result.

    <run>/checkpoint/<number>.safetensors     the state of a training of the run, counted from 0

A run that is computed again repeats everything but its trainings, which continue from these files; all else is
deterministic. They are written now and then, and when the process is told to end (SIGTERM, SIGUSR2). A training
that calls back into a strategy has none, because the strategy may have a state of its own, nor has that of a sharded
model; nor have those after it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from harness.store import replacing

_SHARE = 50
"""How many times as long as it takes to write a checkpoint the time to the next one is, at least."""
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR2") if hasattr(signal, name))


class Saved(NamedTuple):
    """What a checkpoint holds."""

    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


class Curve:
    """The training curve of a run, as a file of events."""

    def __init__(self, path: Path) -> None:
        """Begin the file."""
        self._path, self._file = path, _begun(path)
        self.events: list[Mapping[str, Any]] = []

    def restart(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Begin the file again with these events."""
        self.close()
        self._file, self.events = _begun(self._path), []
        for event in events:
            self.write(event)

    def write(self, event: Mapping[str, Any]) -> None:
        """Add an event."""
        self.events.append(event)
        self._file.write(json.dumps(event) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _begun(path: Path) -> IO[str]:
    # Line buffering writes the curve completely before the outcome is stored.
    return path.open("w", buffering=1, encoding="utf-8")


class Checkpoints:
    """The checkpoints of one run, in one of its processes."""

    def __init__(
        self,
        folder: Path | None = None,
        curve: Curve | None = None,
        seconds: float = 0.0,
        interrupted: float | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            folder: Where they are; None to have none.
            curve: The curve of the run; None in a process that writes neither curve nor checkpoints.
            seconds: Least time between two checkpoints; a training that takes less has none.
            interrupted: When an earlier attempt showed its last sign of life, in seconds since the epoch.
        """
        self.about = ""
        """Identifies everything beside the run that could change its result: those of another are not used."""
        self.number = -1
        """Number of the current training."""
        self.enabled = folder is not None
        """Whether trainings have checkpoints; no longer once one cannot have any."""
        self._folder, self._curve, self._every, self._interrupted = folder, curve, seconds, interrupted
        self._began = time.monotonic()
        self._next = 0.0
        if folder is not None and curve is not None:
            for half in folder.glob(".*"):  # the process was killed while it wrote
                half.unlink()

    def begin(self, *, possible: bool) -> Saved | None:
        """Begin the next training; return the state in which an earlier attempt left it, if it is known.

        Args:
            possible: Whether the training can have checkpoints.
        """
        self.number += 1
        self._next = time.monotonic() + self._every
        self.enabled = self.enabled and possible
        found = self._read() if self.enabled else None
        if found is not None and self._curve is not None:
            self._curve.restart(found.state["curve"])
        return found

    def due(self) -> bool:
        """Return whether it is time for a checkpoint."""
        return self.enabled and (_asked is not None or time.monotonic() >= self._next)

    def worthwhile(self, device: torch.device) -> bool:
        """Return whether the end of a training is to be kept: one that is not kept is computed again, which must give the same weights."""
        return self.enabled and (device.type != "cpu" or self.due() or time.monotonic() - self._began >= self._every)

    def write(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> str | None:
        """Write the state of the current training; then the process ends if it was told to.

        Returns:
            Why it cannot be written: the run then goes on without checkpoints. None if it was written, or another process writes it.
        """
        failed = None
        if self._curve is not None:
            start = time.monotonic()
            text = json.dumps({**state, "curve": self._curve.events, "about": self.about, "time": time.time()})
            try:
                with replacing(self._path) as path:
                    save_file({name: _by_itself(tensor) for name, tensor in tensors.items()}, path, {"state": text})
            except (OSError, SafetensorError) as error:
                failed, self._next = " ".join(str(error).split()), math.inf
            else:
                self._next = time.monotonic() + max(self._every, _SHARE * (time.monotonic() - start))
        if _asked is not None:
            _end(_asked)
        return failed

    def lost(self, saved: Saved) -> float:
        """Return for how many seconds the earlier attempt went on after a checkpoint, as far as is known."""
        return max(0.0, (self._interrupted or 0.0) - float(saved.state["time"]))

    def forget(self) -> None:
        """Delete the checkpoints: the run has ended."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Let the process, if it is told to end, go on until the next checkpoint, which is then due."""
        global _may_wait  # noqa: PLW0603 - signals belong to the process
        before, _may_wait = _may_wait, self.enabled
        try:
            yield
        finally:
            _may_wait = before
            if _asked is not None:  # the training has failed meanwhile
                _end(_asked)

    @property
    def _path(self) -> Path:
        assert self._folder is not None
        return self._folder / f"{self.number}.safetensors"

    def _read(self) -> Saved | None:
        try:
            with safe_open(self._path, framework="pt") as file:
                state = json.loads(file.metadata()["state"])
                if state["about"] != self.about:
                    return None
                return Saved({name: file.get_tensor(name) for name in file.keys()}, state)  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError, KeyError, TypeError, ValueError):
            return None  # there is none, or it is damaged


def random_state() -> dict[str, Any]:
    """Return the state of all random number generators of this process, as JSON."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - the state of what libraries draw from
    version, words, gauss = random.getstate()
    return {
        "torch": _text(torch.get_rng_state()),
        "cuda": [_text(state) for state in torch.cuda.get_rng_state_all()] if torch.cuda.is_available() else [],
        "numpy": [name, np.asarray(keys).tolist(), *rest],
        "python": [version, list(words), gauss],
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Set the state of all random number generators of this process."""
    torch.set_rng_state(_bytes(state["torch"]))
    if state["cuda"]:
        torch.cuda.set_rng_state_all([_bytes(one) for one in state["cuda"]])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))


def listen() -> None:
    """Let a training write a checkpoint before this process ends by a signal; for processes that only compute runs."""
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, _told)


_asked: int | None = None
"""The signal that tells this process to end."""
_may_wait = False
"""Whether a training is under way that can write a checkpoint."""


def _told(number: int, _: FrameType | None) -> None:
    global _asked  # noqa: PLW0603 - signals belong to the process
    if not _may_wait or _asked is not None:
        _end(number)
    _asked = number


def _end(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _by_itself(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor on the CPU that shares its memory with no other one in the file."""
    found = tensor.detach().cpu().contiguous()
    return found if found.untyped_storage().nbytes() == found.nbytes else found.clone()


def _text(state: torch.Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _bytes(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
