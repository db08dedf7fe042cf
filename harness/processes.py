"""Processes forked from a warm one, which has imported slow modules but used no device, if the system supports it."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

_COPYING = "forkserver"


def warm_process(modules: Sequence[str]) -> None:
    """Start the warm process, which imports modules in the background; do nothing if it is already running."""
    if _COPYING in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver

        multiprocessing.get_context(_COPYING).set_forkserver_preload(list(modules))
        forkserver.ensure_running()


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
    process: BaseProcess = context.Process(target=target, args=(*args, there))
    with _nameless_main():
        process.start()
    there.close()
    return process, here


@contextlib.contextmanager
def _nameless_main() -> Iterator[None]:
    """Hide the file of the main module, so that multiprocessing does not import it in the new process."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
