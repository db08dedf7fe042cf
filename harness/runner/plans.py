"""Carrying out a plan: examine data and model, search settings, compute the missing runs."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from harness.catalog import Catalog
from harness.contracts import Component, Dataset, Executor, Model, Strategy, Task
from harness.engine.cache import Cache
from harness.errors import DamagedError, HarnessError
from harness.experiment.comparisons import keep
from harness.experiment.plan import Arm, Plan
from harness.experiment.search import settle, unsettled
from harness.records import Failure, Job, LogLevel, Outcome, Run
from harness.runner.compute import Heard, compute
from harness.runner.examine import Examined, examine
from harness.runner.observers import Observers
from harness.runner.progress import Progress
from harness.runner.search import Search
from harness.runner.tracking import Tracking
from harness.store import Store

_ROOM_BYTES = 200_000_000
"""Free space required to start a run: enough for caches and predictions of a small comparison."""
_WARM = "harness.engine.warm"
_SECONDS = "HARNESS_CHECKPOINT_SECONDS"
"""The environment variable that sets the least time between two checkpoints."""


class CarriedOut(NamedTuple):
    """The result of carrying out a plan."""

    plan: Plan
    """With the chosen settings."""
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Runner:
    """Carries out plans, with a store, an executor and a way to report progress."""

    store: Store
    catalog: Catalog
    executor: Executor
    say: Callable[[str], None]
    """Called with progress messages for the user."""
    keep_models: bool = False
    tracking: Tracking | None = None
    quiet: bool = False
    """Whether only failures are reported while runs are computed."""
    log_level: LogLevel = "error"
    """The least serious messages of libraries that the runs' logs have."""

    def carry_out(self, plan: Plan, report: Callable[[Examined], Iterable[str]] = lambda _: ()) -> CarriedOut:
        """Compute the missing runs of a plan; nothing if all are stored.

        Args:
            plan: The plan.
            report: Returns lines that summarise the data and the model.

        Raises:
            HarnessError: Data or model cannot be used, the disk is full, no trial of an arm has a score, or an arm's model
                cannot be shared among processes as the executor is to do.
        """
        if self.executor.shards:
            _check_sharing(plan, self.catalog)
        plan = settle(plan, self.store, self.catalog)
        keep(plan, self.store)
        searched = unsettled(plan)
        missing = self.missing(plan)
        if not missing and not searched:
            return CarriedOut(plan, ())
        _check_room(self.store.root)
        self.prepare(plan)
        for line in report(self.examine(plan)):
            if not self.quiet or "warning:" in line:
                self.say(line)
        if searched and plan.budget:
            self._search(searched, plan)
            plan = settle(plan, self.store, self.catalog)
            keep(plan, self.store)  # before any of its runs is computed, which would belong to nothing
            missing = self.missing(plan)
        if not missing:
            return CarriedOut(plan, ())
        stored = len({run.id for _, run in plan.runs}) - len(missing)
        begin = f"{_counted(missing)} to compute" + (f"; {stored} already stored" if stored else "")
        results = [result for _, result in self.compute(missing, begin, len(missing))]
        return CarriedOut(plan, tuple(result for result in results if isinstance(result, Failure)))

    def prepare(self, plan: Plan) -> None:
        """Let the executor prepare for a plan's runs in the background.

        Raises:
            HarnessError: A setting of the environment cannot be used.
        """
        _checkpoint_seconds()
        self.executor.prepare([_WARM, *slow_imports(plan, self.catalog)])

    def examine(self, plan: Plan, *, leaks: bool = True, fetch: bool = True, cache: Cache | None = None) -> Examined:
        """Return a summary of a plan's data and model; see `harness.runner.examine`."""
        apart = None if self.executor.here else tuple(sorted(self.catalog.without))
        cache = cache or Cache(self.store.cache)
        say = (lambda _: None) if self.quiet else self.say
        return examine(plan, self.catalog, cache, say, apart=apart, leaks=leaks, fetch=fetch)

    def missing(self, plan: Plan) -> list[tuple[str, Run]]:
        """Return the runs that are not stored, each with its arm's label; a run shared by several arms once."""
        missing = {run.id: (arm.label, run) for arm, run in reversed(plan.runs) if not self._is_done(run)}
        return list(reversed(missing.values()))

    def compute(
        self,
        runs: Iterable[tuple[str, Run]],
        begin: str,
        total: int | None,
        heard: Heard | None = None,
        deliver: Path | None = None,
    ) -> Iterator[tuple[Run, Outcome | Failure]]:
        """Compute runs, each given with its arm's label; yield each with its result, as they end.

        Args:
            runs: Taken as there is room.
            begin: Message printed first.
            total: Number of runs; None if unknown.
            heard: Called with the progress of a run; returns a reason to stop it, or None.
            deliver: Folder to which the model of a single run is also written.
        """
        jobs = ((label, self.job(run, deliver)) for label, run in runs)
        with Progress(begin, total, self.say, quiet=self.quiet) as progress:
            observers = Observers(self.catalog, self.say, progress, *filter(None, [self.tracking]))
            for job, result in compute(jobs, self.executor, self.catalog, self.say, observers, heard):
                yield job.run, result

    def work(self, plans: Sequence[Plan]) -> Iterator[tuple[Run, Outcome | Failure]]:
        """Compute the runs of plans that no other worker computes, until none is left; yield each with its result.

        Args:
            plans: Plans whose settings are all known.
        """
        claims: dict[str, FileLock] = {}
        left = {run.id: (label, run) for plan in plans for label, run in self.missing(plan)}

        def unclaimed() -> Iterator[tuple[str, Run]]:
            # What others hold at first may be left by one that is killed, so it is looked at once more.
            for _ in range(2):
                for label, run in list(left.values()):
                    claim = self.store.claim(run)
                    if claim is None:
                        continue
                    del left[run.id]
                    if self._is_done(run):
                        claim.release()
                        continue
                    claims[run.id] = claim
                    yield label, run

        for plan in plans:
            self.prepare(plan)
        try:
            for run, result in self.compute(
                unclaimed(), f"{_counted(left)} to compute, shared with other workers", None
            ):
                claims.pop(run.id).release()
                yield run, result
        finally:
            for claim in claims.values():
                claim.release()

    def job(self, run: Run, deliver: Path | None = None) -> Job:
        """Return the job for a run, as executors receive it."""
        return Job(
            run=run,
            results=self.store.root.resolve(),
            base=Path.cwd(),
            keep_model=self.keep_models,
            log_level=self.log_level,
            checkpoint_seconds=_checkpoint_seconds(),
            deliver=None if deliver is None else deliver.resolve(),
            without=tuple(sorted(self.catalog.without)),
        )

    def _search(self, searched: Sequence[Arm], plan: Plan) -> None:
        assert plan.budget is not None
        with Search(searched, plan.budget, self.store, self.catalog, self.executor.processes) as search:
            begin = f"hyperparameter search on validation: {plan.budget} for each of {len(searched)} strategies"
            for run, result in self.compute(search.runs(), begin, search.expected, search.heard):
                search.told(run, result)
            search.finish()

    def _is_done(self, run: Run) -> bool:
        try:
            outcome = self.store.outcome(run)
        except DamagedError:
            return True  # stored runs are never overwritten: the table says what to do
        return outcome is not None and (not self.keep_models or (self.store.folder(run) / "model").exists())


def slow_imports(plan: Plan, catalog: Catalog) -> list[str]:
    """Return the slow modules that the plan's components need."""
    runs = [arm.runs[0] for arm in plan.arms]
    components: list[Component] = [catalog.restore(Strategy, run.strategy) for run in runs]
    components += [catalog.restore(Model, runs[0].model)]
    components += [catalog.restore(Dataset, problem.dataset) for problem in runs[0].task_data]
    components += [catalog.restore(Task, problem.task) for problem in runs[0].task_data]
    return sorted({name for component in components for name in component.imports})


def _check_sharing(plan: Plan, catalog: Catalog) -> None:
    """Check that processes can share the model of every arm while they train it."""
    for arm in plan.arms:
        run, reason = arm.runs[0], None
        if not catalog.restore(Strategy, run.strategy).shardable:
            reason = f"strategy {run.strategy.name!r} needs whole weights; leave it out, or do not share the model"
        elif run.train.compile:
            reason = "a compiled model cannot be shared; set train.compile=false"
        elif run.train.precision == "fp16":
            reason = "training in fp16 cannot be shared; set train.precision=bf16"
        if reason is not None:
            message = f"arm {arm.label!r}: processes cannot share its model while they train it: {reason}"
            raise HarnessError(message)


def _check_room(results: Path) -> None:
    free = shutil.disk_usage(results).free
    if free < _ROOM_BYTES:
        message = (
            f"not enough disk space at {str(results)!r}: {free / 1e6:.0f} MB free, {_ROOM_BYTES / 1e6:.0f} MB needed"
        )
        raise HarnessError(message)


def _counted(runs: Sized) -> str:
    return f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}"


def _checkpoint_seconds() -> float:
    """Return the least time between two checkpoints of a training, in seconds.

    Raises:
        HarnessError: The environment variable that sets it is no number of seconds.
    """
    text = os.environ.get(_SECONDS)
    if text is None:
        return float(Job.model_fields["checkpoint_seconds"].default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        message = f"{_SECONDS}={text!r} is not a number of seconds: set it to 0 or more, or unset it"
        raise HarnessError(message)
    return seconds
