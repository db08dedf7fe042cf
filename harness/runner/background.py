"""Computing a comparison in the background: by a process of its own, which other commands can follow.

results/background/NAME-DIGEST/
    log        what the process writes to standard error
    ended      how many runs failed; missing while it computes, and if it did not come to its end
    lock       held while it computes
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from filelock import FileLock, Timeout

from harness.errors import HarnessError
from harness.experiment.plan import Plan
from harness.records import digest
from harness.store import Store, file_name, write_atomically

_FOLDER, _MINE = "background", "HARNESS_BACKGROUND"
"""The environment variable names the folder of the process that it is set for."""
_LOOK_SECONDS = 0.2
_started: list[subprocess.Popen[bytes]] = []
"""Kept, because Python warns about a process that outlives its object."""


class Background:
    """The process that computes a plan, if there is one."""

    def __init__(self, plan: Plan, store: Store) -> None:
        """Start and follow nothing yet."""
        key = digest(plan.model_dump(mode="json"))[:8]
        folder = store.root.absolute() / _FOLDER / f"{file_name(plan.name)}-{key}"
        self.log, self._ended, self._lock = folder / "log", folder / "ended", folder / "lock"
        self._name, self._is_mine = plan.name, os.environ.get(_MINE) == str(folder)

    def start(self, arguments: Sequence[str]) -> int:
        """Start `harness` with these arguments in the background; return its process id as soon as it computes.

        Raises:
            HarnessError: A process computes the plan already, or this one ended before it computed.
        """
        if self._is_held():
            message = f"{self._name} is computed in the background already: follow it by the command without --detach"
            raise HarnessError(message)
        self._ended.unlink(missing_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - this command itself
                [sys.executable, "-m", "harness", *arguments],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True,
                env=os.environ | {_MINE: str(self.log.parent)},
            )  # fmt: skip
        _started.append(process)
        while process.poll() is None and not self._is_held():
            time.sleep(_LOOK_SECONDS)
        if process.poll() and not self._ended.exists():
            said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            message = (said or [f"the process in the background ended with status {process.returncode}"])[-1]
            raise HarnessError(message.removeprefix("error: "))
        return process.pid

    @contextmanager
    def held(self) -> Iterator[Callable[[int], None]]:
        """Let other commands see that this process computes the plan, if it is the one in the background.

        Yields a function to call, with the number of failed runs, when all is computed.
        """
        if not self._is_mine:
            yield lambda _: None
            return
        with FileLock(self._lock):
            yield lambda failed: write_atomically(self._ended, f"{failed}\n")

    def follow(self, write: Callable[[str], object]) -> int | None:
        """Write the log of the process in the background until it ends.

        Returns:
            How many runs failed; None if there is no such process, or it did not come to its end.
        """
        if self._is_mine or not self._is_held():
            return None
        with self.log.open(encoding="utf-8", errors="replace") as log:
            while self._is_held():
                write(log.read())
                time.sleep(_LOOK_SECONDS)
            write(log.read())
        return int(self._ended.read_text(encoding="utf-8")) if self._ended.exists() else None

    def _is_held(self) -> bool:
        if not self._lock.exists():
            return False
        try:
            FileLock(self._lock).acquire(timeout=0).lock.release()
        except Timeout:
            return True
        return False
