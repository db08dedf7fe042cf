"""Observers of a comparison. An observer that raises is disabled; the comparison continues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.catalog import Catalog
from harness.records import Failure, Outcome, Run


class Observers:
    """The installed observers, and temporary ones."""

    def __init__(self, catalog: Catalog, say: Callable[[str], None], *more: object) -> None:
        """Prepare to notify the catalog's plugins and `more`, objects with the same hooks; `say` reports failures."""
        self._hooks, self._say, self._more = catalog.plugins.hook, say, more
        self._left_out: set[str] = set()

    def started(self, run: Run, label: str) -> None:
        """Report that a run of the arm `label` starts."""
        self._tell("harness_run_started", run=run, label=label)

    def logged(self, run: Run, event: dict[str, Any]) -> None:
        """Report the progress of a run."""
        self._tell("harness_run_logged", run=run, event=event)

    def finished(self, run: Run, result: Outcome | Failure) -> None:
        """Report the result of a run."""
        self._tell("harness_run_finished", run=run, result=result)

    def _tell(self, hook: str, **known: Any) -> None:
        for observer in self._more:
            getattr(observer, hook)(**known)
        for implementation in getattr(self._hooks, hook).get_hookimpls():
            name = implementation.plugin_name
            if name in self._left_out:
                continue
            try:
                implementation.function(*(known[argument] for argument in implementation.argnames))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a failing plugin must not stop the comparison
                self._left_out.add(name)
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                self._say(f"observer {name!r} failed and is disabled: {reason}")
