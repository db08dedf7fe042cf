"""The hyperparameter search for each arm: trials are runs, stored like any other; Optuna proposes the next one.

Every arm has the same budget. Trials of an earlier command count, interrupted or failed ones are run again, and a trial
whose curve is below the median of the others is pruned.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock
from pydantic import JsonValue

from harness.catalog import Catalog
from harness.contracts import Span
from harness.errors import HarnessError
from harness.experiment.plan import Arm
from harness.experiment.search import (
    SPREAD,
    Budget,
    choose,
    default_values,
    first_values,
    kept_at,
    most_trials,
    trial_run,
)
from harness.records import Failure, Outcome, Run, Trial, digest
from harness.store import Store, dump, write_atomically

if TYPE_CHECKING:
    import optuna

_UNPRUNED = 1 + len(SPREAD)
"""Number of complete trials before pruning starts, because the median of two or three is noise: with two, the best
learning rate of an arm was pruned after its first epoch, when no trial had learned anything yet, and one that learns
nothing was chosen. Also the number of trials after which an arm is given up if all have failed."""


class Search:
    """The searches of several arms, trial by trial. Used as a context manager, it locks out other commands."""

    def __init__(self, arms: Sequence[Arm], budget: Budget, store: Store, catalog: Catalog, processes: int) -> None:
        """Prepare to search; `processes` share each run."""
        self._studies = [_Study(arm, budget, store, catalog, processes) for arm in arms]
        self._under_way: dict[str, list[_Study]] = {}
        self._held = ExitStack()

    def __enter__(self) -> Self:
        """Wait until no other command runs the same search, and read the earlier trials."""
        # All commands lock in the same order; otherwise two of them could deadlock.
        for study in sorted(self._studies, key=lambda study: study.folder):
            self._held.enter_context(study.hold())
            study.open()
        return self

    def __exit__(self, *error: object) -> None:
        """Release the locks."""
        self._held.close()

    @property
    def expected(self) -> int | None:
        """Number of trials still to run; None if the budget is a time."""
        missing = [study.missing() for study in self._studies]
        return None if None in missing else sum(count for count in missing if count is not None)

    def runs(self) -> Iterator[tuple[str, Run]]:
        """Yield the trials to run, each with a label, from the arm with the fewest trials first."""
        while open_ := [study for study in self._studies if not study.done()]:
            study = min(open_, key=lambda study: study.begun)
            run = study.ask()
            if run is None:
                continue
            # Two arms may try the same settings: the trial runs once and counts for both.
            others = self._under_way.setdefault(run.id, [])
            others.append(study)
            if len(others) > 1:
                study.join(run, others[0])
            else:
                yield f"{study.arm.label} trial {study.begun}", run

    def heard(self, run: Run, event: Mapping[str, Any]) -> str | None:
        """Process the progress of a trial; return a reason to stop it, or None."""
        reasons = [study.heard(run, event) for study in self._under_way[run.id]]
        # A shared trial is stopped only if no arm needs it.
        return reasons[0] if all(reasons) else None

    def told(self, run: Run, result: Outcome | Failure) -> None:
        """Process the result of a trial."""
        for study in self._under_way.pop(run.id):
            study.told(run, result)

    def finish(self) -> None:
        """Choose settings and save the choice.

        Raises:
            HarnessError: No trial of an arm has a score; the choices for the other arms are saved.
        """
        errors = []
        for study in self._studies:
            try:
                study.finish()
            except HarnessError as error:
                errors.append(str(error))
        if errors:
            raise HarnessError("; ".join(errors))


class _Study:
    """The search for one arm."""

    def __init__(self, arm: Arm, budget: Budget, store: Store, catalog: Catalog, processes: int) -> None:
        self.arm, self.begun = arm, 0
        self._budget, self._store, self._catalog, self._processes = budget, store, catalog, processes
        self.folder = kept_at(arm, budget, store).parent
        self._asked: dict[str, tuple[optuna.Trial, float, list[float]]] = {}
        self._left: list[optuna.Trial] = []
        self._grid = _grid(arm.space, default_values(arm.runs[0], arm.space))
        self._next: list[Mapping[str, JsonValue]] = []
        self._given_up: set[int] = set()
        self._ample = False

    def hold(self) -> FileLock:
        """Return the lock of the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / "lock")

    def open(self) -> None:
        """Read the earlier trials; those a killed command left unfinished are run again."""
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        class Held:
            """A no-op lock: the folder's own lock is already held, and is released when the process ends."""

            def acquire(self) -> bool:
                return True

            def release(self) -> None:
                pass

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = self.folder / "trials.log"
        _mend(path)
        kept = JournalFileBackend(str(path), Held())  # type: ignore[arg-type]  # its base class is not public
        storage = JournalStorage(kept)
        self._study = optuna.create_study(
            storage=storage,
            study_name=self.folder.name,
            load_if_exists=True,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED, n_warmup_steps=1, n_min_trials=_UNPRUNED),
        )
        known = self._study.get_trials(deepcopy=False)
        # A trial that failed in an earlier command is run again, and its new result counts.
        failed = [trial for trial in known if trial.state == optuna.trial.TrialState.FAIL]
        self._given_up = {trial.number for trial in failed}
        again = [trial.params for trial in failed if trial.params]
        seen = [trial.system_attrs.get("fixed_params", trial.params) for trial in known if trial not in failed]
        for values in (*again, *(self._grid or first_values(self.arm.runs[0], self.arm.space))):
            if values not in seen:
                seen.append(values)
                self._next.append(values)
        # Unfinished trials come first: their runs may already be stored.
        running = [trial for trial in known if trial.state == optuna.trial.TrialState.RUNNING]
        # A trial does not expose its storage id, so it is looked up by number.
        study = storage.get_study_id_from_name(self.folder.name)
        ids = [storage.get_trial_id_from_study_id_trial_number(study, trial.number) for trial in running]
        self._left = [optuna.Trial(self._study, trial_id) for trial_id in ids]
        self.begun = len(self._trials())
        self._ample = self.done()

    def done(self) -> bool:
        """Return whether no further trial should start."""
        trials = self._trials()
        hopeless = len(trials) >= _UNPRUNED and all(trial.status == "failed" for trial in trials)
        return hopeless or self._exhausted() or self._budget.spent(self.begun, sum(trial.seconds for trial in trials))

    def missing(self) -> int | None:
        """Return the number of trials still to run; None if the budget is a time."""
        most = most_trials(self.arm.space, self._budget)
        if self._budget.trials is None or most is None:
            return None
        return max(0, most - self.begun)

    def ask(self) -> Run | None:
        """Start a trial; return its run, or None if it is already stored."""
        import optuna

        # Rebuilt for each trial, so that a resumed search does not draw the same values again.
        seed = int(digest([self.folder.name, len(self._study.get_trials(deepcopy=False))])[:8], 16)
        self._study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=len(SPREAD))
        if self._next and not self._left:
            self._study.enqueue_trial(dict(self._next.pop(0)))
        trial = self._left.pop(0) if self._left else self._study.ask()
        values = {key: _suggest(trial, key, allowed) for key, allowed in self.arm.space.items()}
        run = trial_run(self.arm.runs[0], values, self._catalog)
        self.begun += 1
        self._asked[run.id] = (trial, time.perf_counter(), [])
        outcome = self._store.outcome(run)
        if outcome is None:
            return run
        self._tell(run, outcome, outcome.wall_seconds * outcome.processes)
        return None

    def join(self, run: Run, other: _Study) -> None:
        """Copy the progress of a shared trial from another search, as if it had started for both at once."""
        trial, *_ = self._asked[run.id]
        _, start, seen = other._asked[run.id]
        for number, value in enumerate(seen, 1):
            trial.report(value, number)
        self._asked[run.id] = (trial, start, list(seen))

    def heard(self, run: Run, event: Mapping[str, Any]) -> str | None:
        """Process a point of the validation curve; return a reason to prune the trial, or None."""
        value = event.get("validation")
        if not isinstance(value, float):
            return None
        trial, _, seen = self._asked[run.id]
        seen.append(value)
        if len(seen) not in self._study.get_trials(deepcopy=False)[trial.number].intermediate_values:
            trial.report(value, len(seen))
        # A trial at its last step is not pruned: nothing would be saved.
        if event.get("step", 0) >= event.get("steps", 0) or not trial.should_prune():
            return None
        return f"validation {value:.3f} after epoch {len(seen)} is below the median of the other trials"

    def told(self, run: Run, result: Outcome | Failure) -> None:
        """Process the result of a trial."""
        self._tell(run, result, (time.perf_counter() - self._asked[run.id][1]) * self._processes)

    def finish(self) -> None:
        """Choose settings and save the choice."""
        # All trials that this command started within its budget count; if another command had a larger budget, only as
        # many as this budget allows.
        trials = self._budget.within(self._trials()) if self._ample else self._trials()
        exhausted = bool(self._grid) and len(trials) >= len(self._grid)
        try:
            tuning = choose(trials, self.arm.space, self.arm.label, exhausted=exhausted)
        except HarnessError as error:
            reasons = [trial.user_attrs.get("reason") for trial in self._study.get_trials(deepcopy=False)]
            last = next((reason for reason in reversed(reasons) if reason), "")
            message = f"{error}{f'; last reason: {last}' if last else ''}"
            raise HarnessError(message) from None
        write_atomically(kept_at(self.arm, self._budget, self._store), dump(tuning.model_dump(mode="json")))

    def _tell(self, run: Run, result: Outcome | Failure, seconds: float) -> None:
        from optuna.trial import TrialState

        trial, *_ = self._asked.pop(run.id)
        if isinstance(result, Failure) and result.status == "cancelled":
            return  # it stays unfinished, and the next command runs it again
        trial.set_user_attr("seconds", seconds)
        if isinstance(result, Failure):
            state = TrialState.PRUNED if result.status == "pruned" else TrialState.FAIL
            trial.set_user_attr("reason", result.reason)
            self._study.tell(trial, state=state)
        elif result.validation is None:
            trial.set_user_attr("reason", "the validation split has nothing to score")
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, result.validation)

    def _trials(self) -> list[Trial]:
        """Return the trials that ended, in the order in which they started."""
        status = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed"}
        return [
            Trial(
                values={key: trial.params[key] for key in self.arm.space},
                score=trial.value if trial.state.name == "COMPLETE" else None,
                status=status[trial.state.name],
                seconds=trial.user_attrs["seconds"],
            )
            for trial in self._study.get_trials(deepcopy=False)
            if trial.state.name in status and "seconds" in trial.user_attrs and trial.number not in self._given_up
        ]

    def _exhausted(self) -> bool:
        return bool(self._grid) and self.begun >= len(self._grid)


def _grid(
    space: Mapping[str, Span | tuple[JsonValue, ...]], default: Mapping[str, JsonValue]
) -> list[dict[str, JsonValue]]:
    """Return all combinations, `default` first; none if a setting is continuous."""
    lists = [values for values in space.values() if not isinstance(values, Span)]
    if len(lists) < len(space):
        return []
    every = [dict(zip(space, values, strict=True)) for values in product(*lists)]
    return [dict(default), *(values for values in every if values != default)]


def _suggest(trial: optuna.Trial, key: str, allowed: Span | tuple[JsonValue, ...]) -> JsonValue:
    if isinstance(allowed, Span):
        return trial.suggest_float(key, allowed.low, allowed.high, log=allowed.log)
    value: JsonValue = trial.suggest_categorical(key, list(allowed))  # type: ignore[arg-type]
    return value


def _mend(path: Path) -> None:
    """Remove an incomplete last line left by a killed command; Optuna could not read anything after it."""
    if path.exists():
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            path.write_bytes(content[: content.rfind(b"\n") + 1])
