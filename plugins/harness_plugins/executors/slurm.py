"""Executes runs in Slurm jobs, by submitit.

Each job is a worker: it takes runs from a folder that it shares with the command, and computes each in a process forked
from one that has its libraries imported, until none is left. So a grid of a hundred runs waits in the queue and imports
torch as often as there are workers, not as often as there are runs. A job that Slurm requeues takes up the runs it had.
"""

import getpass
import logging
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt

import harness
from harness_plugins.executors._spool import Spool
from harness_plugins.executors.local import Local

Result = harness.Outcome | harness.Failure

_LOOK_SECONDS = 0.5
"""How often the command looks for events and results."""
_ASK_SECONDS = 10.0
"""How often it asks Slurm which jobs there still are."""
_GONE = "GONE"
_LINES = 5
"""How much of a worker's log an error shows."""


class Slurm(harness.Executor):
    """In Slurm jobs that share the results folder; each computes runs on its device until none is left."""

    name = "slurm"
    imports: ClassVar[tuple[str, ...]] = ("submitit",)
    install = "pip install 'finetune-harness[slurm]'"

    workers: PositiveInt = Field(1, description="number of Slurm jobs, each with its own device")
    partition: str | None = Field(None, description="partition; blank: the cluster's default")
    account: str | None = Field(None, description="account that is charged; blank: the user's default")
    qos: str | None = Field(None, description="quality of service; blank: the default")
    constraint: str | None = Field(None, description="features that a node must have, such as a100")
    gpus: int = Field(1, ge=0, description="GPUs per job; 0 for the CPU")
    cpus: PositiveInt = Field(4, description="CPU cores per job")
    memory: float | None = Field(None, gt=0, description="memory per job in GB; blank: the partition's default")
    minutes: PositiveInt = Field(240, description="time limit of a job; a job that reaches it is queued again")
    setup: str | None = Field(None, description="shell command that each job begins with, such as module load cuda")
    cluster: Literal["slurm", "local"] = Field("slurm", description="local: processes on this machine, to try it out")
    cpu: bool = Field(False, description="use the CPU only")

    def run(self, jobs: Iterator[harness.Job], host: harness.Host) -> Iterator[tuple[harness.Job, Result]]:
        """Submit the workers, hand them jobs, and follow their progress; the Slurm jobs are cancelled if this is stopped.

        Raises:
            HarnessError: Slurm is not installed, it refuses the jobs, or all of them have ended.
        """
        first = next(jobs, None)
        if first is None:
            return
        spool = Spool(first.results / "cache" / "slurm" / uuid.uuid4().hex[:12])
        spool.create()
        spool.add(first)
        open_, done = {first.run.id: first}, False
        try:
            workers = self._submit(spool)
        except harness.HarnessError:
            shutil.rmtree(spool.folder, ignore_errors=True)
            raise
        try:
            while open_ or not done:
                while not done and len(open_) < self.workers:
                    job = next(jobs, None)
                    if job is None:
                        done = True
                        break
                    open_[job.run.id] = job
                    spool.add(job)
                for job, result in self._heard(list(open_.values()), spool, host, workers):
                    del open_[job.run.id]
                    yield job, result
                time.sleep(_LOOK_SECONDS)
            workers.unneeded()
        finally:
            spool.close()
            workers.end()
        shutil.rmtree(spool.folder, ignore_errors=True)

    def _heard(
        self, open_: list[harness.Job], spool: Spool, host: harness.Host, workers: "_Workers"
    ) -> Iterator[tuple[harness.Job, Result]]:
        """Pass on the news of the open jobs; yield those that have ended, with their results."""
        states = workers.ask()
        gone = [name for name, state in states.items() if state == _GONE]
        for name, state in states.items():
            if state == "PENDING":
                spool.give_back(name)  # it is queued again: others need not wait for it
        for job in open_:
            for event in spool.events(job):
                if reason := host.tell(job, event):
                    spool.stop(job, reason)
            result = spool.result(job)
            holder = next((name for name in gone if job.run.id in spool.taken_by(name)), None)
            if result is None and holder is not None:
                spool.take_back(job)
                reason = f"Slurm job {holder} ended without a result"
                result = harness.Failure(run_id=job.run.id, status="lost", reason=reason)
            if result is not None:
                yield job, result
        if refusals := spool.refusals():
            raise harness.HarnessError(refusals[0])
        if gone and len(gone) == self.workers:
            raise harness.HarnessError(f"all Slurm jobs have ended, and runs are left; {workers.last_words()}")
        spool.breathe()

    def _submit(self, spool: Spool) -> "_Workers":
        import submitit

        # Where Slurm keeps no accounts, submitit warns at every look.
        logging.getLogger("submitit").setLevel(logging.ERROR)
        if self.cluster == "slurm" and shutil.which("sbatch") is None:
            raise harness.HarnessError(
                "executor 'slurm': there is no sbatch on this machine: run the command where jobs are submitted, or try "
                "--executor slurm:cluster=local"
            )
        executor = submitit.AutoExecutor(folder=spool.folder / "log", cluster=self.cluster)
        asked: dict[str, Any] = {
            "name": "harness",
            "timeout_min": self.minutes,
            "tasks_per_node": 1,
            "cpus_per_task": self.cpus,
            "gpus_per_node": 0 if self.cpu else self.gpus,
            "mem_gb": self.memory,
            "slurm_partition": self.partition,
            "slurm_account": self.account,
            "slurm_qos": self.qos,
            "slurm_constraint": self.constraint,
            "slurm_setup": [self.setup] if self.setup else None,
        }
        executor.update_parameters(**{name: value for name, value in asked.items() if value is not None})
        try:
            with executor.batch():
                submitted = [
                    executor.submit(Worker(spool.folder, cpu=self.cpu or self.gpus == 0)) for _ in range(self.workers)
                ]
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            told = " ".join(str(error).split())
            raise harness.HarnessError(f"Slurm refuses the jobs: {told[-300:]}") from None
        return _Workers(submitted, self.cluster == "slurm")


@dataclass
class Worker:
    """What a Slurm job does; submitit calls it there."""

    folder: Path
    cpu: bool

    def __call__(self) -> None:
        """Compute jobs until none is left."""
        import submitit

        name, spool = str(submitit.JobEnvironment().job_id), Spool(self.folder)
        if not self.folder.is_dir():
            raise harness.HarnessError(
                f"the results folder is not shared: {socket.gethostname()} has no {str(self.folder)!r}"
            )
        if apart := spool.differing():
            spool.refuse(name, f"{socket.gethostname()} has {apart}: install the same versions on all nodes")
            return
        local = Local(cpu=self.cpu)
        local.prepare([])
        for job, result in local.run(spool.jobs(name), spool):
            spool.answer(job, result, name)

    def checkpoint(self) -> Any:
        """Return what Slurm is to run when the job is preempted or reaches its time limit: the same."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


class _Workers:
    """The Slurm jobs."""

    def __init__(self, jobs: list[Any], queued: bool) -> None:
        self._jobs, self._queued = jobs, queued
        self._asked = time.monotonic()
        self._needed = True

    def ask(self) -> dict[str, str]:
        """Return the state of each job, by id; nothing if Slurm was asked just before, or does not answer."""
        if time.monotonic() - self._asked < _ASK_SECONDS:
            return {}
        self._asked = time.monotonic()
        there = self._there()
        return {} if there is None else {job.job_id: there.get(job.job_id, _GONE) for job in self._jobs}

    def unneeded(self) -> None:
        """Let the jobs end by themselves."""
        self._needed = False

    def end(self) -> None:
        """Cancel the jobs, if runs are left; they are not needed."""
        if self._needed:
            for job in self._jobs:
                job.cancel(check=False)
        while not self._queued and any(job.state == "RUNNING" for job in self._jobs):
            time.sleep(_LOOK_SECONDS)  # processes of this machine must be seen to end

    def last_words(self) -> str:
        """Return the end of a worker's log."""
        for job in self._jobs:
            path = Path(job.paths.stderr)
            if path.exists() and (lines := path.read_text(encoding="utf-8", errors="replace").strip().splitlines()):
                return f"the end of {str(path)!r}: {' | '.join(lines[-_LINES:])}"
        return f"there is no log in {str(self._jobs[0].paths.folder)!r}"

    def _there(self) -> dict[str, str] | None:
        """Return the states of the jobs that Slurm knows, by id; None if it does not answer."""
        if not self._queued:
            return {job.job_id: "RUNNING" for job in self._jobs if job.state == "RUNNING"}
        asked = ["squeue", "--noheader", "--array", "--format=%F_%K %T", f"--user={getpass.getuser()}"]
        found = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603 - no text of a user
        if found.returncode:
            return None
        # A job that is no array has N/A in place of its number.
        known = (line.split() for line in found.stdout.splitlines())
        return {name.removesuffix("_N/A"): state for name, state in known}


@harness.hookimpl
def harness_executors() -> list[type[harness.Executor]]:
    """Register the executor."""
    return [Slurm]
