"""Runs as processes: each its own, started from a warm one, so that one that crashes takes nothing with it.

The warm process has torch and what the components need imported and has touched no device; a run's process is a copy of
it, made in a moment, whose memory peaks start at zero.
"""

from __future__ import annotations

import multiprocessing
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from harness.catalog import Catalog
from harness.engine.job import Job
from harness.records import Failure, Outcome, Run
from harness.store import Store

Log = Callable[[Run, dict[str, Any]], None]
_GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Launcher:
    """How runs are started on this machine."""

    results: Path
    without: tuple[str, ...] = ()
    processes: int = 1
    """Processes that share one run."""
    cpu: bool = False
    keep_models: bool = False
    imports: tuple[str, ...] = ()
    """Slow modules to import once, before the first run."""
    in_process: Catalog | None = None
    """Compute here, with these components, and not in processes of their own: for a debugger, and for tests."""

    def warm(self) -> None:
        """Start the process that runs are copied from; it gets ready in the background."""
        if self.in_process is None:
            self._context().set_forkserver_preload(["harness.engine.worker", *self.imports])
            forkserver.ensure_running()

    def launch(self, runs: Iterable[Run], log: Log) -> Iterator[tuple[Run, Outcome | Failure]]:
        """Compute runs one after another; yields each with what came of it."""
        self.warm()
        for run in runs:
            yield run, self._perform(run, log) if self.in_process else self._launch(run, log)

    def _context(self) -> ForkServerContext:
        return multiprocessing.get_context("forkserver")

    def _perform(self, run: Run, log: Log) -> Outcome | Failure:
        from harness.engine.worker import perform

        assert self.in_process is not None
        return perform(self._job(run), self.in_process, lambda event: log(run, event))

    def _job(self, run: Run, rank: int = 0, port: int = 0) -> Job:
        return Job(run, self.results, self.without, self.processes, rank, port, self.cpu, self.keep_models)

    def _launch(self, run: Run, log: Log) -> Outcome | Failure:
        context = self._context()
        port = _free_port() if self.processes > 1 else 0
        jobs = [self._job(run, rank, port) for rank in range(self.processes)]
        pairs = [context.Pipe() for _ in jobs]
        workers = [
            context.Process(target=_start, args=(job, child)) for job, (_, child) in zip(jobs, pairs, strict=True)
        ]
        for worker, (_, child) in zip(workers, pairs, strict=True):
            worker.start()
            child.close()
        try:
            result = _follow(run, workers, [parent for parent, _ in pairs], log)
        except KeyboardInterrupt:
            Store(self.results).fail(run, Failure(run_id=run.id, status="cancelled", reason="interrupted"))
            raise
        finally:
            _stop(workers)
        if isinstance(result, Failure):
            Store(self.results).fail(run, result)
        return result


def _follow(
    run: Run, workers: Sequence[ForkServerProcess], connections: Sequence[Connection], log: Log
) -> Outcome | Failure:
    """Pass on what the processes of a run say until the first has a result or any has failed."""
    leader = connections[0]
    listening = dict(zip(connections, workers, strict=True))
    while True:
        for ready in wait(list(listening)):
            assert isinstance(ready, Connection)
            try:
                event, result = ready.recv()
            except (EOFError, OSError):
                worker = listening.pop(ready)
                worker.join()
                if ready is leader or worker.exitcode:
                    return _death(run, worker.exitcode)
                continue
            if event is not None:
                log(run, event)
            elif ready is leader or isinstance(result, Failure):
                return result  # type: ignore[no-any-return]


def _death(run: Run, exit_code: int | None) -> Failure:
    """Return the failure of a run whose process ended without a word."""
    if exit_code == -signal.SIGKILL:
        reason = "the system killed the process (signal 9), as it does when memory runs out"
        return Failure(run_id=run.id, status="out of memory", reason=reason)
    return Failure(run_id=run.id, status="failed", reason=f"the process ended without a result (exit code {exit_code})")


def _stop(workers: Sequence[ForkServerProcess]) -> None:
    """See the processes end, by force where they do not do so by themselves."""
    for worker in workers:
        worker.join(timeout=_GRACE_SECONDS)
        if worker.is_alive():
            worker.kill()
            worker.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(job: Job, connection: Connection) -> None:
    """Begin, in the new process."""
    from harness.engine.worker import work

    work(job, connection)
