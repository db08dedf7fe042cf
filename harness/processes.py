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
from pathlib import Path
from typing import Any

_COPYING = "forkserver"
_INTERRUPTED = 130
_BUSY = 0.5
"""Number of cores from which a machine counts as busy."""
_SPINS = "1000"
"""How often a thread looks for work before it sleeps, on a busy machine. Two threads of torch that wait for each other by
spinning take the core from what they wait for: with one busy neighbour on two cores, 100 steps of an encoder layer took 18 to
21 s by default (300,000 spins), 8.5 to 10 s with 0 to 1,000, and 45 to 50 s with 100,000; on a quiet machine 6.1 s by default,
6.9 s with 1,000 (AMD EPYC, AVX2)."""


def warm_process(modules: Sequence[str]) -> None:
    """Start the warm process, which imports modules in the background; do nothing if it is already running."""
    if _COPYING in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver

        multiprocessing.get_context(_COPYING).set_forkserver_preload(list(modules))
        with _waiting_policy(), _without_interrupts():
            forkserver.ensure_running()


def is_busy(seconds: float = 0.1) -> bool:
    """Return whether other processes keep the cores of this one busy; False if the system does not tell.

    Args:
        seconds: How long it is measured; the process sleeps.
    """
    before = _working_time()
    time.sleep(seconds)
    after = _working_time()
    total = sum(after[core][1] - before[core][1] for core in before if core in after)
    if not total:
        return False
    working = sum(after[core][0] - before[core][0] for core in before if core in after)
    return working / total * len(before) >= _BUSY


def _working_time() -> dict[int, tuple[int, int]]:
    """Return how long each core of this process has worked, and in total, in ticks."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    own = os.sched_getaffinity(0)
    found = {}
    for name, *ticks in (line.split() for line in lines):
        if name.startswith("cpu") and name != "cpu" and int(name[3:]) in own:
            numbers = [int(tick) for tick in ticks[:8]]
            found[int(name[3:])] = (
                sum(numbers) - numbers[3] - numbers[4],
                sum(numbers),
            )  # without idle and waiting for disks
    return found


@contextlib.contextmanager
def _waiting_policy() -> Iterator[None]:
    """Let the threads of processes that start now wait without taking a core, if the machine is busy."""
    name = "GOMP_SPINCOUNT"
    if name in os.environ or "OMP_WAIT_POLICY" in os.environ or not is_busy():
        yield
        return
    os.environ[name] = _SPINS
    try:
        yield
    finally:
        del os.environ[name]


def start_process(target: Callable[..., None], *args: Any) -> tuple[BaseProcess, Connection]:
    """Return a new process that calls `target(*args, connection)`, and the other end of that connection.

    Args:
        target: A function of an importable module. Unlike with multiprocessing, the user's script is not run again in
            the process, so it needs no `__main__` guard.
        args: Arguments that can be pickled.
    """
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context(_COPYING if _COPYING in methods else "spawn")
    here, there = context.Pipe()
    process: BaseProcess = context.Process(target=_begin, args=(target, *args, there))
    with _nameless_main():
        process.start()
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
