"""Hand jobs to an executor, track them, and notify the observers."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from harness.catalog import Catalog, new_plugin_manager
from harness.contracts import Executor
from harness.errors import DamagedError, PrunedError
from harness.records import Failure, Job, Outcome, Run
from harness.runner.observers import Observers
from harness.store import Store

_ROUNDS = 2
"""Number of attempts before a job counts as lost."""

Heard = Callable[[Run, dict[str, Any]], str | None]
"""Called with the progress of a run; returns a reason to stop it, or None."""


class _Host:
    """The command's side of an executor."""

    def __init__(self, catalog: Catalog, observers: Observers, heard: Heard | None) -> None:
        self._catalog, self._observers, self._heard = catalog, observers, heard

    def tell(self, job: Job, event: dict[str, Any]) -> str | None:
        """Pass on an event of a job; returns a reason to stop the job, or None."""
        self._observers.logged(job.run, event)
        return self._heard(job.run, event) if self._heard else None

    def compute(self, job: Job, *, cpu: bool = False) -> Outcome | Failure:
        """Compute a job in this process; its output goes to standard error, because standard output is for tables."""
        from harness.delivery.load import quiet
        from harness.engine.worker import perform
        from harness.records import Place

        def heed(event: dict[str, Any]) -> None:
            if reason := self.tell(job, event):
                raise PrunedError(reason)

        with quiet(), contextlib.redirect_stdout(sys.stderr):
            return perform(job, self._catalog, heed, Place(cpu=cpu))


def compute(
    jobs: Iterable[tuple[str, Job]],
    executor: Executor,
    catalog: Catalog,
    say: Callable[[str], None],
    observers: Observers | None = None,
    heard: Heard | None = None,
) -> Iterator[tuple[Job, Outcome | Failure]]:
    """Compute jobs; yield each once with its result, as they end, and store failures.

    A job that is lost, or for which the executor returns no result, is tried once more. The outcome of a finished job
    must be stored; a result for a job that was not requested is reported and ignored.

    Args:
        jobs: Each with the label of its arm; taken as there is room.
        executor: Computes the jobs.
        catalog: Provides their components.
        say: Called with messages for the user.
        observers: Notified of events; None for none.
        heard: Called with the progress of a run; returns a reason to stop it, or None.

    Raises:
        HarnessError: The executor itself fails.
    """
    observers = observers or Observers(Catalog(new_plugin_manager()), say)
    host = _Host(catalog, observers, heard)
    labels: dict[str, str] = {}

    def announced() -> Iterator[Job]:
        for label, job in jobs:
            labels[job.run.id] = label
            observers.started(job.run, label)
            yield job

    waiting: Iterator[Job] = announced()
    for round_ in range(1, _ROUNDS + 1):
        lost: list[Job] = []
        for job, result in _answers(executor, waiting, host, say):
            if isinstance(result, Failure) and result.status == "lost" and round_ < _ROUNDS:
                say(f"{labels[job.run.id]} seed {job.run.seed} was lost and is tried again: {result.reason}")
                lost.append(job)
                continue
            if isinstance(result, Failure):
                Store(job.results).fail(job.run, result)
            observers.finished(job.run, result)
            yield job, result
        if not lost:
            return
        waiting = iter(lost)


def _answers(
    executor: Executor, jobs: Iterator[Job], host: _Host, say: Callable[[str], None]
) -> Iterator[tuple[Job, Outcome | Failure]]:
    """Yield the executor's result for each job, once, after checking it."""
    open_: dict[str, Job] = {}

    def handed_out() -> Iterator[Job]:
        for job in jobs:
            open_[job.run.id] = job
            yield job

    answers = executor.run(handed_out(), host)
    try:
        for answer in answers:
            job, result = _checked(answer, executor, open_, say)
            if job is not None:
                yield job, result
    except (KeyboardInterrupt, GeneratorExit):
        if close := getattr(answers, "close", None):
            close()
        for job in open_.values():
            Store(job.results).fail(job.run, Failure(run_id=job.run.id, status="cancelled", reason="interrupted"))
        raise
    except Exception as error:
        error.add_note(f"while executor {executor.name!r} computed runs")
        raise
    for job in open_.values():
        reason = f"executor {executor.name!r} ended without a result for this run"
        yield job, Failure(run_id=job.run.id, status="lost", reason=reason)


def _checked(
    answer: Any, executor: Executor, open_: dict[str, Job], say: Callable[[str], None]
) -> tuple[Job | None, Outcome | Failure]:
    """Return the job of a result, removed from the open jobs, and the result; no job if it was not requested."""
    nothing = Failure(run_id="", status="lost", reason="")
    try:
        given, result = answer
        job = open_.pop(given.run.id, None)
    except (TypeError, ValueError, AttributeError):
        say(f"executor {executor.name!r} yielded something other than a job and its result: {answer!r:.80}")
        return None, nothing
    if job is None:
        say(f"executor {executor.name!r} yielded a run that was not requested, which is ignored: {given.run.id}")
        return None, nothing
    if not isinstance(result, (Outcome, Failure)) or result.run_id != job.run.id:
        reason = f"executor {executor.name!r} yielded a {type(result).__name__} that does not belong to this run"
        return job, Failure(run_id=job.run.id, status="failed", reason=reason)
    if isinstance(result, Outcome):
        try:
            stored = Store(job.results).outcome(job.run)
        except DamagedError as error:
            return job, Failure(run_id=job.run.id, status="failed", reason=str(error))
        if stored is None:
            reason = (
                f"executor {executor.name!r} reports the run as done, but nothing is stored in {str(job.results)!r}"
            )
            return job, Failure(run_id=job.run.id, status="lost", reason=reason)
    return job, result
