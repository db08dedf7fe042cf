"""Send the progress and results of a comparison to trackers. A tracker that raises is disabled; the comparison continues."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.catalog import Catalog
from harness.contracts import Tracker
from harness.errors import HarnessError
from harness.experiment.plan import Plan
from harness.experiment.spec import parse_settings
from harness.hookspecs import hookimpl
from harness.records import Failure, Outcome, Run


def find_trackers(catalog: Catalog, asked: Sequence[str]) -> list[Tracker]:
    """Return the requested trackers, each by name or `NAME:KEY=VALUE,KEY=VALUE`.

    Raises:
        HarnessError: A tracker does not exist, has no such setting, or is not installed.
    """
    found = []
    for one in asked:
        name, _, text = one.partition(":")
        tracker = catalog.make(Tracker, name, parse_settings(text, f"--track {one}"), "--track: ")
        if missing := tracker.missing():
            message = f"tracker {name!r} needs {missing}"
            raise HarnessError(message)
        found.append(tracker)
    return found


class Tracking:
    """The trackers of a comparison; an observer of its runs."""

    def __init__(self, trackers: Sequence[Tracker], say: Callable[[str], None]) -> None:
        """Prepare to send to the trackers; `say` reports failures."""
        self._trackers, self._say = list(trackers), say
        self._labels: dict[str, str] = {}
        self._steps: dict[str, tuple[int, int]] = {}
        """By run, the steps of earlier stages and the last step of this one."""

    def begin(self, plan: Plan) -> None:
        """Begin a comparison."""
        settings = {} if plan.spec is None else plan.spec.model_dump(mode="json", exclude_defaults=True)
        self._tell("begin", plan.name, settings)

    @hookimpl
    def harness_run_started(self, run: Run, label: str) -> None:
        """Remember the label of a run."""
        self._labels[run.id] = label

    @hookimpl
    def harness_run_logged(self, run: Run, event: dict[str, object]) -> None:
        """Send the numbers of an event."""
        if run.trial:
            return
        before, last = self._steps.get(run.id, (0, 0))
        step = event.get("step", last)
        assert isinstance(step, int)
        if step < last:
            before, last = before + last, 0  # the next stage
        self._steps[run.id] = before, max(step, last)
        values = {
            key: float(value)
            for key, value in event.items()
            if key in {"loss", "learning_rate", "validation", "validation_loss"} and isinstance(value, (int, float))
        }
        if values:
            self._tell("log", run, self._labels.get(run.id, ""), before + step, values)

    @hookimpl
    def harness_run_finished(self, run: Run, result: Outcome | Failure) -> None:
        """Do nothing: results are sent with their scores, once all runs have ended."""

    def end(self, runs: Sequence[tuple[Run, str, str, Mapping[str, float]]], files: Sequence[Path]) -> None:
        """Send the results of all runs: each run, its label, its status and its values by column."""
        for run, label, status, values in runs:
            self._tell("finish", run, label, status, values)
        self._tell("end", files)

    def _tell(self, method: str, *known: Any) -> None:
        for tracker in list(self._trackers):
            try:
                with contextlib.redirect_stdout(sys.stderr):  # standard output is the table's
                    getattr(tracker, method)(*known)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a failing tracker must not stop the comparison
                self._trackers.remove(tracker)
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                self._say(f"tracker {tracker.name!r} failed and is disabled: {reason}")
