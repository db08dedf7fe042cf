"""A plan, carried out: data and model looked at, settings chosen, what is missing computed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from harness.catalog import Catalog
from harness.contracts import Component, Dataset, Executor, Model, Strategy, Task
from harness.engine.cache import Cache
from harness.errors import DamagedError, HarnessError
from harness.experiment.plan import Arm, Plan
from harness.experiment.search import settle, unsettled
from harness.records import Failure, Job, Outcome, Run
from harness.runner.compute import Heard, compute
from harness.runner.examine import Examined, examine
from harness.runner.observers import Observers
from harness.runner.progress import Progress
from harness.runner.search import Search
from harness.store import Store

_ROOM_BYTES = 200_000_000
"""Free space below which no run is begun: enough for caches and predictions of a small comparison."""
_WARM = "harness.engine.warm"


class CarriedOut(NamedTuple):
    """What carrying out a plan came to."""

    plan: Plan
    """With the settings that were chosen."""
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Runner:
    """Carries out plans: where runs are computed, stored and told of."""

    store: Store
    catalog: Catalog
    executor: Executor
    say: Callable[[str], None]
    """Told what a user should know while it goes on."""
    keep_models: bool = False

    def carry_out(self, plan: Plan, report: Callable[[Examined], Iterable[str]] = lambda _: ()) -> CarriedOut:
        """Compute what is missing of a plan; nothing where all is stored.

        Args:
            plan: What is asked.
            report: Returns the lines that say what was understood of the data and the model.

        Raises:
            HarnessError: The data or the model cannot be used, there is no room, or no trial of an arm has a score.
        """
        plan = settle(plan, self.store, self.catalog)
        searched = unsettled(plan)
        missing = self.missing(plan)
        if not missing and not searched:
            return CarriedOut(plan, ())
        _check_room(self.store.root)
        self.prepare(plan)
        for line in report(self.examine(plan)):
            self.say(line)
        if searched and plan.budget:
            self._search(searched, plan)
            plan = settle(plan, self.store, self.catalog)
            missing = self.missing(plan)
        if not missing:
            return CarriedOut(plan, ())
        stored = len({run.id for _, run in plan.runs}) - len(missing)
        begin = f"{len(missing)} runs to compute" + (f"; {stored} are stored already" if stored else "")
        results = [result for _, result in self.compute(missing, begin, len(missing))]
        return CarriedOut(plan, tuple(result for result in results if isinstance(result, Failure)))

    def prepare(self, plan: Plan) -> None:
        """Let the executor get ready for a plan's runs while something else is done."""
        self.executor.prepare([_WARM, *slow_imports(plan, self.catalog)])

    def examine(self, plan: Plan, *, leaks: bool = True, fetch: bool = True, cache: Cache | None = None) -> Examined:
        """Return what is understood of a plan's data and model; see `harness.runner.examine`."""
        apart = None if self.executor.here else tuple(sorted(self.catalog.without))
        cache = cache or Cache(self.store.cache)
        return examine(plan, self.catalog, cache, self.say, apart=apart, leaks=leaks, fetch=fetch)

    def missing(self, plan: Plan) -> list[tuple[str, Run]]:
        """Return the runs that are not stored, each with its arm's label; of arms for which the same was chosen, once."""
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
        """Compute runs, each given with its arm's label; yields each with what came of it, as they end.

        Args:
            runs: Taken as there is room.
            begin: Said first.
            total: How many there are; None where that is not known.
            heard: Told where a run is; returns why it need not go on, or None.
            deliver: Where the model of the one run is written besides.
        """
        jobs = ((label, self.job(run, deliver)) for label, run in runs)
        with Progress(begin, total, self.say) as progress:
            observers = Observers(self.catalog, self.say, progress)
            for job, result in compute(jobs, self.executor, self.catalog, self.say, observers, heard):
                yield job.run, result

    def job(self, run: Run, deliver: Path | None = None) -> Job:
        """Return a run as executors are handed it."""
        return Job(
            run=run,
            results=self.store.root.resolve(),
            keep_model=self.keep_models,
            deliver=None if deliver is None else deliver.resolve(),
            without=tuple(sorted(self.catalog.without)),
        )

    def _search(self, searched: Sequence[Arm], plan: Plan) -> None:
        assert plan.budget is not None
        with Search(searched, plan.budget, self.store, self.catalog, self.executor.processes) as search:
            begin = f"choosing settings on validation, {plan.budget} for each of {len(searched)} strategies"
            for run, result in self.compute(search.runs(), begin, search.expected, search.heard):
                search.told(run, result)
            search.finish()

    def _is_done(self, run: Run) -> bool:
        try:
            outcome = self.store.outcome(run)
        except DamagedError:
            return True  # nothing stored is written over: the table says what to do
        return outcome is not None and (not self.keep_models or (self.store.folder(run) / "model").exists())


def slow_imports(plan: Plan, catalog: Catalog) -> list[str]:
    """Return the slow modules that the plan's components need."""
    runs = [arm.runs[0] for arm in plan.arms]
    components: list[Component] = [catalog.restore(Strategy, run.strategy) for run in runs]
    components += [catalog.restore(Model, runs[0].model)]
    components += [catalog.restore(Dataset, problem.dataset) for problem in runs[0].task_data]
    components += [catalog.restore(Task, problem.task) for problem in runs[0].task_data]
    return sorted({name for component in components for name in component.imports})


def _check_room(results: Path) -> None:
    free = shutil.disk_usage(results).free
    if free < _ROOM_BYTES:
        message = f"no room on the disk: {free / 1e6:.0f} MB are free at {str(results)!r}, {_ROOM_BYTES / 1e6:.0f} MB are needed"
        raise HarnessError(message)
