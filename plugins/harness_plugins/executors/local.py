"""Runs as processes on this machine: each its own, so that one that crashes takes nothing with it.

A warm process has torch and what the components need imported and has touched no device; a run's process is a copy of it,
made in a moment, whose memory peaks start at zero. Where the system cannot copy processes, each starts afresh.
"""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from pydantic import Field, PositiveInt

import harness

Result = harness.Outcome | harness.Failure

_GRACE_SECONDS = 5.0
_CRASHES = {
    getattr(signal, name) for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL") if hasattr(signal, name)
}
"""Signals that a process brings upon itself."""
_LISTEN_SECONDS = 0.2
"""Between looks at whether the command was interrupted."""


class Local(harness.Executor):
    """Processes on this machine, one for each run or several; an accelerator each where there are any."""

    name = "local"
    default = True

    processes_per_run: PositiveInt = Field(1, description="processes that share one run")
    side_by_side: PositiveInt = Field(
        1, description="runs at a time, each on its share of the cores or on an accelerator of its own"
    )
    cpu: bool = Field(False, description="use the CPU only")

    @property
    def processes(self) -> int:
        """Processes that share one run."""
        return self.processes_per_run

    def prepare(self, modules: Sequence[str]) -> None:
        """Start the process that runs' processes are copied from; it imports in the background."""
        harness.warm_process(modules)

    def run(self, jobs: Iterator[harness.Job], host: harness.Host) -> Iterator[tuple[harness.Job, Result]]:
        """Compute jobs, `side_by_side` at a time, each watched by a thread; everything is told from this thread."""
        heard: SimpleQueue[tuple[_UnderWay, Any, Any]] = SimpleQueue()
        under_way: dict[int, _UnderWay] = {}
        try:
            for slot in range(self.side_by_side):
                self._start(jobs, slot, under_way, heard)
            while under_way:
                one, event, result = heard.get()
                if event is not None:
                    if reason := host.tell(one.job, event):
                        one.end.put(reason)
                    continue
                del under_way[one.slot]
                if isinstance(result, BaseException):
                    raise result
                yield one.job, result
                self._start(jobs, one.slot, under_way, heard)
        finally:
            for one in under_way.values():
                one.stop.set()
            for one in under_way.values():
                one.thread.join()

    def _start(
        self,
        jobs: Iterator[harness.Job],
        slot: int,
        under_way: "dict[int, _UnderWay]",
        heard: "SimpleQueue[tuple[_UnderWay, Any, Any]]",
    ) -> None:
        """Begin the next job, if there is one."""
        job = next(jobs, None)
        if job is None:
            return
        port = _free_port() if self.processes_per_run > 1 else 0
        places = [
            harness.Place(
                processes=self.processes_per_run, rank=rank, port=port, side_by_side=self.side_by_side, slot=slot,
                cpu=self.cpu,
            )
            for rank in range(self.processes_per_run)
        ]  # fmt: skip
        one = _UnderWay(job, slot, [harness.start_process(_work, job, place) for place in places])
        one.thread = Thread(target=one.watch, args=(lambda event, result: heard.put((one, event, result)),))
        under_way[slot] = one
        one.thread.start()


@dataclass
class _UnderWay:
    """A job that is being computed."""

    job: harness.Job
    slot: int
    workers: list[tuple[BaseProcess, Connection]]
    """The processes that share it, the first one first."""
    stop: Event = field(default_factory=Event)
    """Set when the command is to end."""
    end: "SimpleQueue[str]" = field(default_factory=SimpleQueue)
    """Has the reason why the job is to end."""
    thread: Thread = field(default_factory=Thread)

    def watch(self, say: Callable[[dict[str, Any] | None, Result | BaseException | None], None]) -> None:
        """Say every event, and then what came of the job."""
        killed = _killed_for_memory()
        try:
            result = self._follow(say)
            if isinstance(result, harness.Failure) and result.status == "pruned":
                for _, connection in self.workers:
                    connection.close()  # as a process hears this, it ends
            _see_end(process for process, _ in self.workers)
            if isinstance(result, _Death):
                result = self._explained(result, for_memory=killed != _killed_for_memory())
            say(None, result)
        except BaseException as error:  # noqa: BLE001 - raised again where the command can hear it
            _see_end(process for process, _ in self.workers)
            say(None, error)

    def _follow(self, say: Callable[[dict[str, Any] | None, None], None]) -> "Result | _Death":
        """Pass on what the processes say until the first has a result, any has failed, or the job or the command must end."""
        cancelled = harness.Failure(run_id=self.job.run.id, status="cancelled", reason="interrupted")
        leader = self.workers[0][1]
        listening = {connection: process for process, connection in self.workers}
        while not self.stop.is_set():
            if not self.end.empty():
                return harness.Failure(run_id=self.job.run.id, status="pruned", reason=self.end.get())
            for ready in wait(list(listening), timeout=_LISTEN_SECONDS):
                assert isinstance(ready, Connection)
                try:
                    event, result = ready.recv()
                except (EOFError, OSError):
                    process = listening.pop(ready)
                    process.join()
                    # An interrupt reaches the run's process too, and may end it before this one has heard of it.
                    if self.stop.wait(_LISTEN_SECONDS):
                        return cancelled
                    if ready is leader or process.exitcode:
                        return _Death(process.exitcode or 0)
                    continue
                if event is not None:
                    say(event, None)
                elif ready is leader or isinstance(result, harness.Failure):
                    return result  # type: ignore[no-any-return]
        return cancelled

    def _explained(self, death: "_Death", *, for_memory: bool) -> harness.Failure:
        """Return the failure of a run whose process ended without a word."""
        if death.exit_code == -getattr(signal, "SIGKILL", 0) and for_memory:
            status, reason = "out of memory", "the system killed the process because memory ran out"
        elif death.exit_code < 0:
            name = signal.Signals(-death.exit_code).name
            status = "failed" if -death.exit_code in _CRASHES else "lost"
            reason = f"its process {'crashed' if status == 'failed' else 'was ended from outside'} ({name})"
        else:
            status, reason = "failed", f"its process ended without a result (exit code {death.exit_code})"
        return harness.Failure.model_validate({"run_id": self.job.run.id, "status": status, "reason": reason})


@dataclass(frozen=True)
class _Death:
    """A process ended without a word."""

    exit_code: int


def _work(job: harness.Job, place: harness.Place, connection: Connection) -> None:
    """Compute, in the new process: sends `(event, None)` on the way and `(None, result)` at the end."""
    threading.Thread(target=_die_with_parent, args=(connection,), daemon=True).start()

    def tell(event: dict[str, Any]) -> None:
        if place.rank == 0:
            connection.send((event, None))

    connection.send((None, harness.compute(job, tell, place)))
    connection.close()


def _die_with_parent(connection: Connection) -> None:
    """End this process when the command is gone, so that no run goes on that nobody waits for."""
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)


def _see_end(processes: Iterator[BaseProcess]) -> None:
    """See processes end, by force where they do not do so by themselves."""
    for process in processes:
        process.join(timeout=_GRACE_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


def _killed_for_memory() -> int | None:
    """Return how many processes the system has killed because memory ran out; None where it does not tell."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@harness.hookimpl
def harness_executors() -> list[type[harness.Executor]]:
    """Offer the executor."""
    return [Local]
