"""Runs as processes: each its own, started from a warm one, so that one that crashes takes nothing with it.

The warm process has torch and what the components need imported and has touched no device; a run's process is a copy of
it, made in a moment, whose memory peaks start at zero.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from harness.catalog import Catalog
from harness.engine.job import Job
from harness.errors import PrunedError
from harness.records import Failure, Outcome, Run
from harness.store import Store

Log = Callable[[Run, dict[str, Any]], str | None]
"""Told where a run is; returns why it need not go on, or None."""
Say = Callable[[Run, dict[str, Any] | None, Outcome | Failure | BaseException | None], None]
"""Told an event of a run, or what came of it."""
_GRACE_SECONDS = 5.0
_LISTEN_SECONDS = 0.2
"""Between looks at whether the command was interrupted."""


@dataclass(frozen=True)
class Launcher:
    """How runs are started on this machine."""

    results: Path
    without: tuple[str, ...] = ()
    processes: int = 1
    """Processes that share one run."""
    side_by_side: int = 1
    """Runs at a time: each has its share of the cores, or an accelerator of its own."""
    cpu: bool = False
    keep_models: bool = False
    deliver: Path | None = None
    """Where the model of the one run that is launched is written besides; nothing may be there yet."""
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
        """Compute runs; yields each with what came of it, as they end. One that `log` has a reason to end is pruned."""
        self.warm()
        if self.in_process:
            for run in runs:
                yield run, self._perform(run, log)
        else:
            yield from self._launch_all(runs, log)

    def _context(self) -> ForkServerContext:
        return multiprocessing.get_context("forkserver")

    def _perform(self, run: Run, log: Log) -> Outcome | Failure:
        from harness.engine.worker import perform

        assert self.in_process is not None

        def heed(event: dict[str, Any]) -> None:
            if reason := log(run, event):
                raise PrunedError(reason)

        return perform(self._job(run), self.in_process, heed)

    def _job(self, run: Run, rank: int = 0, port: int = 0, place: int = 0) -> Job:
        return Job(
            run,
            self.results,
            self.without,
            self.processes,
            rank,
            port,
            self.side_by_side,
            place,
            self.cpu,
            self.keep_models,
            self.deliver,
        )

    def _launch_all(self, runs: Iterable[Run], log: Log) -> Iterator[tuple[Run, Outcome | Failure]]:
        """Watch over each run in a thread of its own; everything is told from this one."""
        said: SimpleQueue[tuple[Run, Any, Any, int]] = SimpleQueue()
        stop, threads, waiting = Event(), list[Thread](), iter(runs)
        ends: dict[int, SimpleQueue[str]] = {}

        def start(place: int) -> int:
            for run in itertools.islice(waiting, 1):

                def say(run: Run, event: Any, result: Any) -> None:
                    said.put((run, event, result, place))

                ends[place] = SimpleQueue()
                threads.append(Thread(target=self._watch, args=(run, place, say, stop, ends[place])))
                threads[-1].start()
                return 1
            return 0

        try:
            going = sum(start(place) for place in range(self.side_by_side))
            while going:
                run, event, result, place = said.get()
                if event is not None:
                    if reason := log(run, event):
                        ends[place].put(reason)
                    continue
                if isinstance(result, BaseException):
                    raise result
                yield run, result
                going += start(place) - 1
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _watch(self, run: Run, place: int, say: Say, stop: Event, end: SimpleQueue[str]) -> None:
        try:
            say(run, None, self._launch(run, place, lambda event: say(run, event, None), stop, end))
        except BaseException as error:  # noqa: BLE001 - raised again where the command can hear it
            say(run, None, error)

    def _launch(
        self, run: Run, place: int, tell: Callable[[dict[str, Any]], None], stop: Event, end: SimpleQueue[str]
    ) -> Outcome | Failure:
        context = self._context()
        port = _free_port() if self.processes > 1 else 0
        jobs = [self._job(run, rank, port, place) for rank in range(self.processes)]
        pairs = [context.Pipe() for _ in jobs]
        workers = [
            context.Process(target=_start, args=(job, child)) for job, (_, child) in zip(jobs, pairs, strict=True)
        ]
        for worker, (_, child) in zip(workers, pairs, strict=True):
            worker.start()
            child.close()
        try:
            result = _follow(run, workers, [parent for parent, _ in pairs], tell, stop, end)
            if isinstance(result, Failure) and result.status == "pruned":
                for parent, _ in pairs:
                    parent.close()  # as a process hears this, it ends
        finally:
            _stop(workers)
        if isinstance(result, Failure):
            Store(self.results).fail(run, result)
        return result


def _follow(
    run: Run,
    workers: Sequence[ForkServerProcess],
    connections: Sequence[Connection],
    tell: Callable[[dict[str, Any]], None],
    stop: Event,
    end: SimpleQueue[str],
) -> Outcome | Failure:
    """Pass on what a run's processes say until the first has a result, any has failed, or it must end or the command stop."""
    cancelled = Failure(run_id=run.id, status="cancelled", reason="interrupted")
    leader = connections[0]
    listening = dict(zip(connections, workers, strict=True))
    while not stop.is_set():
        if not end.empty():
            return Failure(run_id=run.id, status="pruned", reason=end.get())
        for ready in wait(list(listening), timeout=_LISTEN_SECONDS):
            assert isinstance(ready, Connection)
            try:
                event, result = ready.recv()
            except (EOFError, OSError):
                worker = listening.pop(ready)
                worker.join()
                # An interrupt reaches the run's process too, and may end it before this one has heard of it.
                if stop.wait(_LISTEN_SECONDS):
                    return cancelled
                if ready is leader or worker.exitcode:
                    return _death(run, worker.exitcode)
                continue
            if event is not None:
                tell(event)
            elif ready is leader or isinstance(result, Failure):
                return result  # type: ignore[no-any-return]
    return cancelled


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
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _start(job: Job, connection: Connection) -> None:
    """Begin, in the new process."""
    from harness.engine.worker import work

    work(job, connection)
