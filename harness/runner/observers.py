"""Whoever wants to know how a comparison goes. One that raises is left out from then on, and ends nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.catalog import Catalog
from harness.records import Failure, Outcome, Run


class Observers:
    """The installed observers, and some for the time being."""

    def __init__(self, catalog: Catalog, say: Callable[[str], None], *more: object) -> None:
        """Prepare to tell the catalog's plugins and `more`, objects with the same hooks; `say` is told who is left out."""
        self._hooks, self._say, self._more = catalog.plugins.hook, say, more
        self._left_out: set[str] = set()

    def started(self, run: Run, label: str) -> None:
        """Tell that a run of the arm `label` begins."""
        self._tell("harness_run_started", run=run, label=label)

    def logged(self, run: Run, event: dict[str, Any]) -> None:
        """Tell where a run is."""
        self._tell("harness_run_logged", run=run, event=event)

    def finished(self, run: Run, result: Outcome | Failure) -> None:
        """Tell what came of a run."""
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
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's code fails alone
                self._left_out.add(name)
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                self._say(f"observer {name!r} failed and is left out from here on: {reason}")
