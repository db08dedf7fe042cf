"""Executes each run in its own process on this machine, so that a crash affects no other run.

A warm process has imported torch and the components' modules and has not touched any device. Each run's process is
forked from it, which is fast, and its peak memory starts at zero. Where the system cannot fork, each process starts
from scratch.
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
from typing import Any, Self

from pydantic import Field, PositiveInt, model_validator

import harness

Result = harness.Outcome | harness.Failure

_GRACE_SECONDS = 5.0
_CRASHES = {
    getattr(signal, name) for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL") if hasattr(signal, name)
}
"""Signals that mean the process itself crashed."""
_LISTEN_SECONDS = 0.2
"""Interval between checks for an interrupt of the command."""


class Local(harness.Executor):
    """In separate processes on this machine, one or more per run; each uses one accelerator if there are any."""

    name = "local"
    default = True

    processes_per_run: PositiveInt = Field(1, description="number of processes per run")
    side_by_side: PositiveInt = Field(
        1, description="runs executed at the same time, each on its share of the cores or on its own accelerator"
    )
    cpu: bool = Field(False, description="use the CPU only")
    shard: bool = Field(
        False,
        description="let the processes of a run share its weights, gradients and optimizer state while they train",
    )

    @model_validator(mode="after")
    def _several(self) -> Self:
        if self.shard and self.processes_per_run == 1:
            message = "to share a model, a run needs several processes: --processes-per-run 2 or more"
            raise ValueError(message)
        return self

    @property
    def processes(self) -> int:
        """Number of processes per run."""
        return self.processes_per_run

    @property
    def shards(self) -> bool:
        """Whether they share its model."""
        return self.shard

    def prepare(self, modules: Sequence[str]) -> None:
        """Start the process that run processes are forked from; it imports modules in the background."""
        harness.warm_process(modules)

    def run(self, jobs: Iterator[harness.Job], host: harness.Host) -> Iterator[tuple[harness.Job, Result]]:
        """Compute jobs, `side_by_side` at a time, each watched by a thread; this thread reports all events."""
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
        """Start the next job, if any."""
        job = next(jobs, None)
        if job is None:
            return
        port = _free_port() if self.processes_per_run > 1 else 0
        places = [
            harness.Place(
                processes=self.processes_per_run, rank=rank, port=port, side_by_side=self.side_by_side, slot=slot,
                cpu=self.cpu, shard=self.shard,
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
    """The processes of the job, rank 0 first."""
    stop: Event = field(default_factory=Event)
    """Set when the command must stop."""
    end: "SimpleQueue[str]" = field(default_factory=SimpleQueue)
    """Holds the reason to stop the job early."""
    thread: Thread = field(default_factory=Thread)

    def watch(self, say: Callable[[dict[str, Any] | None, Result | BaseException | None], None]) -> None:
        """Report every event, then the result of the job."""
        killed = _killed_for_memory()
        try:
            result = self._follow(say)
            if isinstance(result, harness.Failure) and result.status == "pruned":
                for _, connection in self.workers:
                    connection.close()  # the process ends when its connection closes
            _see_end(process for process, _ in self.workers)
            if isinstance(result, _Death):
                result = self._explained(result, for_memory=killed != _killed_for_memory())
            say(None, result)
        except BaseException as error:  # noqa: BLE001 - raised again where the command can hear it
            _see_end(process for process, _ in self.workers)
            say(None, error)

    def _follow(self, say: Callable[[dict[str, Any] | None, None], None]) -> "Result | _Death":
        """Forward events until rank 0 has a result, a process has failed, or the job or the command must stop."""
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
                    # An interrupt also reaches the run's process and may end it before this process notices.
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
        """Return the failure of a run whose process ended without a result."""
        if death.exit_code == -getattr(signal, "SIGKILL", 0) and for_memory:
            status, reason = "out of memory", "the system killed the process because it ran out of memory"
        elif death.exit_code < 0:
            name = signal.Signals(-death.exit_code).name
            status = "failed" if -death.exit_code in _CRASHES else "lost"
            reason = f"its process {'crashed' if status == 'failed' else 'was killed from outside'} ({name})"
        else:
            status, reason = "failed", f"its process ended without a result (exit code {death.exit_code})"
        return harness.Failure.model_validate({"run_id": self.job.run.id, "status": status, "reason": reason})


@dataclass(frozen=True)
class _Death:
    """A process ended without a result."""

    exit_code: int


def _work(job: harness.Job, place: harness.Place, connection: Connection) -> None:
    """Compute the job in the new process; send `(event, None)` for events and `(None, result)` at the end."""
    threading.Thread(target=_die_with_parent, args=(connection,), daemon=True).start()

    def tell(event: dict[str, Any]) -> None:
        if place.rank == 0:
            connection.send((event, None))

    connection.send((None, harness.compute(job, tell, place)))
    connection.close()


def _die_with_parent(connection: Connection) -> None:
    """End this process when the command is gone, so that no orphaned run continues."""
    try:
        connection.recv()
    except (EOFError, OSError):
        os._exit(1)


def _see_end(processes: Iterator[BaseProcess]) -> None:
    """Wait for processes to end; kill those that do not."""
    for process in processes:
        process.join(timeout=_GRACE_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


def _killed_for_memory() -> int | None:
    """Return how many processes the system has killed for lack of memory; None if unknown."""
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
    """Register the executor."""
    return [Local]
