"""Processes forked from a warm one, which has imported slow modules but used no device, if the system supports it."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

    import psutil

_COPYING = "forkserver"
_INTERRUPTED = 130
_BUSY = 0.5
"""Number of cores from which a machine counts as busy."""
_SPINS = "1000"
"""How often a thread looks for work before it sleeps, on a busy machine. Two threads of torch that wait for each other by
spinning take the core from what they wait for: with one busy neighbour on two cores, 100 steps of an encoder layer took 18 to
21 s by default (300,000 spins), 8.5 to 10 s with 0 to 1,000, and 45 to 50 s with 100,000; on a quiet machine 6.1 s by default,
6.9 s with 1,000 (AMD EPYC, AVX2)."""
_SURE_SECONDS = 0.5
"""How long the load is measured before the warm process is ended for it, which costs the next run the imports."""
_LEAST_SECONDS = 60.0
"""Age from which the warm process may be ended: the imports, some 5 s, then cost less than waiting wrongly."""


def warm_process(modules: Sequence[str]) -> None:
    """Start the warm process, which imports modules in the background; do nothing if it is already running."""
    if _COPYING in multiprocessing.get_all_start_methods():
        multiprocessing.get_context(_COPYING).set_forkserver_preload(list(modules))
        _warm.start()


def is_busy(seconds: float = 0.1) -> bool:
    """Return whether other processes keep the cores of this one busy.

    Args:
        seconds: How long it is measured; the process sleeps.
    """
    import psutil

    used = psutil.cpu_percent(seconds, percpu=True)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(used))
    return sum(used[core] for core in cores if core < len(used)) / 100 >= _BUSY


class _Warm:
    """The warm process, whose copies wait for each other as it was started: patiently, if the machine was busy then."""

    def __init__(self) -> None:
        self._patient = False
        self._started: float | None = None
        self._process: psutil.Process | None = None

    def start(self) -> None:
        """Start it, unless it is running."""
        from multiprocessing import forkserver

        if self._started is None:
            self._patient, self._started = may_choose() and is_busy(), time.monotonic()
        with _spinning(_SPINS if self._patient else None), _without_interrupts():
            forkserver.ensure_running()

    def follow_load(self) -> None:
        """End it if the load of the machine has changed since it was started, so that another is started when needed."""
        if self._process is None or self._started is None or not may_choose() or not hasattr(os, "waitid"):
            return
        if time.monotonic() - self._started < _LEAST_SECONDS or self._has_copies(self._process):
            return
        if is_busy() == self._patient or is_busy(_SURE_SECONDS) == self._patient or not self._process.is_running():
            return
        self._process.kill()
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)  # multiprocessing finds out itself
        self._process = self._started = None
        self.start()

    @staticmethod
    def _has_copies(process: psutil.Process) -> bool:
        """Return whether copies run; `multiprocessing.active_children` would read the exit codes that other threads wait for."""
        import psutil

        try:
            return bool(process.children())
        except psutil.NoSuchProcess:
            return False

    def copied_as(self, child: BaseProcess) -> None:
        """Note a copy, by which the warm process is found."""
        import psutil

        if self._process is None or not self._process.is_running():
            with contextlib.suppress(psutil.NoSuchProcess):
                self._process = psutil.Process(child.pid).parent()


_warm = _Warm()


def may_choose() -> bool:
    """Return whether the user leaves it to us how threads wait."""
    return "GOMP_SPINCOUNT" not in os.environ and "OMP_WAIT_POLICY" not in os.environ


@contextlib.contextmanager
def _spinning(spins: str | None) -> Iterator[None]:
    """Let the threads of processes that start now look for work so often before they sleep; None for the library's default."""
    if spins is None:
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = spins
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


def start_process(target: Callable[..., None], *args: Any) -> tuple[BaseProcess, Connection]:
    """Return a new process that calls `target(*args, connection)`, and the other end of that connection.

    Args:
        target: A function of an importable module. Unlike with multiprocessing, the user's script is not run again in
            the process, so it needs no `__main__` guard.
        args: Arguments that can be pickled.
    """
    copying = _COPYING in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context(_COPYING if copying else "spawn")
    here, there = context.Pipe()
    process: BaseProcess = context.Process(target=_begin, args=(target, *args, there))
    if copying:
        _warm.follow_load()
    with _nameless_main(), _interrupts_later():
        process.start()
    if copying:
        _warm.copied_as(process)
    there.close()
    return process, here


def _begin(target: Callable[..., None], *args: Any) -> None:
    """Call the target of a process, which can be interrupted again; it ends silently if the command has ended."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.freeze()  # a collection of garbage, of which each training makes one, need not walk through what is imported
    try:
        target(*args)
    except (KeyboardInterrupt, BrokenPipeError):
        raise SystemExit(_INTERRUPTED) from None


@contextlib.contextmanager
def _interrupts_later() -> Iterator[None]:
    """Let Ctrl-C take effect at the end: the warm process prints a traceback and ends if it is asked for half a process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    came: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came and callable(before):
        before(*came[0])


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let a process that starts now ignore Ctrl-C, which the terminal sends to all: it would print a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can choose
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _nameless_main() -> Iterator[None]:
    """Hide the file of the main module, so that multiprocessing does not import it in the new process."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
