"""Executes runs on a Ray cluster.

An actor per device keeps a process that has its libraries imported, and forks each run from it. (A task for each run would
begin in a new process each time, and spend more time on imports than small runs take.)
"""

import contextlib
import itertools
import logging
import socket
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, ClassVar

from pydantic import Field, PositiveInt

import harness
from harness_plugins.executors.local import Local

Result = harness.Outcome | harness.Failure

_NEWS_SECONDS = 1.0
"""How long a worker collects events before it passes them on."""
_CONNECT_SECONDS = 10.0
_LAST = "outcome.json"
"""The file that says that all others of a run are complete."""


class Ray(harness.Executor):
    """On a Ray cluster, an actor per device; results travel by themselves where no folder is shared."""

    name = "ray"
    imports: ClassVar[tuple[str, ...]] = ("ray",)
    install = "pip install 'finetune-harness[ray]'"

    address: str = Field("auto", description="address of the cluster; local: start one on this machine, to try it out")
    workers: PositiveInt | None = Field(
        None, description="number of actors; blank: as many as the cluster has room for"
    )
    gpus: float = Field(1.0, ge=0, description="GPUs per actor, which may be a fraction; 0 for the CPU")
    cpus: float = Field(1.0, gt=0, description="CPU cores per actor")
    cpu: bool = Field(False, description="use the CPU only")

    def run(self, jobs: Iterator[harness.Job], host: harness.Host) -> Iterator[tuple[harness.Job, Result]]:
        """Hand jobs to actors and follow their progress.

        Raises:
            HarnessError: There is no cluster, or none with such a device, or a node has other versions.
        """
        import ray

        first = next(jobs, None)
        if first is None:
            return
        mine = not ray.is_initialized()
        if mine:
            self._connect()
        token = first.results / "cache" / f"ray-{uuid.uuid4().hex[:12]}"
        token.parent.mkdir(parents=True, exist_ok=True)
        token.touch()
        try:
            yield from self._compute(itertools.chain([first], jobs), host, token)
        finally:
            token.unlink(missing_ok=True)
            if mine:
                ray.shutdown()

    def _compute(
        self, jobs: Iterator[harness.Job], host: harness.Host, token: Path
    ) -> Iterator[tuple[harness.Job, Result]]:
        import ray

        gpus = 0.0 if self.cpu else self.gpus
        # Besides the run, an actor is asked for news, and told to stop.
        create = ray.remote(num_cpus=self.cpus, num_gpus=gpus, max_concurrency=3)(Worker)
        room, versions = self._room(gpus), harness.versions()
        free: list[Any] = []
        open_: list[_UnderWay] = []
        try:
            while True:
                while len(open_) < room and (job := next(jobs, None)) is not None:
                    actor = free.pop() if free else create.remote(cpu=gpus == 0)
                    answer = actor.compute.remote(job.model_dump_json(), str(token), versions)
                    open_.append(_UnderWay(job, actor, answer, actor.news.remote()))
                if not open_:
                    return
                waited = {ref: one for one in open_ for ref in (one.answer, one.news) if ref is not None}
                ((ready, *_), _) = ray.wait(list(waited), num_returns=1)
                one = waited[ready]
                if ready == one.news:
                    one.pass_on(host)
                    continue
                open_.remove(one)
                result = one.result()
                if isinstance(result, harness.Failure) and result.status == "lost":
                    ray.kill(one.actor)
                else:
                    free.append(one.actor)
                yield one.job, result
        finally:
            for actor in (*free, *(one.actor for one in open_)):
                ray.kill(actor)

    def _connect(self) -> None:
        import ray

        try:
            host, _, port = self.address.rpartition(":")
            if port.isdecimal():  # Ray itself would try for minutes, and then end the process without a word
                socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
            ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)
        except OSError:
            raise harness.HarnessError(
                f"executor 'ray': no cluster at {self.address!r}: start one with `ray start --head`, give its address "
                "(ray:address=HOST:PORT), or try --executor ray:address=local"
            ) from None

    def _room(self, gpus: float) -> int:
        """Return how many actors to use.

        Raises:
            HarnessError: The cluster has room for none.
        """
        import ray

        has = ray.cluster_resources()
        name, share = ("GPU", gpus) if gpus else ("CPU", self.cpus)
        room = int(has.get(name, 0) / share + 1e-9)
        if not room:
            more = ": use --cpu for the CPU" if gpus else ""
            raise harness.HarnessError(
                f"executor 'ray': the cluster has {has.get(name, 0):g} {name}s, and a run needs {share:g}{more}"
            )
        return min(room, self.workers or room)


@dataclass(eq=False)
class _UnderWay:
    """A job that an actor computes."""

    job: harness.Job
    actor: Any
    answer: Any
    """Reference to its result."""
    news: Any
    """Reference to its next events; None if the actor is lost."""

    def pass_on(self, host: harness.Host) -> None:
        """Report the news, and ask for more."""
        import ray

        try:
            for event in ray.get(self.news):
                if reason := host.tell(self.job, event):
                    self.actor.stop.remote(reason)
            self.news = self.actor.news.remote()
        except ray.exceptions.RayActorError:
            self.news = None  # the result says so as well

    def result(self) -> Result:
        """Return the result, and write its files if they came with it.

        Raises:
            HarnessError: The node has other versions.
        """
        import ray

        try:
            text, files = ray.get(self.answer)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, harness.HarnessError):
                raise harness.HarnessError(str(error.cause)) from None
            raise
        except ray.exceptions.RayError as error:
            reason = f"its actor was lost: {' '.join(str(error).split())[:200]}"
            return harness.Failure(run_id=self.job.run.id, status="lost", reason=reason)
        for name in sorted(files, key=lambda name: name.endswith(_LAST)):
            path = self.job.results / name
            path.parent.mkdir(parents=True, exist_ok=True)
            passing = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
            passing.write_bytes(files[name])
            passing.rename(path)
        return harness.parse_result(text)


class Worker:
    """What an actor does."""

    def __init__(self, *, cpu: bool) -> None:
        """Begin to import what runs need."""
        self._local = Local(cpu=cpu)
        self._local.prepare([])
        self._listener = _Listener()

    def compute(self, text: str, token: str, versions: dict[str, str]) -> tuple[str, dict[str, bytes]]:
        """Compute a job; return its result, and its files if the results folder is not that of the command.

        Args:
            text: The job, as JSON.
            token: A file that is where the command's results folder is.
            versions: Those of the command's machine.

        Raises:
            HarnessError: This machine has others.
        """
        if apart := [f"{name} {found}" for name, found in harness.versions().items() if versions.get(name) != found]:
            raise harness.HarnessError(
                f"{socket.gethostname()} has {', '.join(apart)}: install the versions of the command's machine on all nodes"
            )
        self._listener = _Listener()
        job = harness.Job.model_validate_json(text)
        if Path(token).exists():
            return self._result(job).model_dump_json(), {}
        with tempfile.TemporaryDirectory() as folder:
            there = job.model_copy(update={"results": Path(folder) / "results"})
            result = self._result(there)
            runs = sorted(path for path in (there.results / "runs").rglob("*") if path.is_file())
            return result.model_dump_json(), {str(path.relative_to(there.results)): path.read_bytes() for path in runs}

    def news(self) -> list[dict[str, Any]]:
        """Return the events since the last call; waits for one for a moment."""
        return self._listener.news()

    def stop(self, reason: str) -> None:
        """End the run in hand early."""
        self._listener.reason = reason

    def _result(self, job: harness.Job) -> Result:
        ((_, result),) = self._local.run(iter([job]), self._listener)
        return result


class _Listener:
    """What hears the progress of a run in its actor."""

    def __init__(self) -> None:
        self.reason: str | None = None
        """Why the run is to end early."""
        self._events: SimpleQueue[dict[str, Any]] = SimpleQueue()

    def news(self) -> list[dict[str, Any]]:
        """Return the events since the last call; wait for one for a moment."""
        found = []
        with contextlib.suppress(Empty):
            found.append(self._events.get(timeout=_NEWS_SECONDS))
            while True:
                found.append(self._events.get_nowait())
        return found

    def tell(self, job: harness.Job, event: dict[str, Any]) -> str | None:
        """Keep an event until it is asked for; return why the run is to end early, or None."""
        del job
        self._events.put(event)
        return self.reason

    def compute(self, job: harness.Job, *, cpu: bool = False) -> Result:
        """Compute a job in this process."""
        return harness.compute(job, place=harness.Place(cpu=cpu))


@harness.hookimpl
def harness_executors() -> list[type[harness.Executor]]:
    """Register the executor."""
    return [Ray]
