"""Hand jobs to an executor, keep account of them, and tell the observers."""

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
"""Times that a job is handed out before it counts as lost."""

Heard = Callable[[Run, dict[str, Any]], str | None]
"""Told where a run is; returns why it need not go on, or None."""


class _Host:
    """The command, as an executor sees it."""

    def __init__(self, catalog: Catalog, observers: Observers, heard: Heard | None) -> None:
        self._catalog, self._observers, self._heard = catalog, observers, heard

    def tell(self, job: Job, event: dict[str, Any]) -> str | None:
        """Pass on what a job says; returns why it should be ended, or None."""
        self._observers.logged(job.run, event)
        return self._heard(job.run, event) if self._heard else None

    def compute(self, job: Job, *, cpu: bool = False) -> Outcome | Failure:
        """Compute a job in this process; what it prints goes to standard error, because a table may go to standard output."""
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
    """Compute jobs; yields each once with what came of it, as they end, and has it stored.

    A job that is lost, or that the executor never answers, is handed out once more. What is said to be done must be stored; a
    job that nobody asked for is told of and left alone.

    Args:
        jobs: Each with what its arm is called; taken as there is room.
        executor: Where they are computed.
        catalog: Where their components are.
        say: Told what a user should know.
        observers: Told what happens; None for nobody.
        heard: Told where a run is; returns why it need not go on, or None.

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
                say(f"{labels[job.run.id]} seed {job.run.seed} was lost and is computed again: {result.reason}")
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
    """Yield what an executor says of each job, once, and only what it can say."""
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
        reason = f"executor {executor.name!r} ended without saying what came of it"
        yield job, Failure(run_id=job.run.id, status="lost", reason=reason)


def _checked(
    answer: Any, executor: Executor, open_: dict[str, Job], say: Callable[[str], None]
) -> tuple[Job | None, Outcome | Failure]:
    """Return the job that an answer is about, taken off the open ones, with its result; no job where nobody asked."""
    nothing = Failure(run_id="", status="lost", reason="")
    try:
        given, result = answer
        job = open_.pop(given.run.id, None)
    except (TypeError, ValueError, AttributeError):
        say(f"executor {executor.name!r} gave what is no job with its result: {answer!r:.80}")
        return None, nothing
    if job is None:
        say(f"executor {executor.name!r} gave a run that nobody asked for, which is left alone: {given.run.id}")
        return None, nothing
    if not isinstance(result, (Outcome, Failure)) or result.run_id != job.run.id:
        reason = f"executor {executor.name!r} gave {type(result).__name__} that is not about this run"
        return job, Failure(run_id=job.run.id, status="failed", reason=reason)
    if isinstance(result, Outcome):
        try:
            stored = Store(job.results).outcome(job.run)
        except DamagedError as error:
            return job, Failure(run_id=job.run.id, status="failed", reason=str(error))
        if stored is None:
            reason = f"executor {executor.name!r} says it is done, but nothing is stored in {str(job.results)!r}"
            return job, Failure(run_id=job.run.id, status="lost", reason=reason)
    return job, result
