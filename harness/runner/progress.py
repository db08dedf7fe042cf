"""Progress display: bars in a terminal, otherwise one line per run. It is an observer, like those of plugins."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from harness.hookspecs import hookimpl
from harness.quantities import write_duration
from harness.records import Failure, Outcome, Run

_SHORT = 10.0
"""Seconds below which the time that is left is not shown."""


class Progress:
    """Shows overall progress and the current runs, on standard error."""

    def __init__(self, begin: str, total: int | None, say: Callable[[str], None], *, quiet: bool = False) -> None:
        """Prepare to show `total` runs, or an unknown number if None; print `begin` first.

        Without a terminal, lines are passed to `say`. With `quiet`, only failures are shown.
        """
        self._total, self._count, self._failed, self._say, self._quiet = total, 0, 0, say, quiet
        self._begun = time.perf_counter()
        self._under_way: dict[str, tuple[str, float, TaskID]] = {}
        self._console = Console(stderr=True)
        self._bars: Bars | None = None
        self._grid = TaskID(0)
        self._write(begin)

    def __enter__(self) -> Self:
        """Start the display."""
        if self._console.is_terminal and not self._quiet:
            self._bars = Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
                console=self._console,
                transient=True,
            )
            self._bars.start()
            self._grid = self._bars.add_task("all runs", total=self._total, note="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the display."""
        if self._bars is not None:
            self._bars.stop()

    @hookimpl
    def harness_run_started(self, run: Run, label: str) -> None:
        """Show a run that starts."""
        again = f" repeat {run.repeat}" if run.repeat else ""
        name, task = label if run.trial else f"{label} seed {run.seed}{again}", TaskID(0)
        if self._bars is not None:
            task = self._bars.add_task(name, total=None, note="starting")
        self._under_way[run.id] = (name, time.perf_counter(), task)
        self._count_up()

    @hookimpl
    def harness_run_logged(self, run: Run, event: dict[str, object]) -> None:
        """Update the progress of a run."""
        if self._bars is None:
            return
        told = [
            f"{key.replace('_', ' ')} {value:.3f}"
            for key in ("loss", "validation")
            if isinstance(value := event.get(key), float)
        ]
        step, steps = event.get("step"), event.get("steps")
        self._bars.update(
            self._under_way[run.id][2],
            completed=step if isinstance(step, int) else None,
            total=steps if isinstance(steps, int) else None,
            note="  ".join([str(event.get("phase", "")), *told]),
        )

    @hookimpl
    def harness_run_finished(self, run: Run, result: Outcome | Failure) -> None:
        """Print the result of a run."""
        self._count += 1
        name, start, task = self._under_way.pop(run.id)
        if self._bars is not None:
            self._bars.advance(self._grid)
            self._bars.remove_task(task)
        if isinstance(result, Failure):
            self._failed += 1
            end = f"{result.status}: {result.reason}"
        else:
            end = f"done in {time.perf_counter() - start:.1f} s"
        self._count_up()
        self._write(
            f"[{self._count}{f'/{self._total}' if self._total else ''}] {name}: {end}{self._left()}",
            important=isinstance(result, Failure),
        )

    def _count_up(self) -> None:
        """Show how many runs have finished, failed and are being computed."""
        if self._bars is not None:
            failed = f", {self._failed} failed" if self._failed else ""
            running = f"{self._count - self._failed} done{failed}, {len(self._under_way)} running"
            self._bars.update(self._grid, note=f"{running}{self._left()}")

    def _left(self) -> str:
        """Return about how long the rest takes, if runs take as long as so far; empty if that is not known."""
        if not self._total or not 0 < self._count < self._total:
            return ""
        seconds = (time.perf_counter() - self._begun) / self._count * (self._total - self._count)
        return f" (about {write_duration(float(f'{seconds:.2g}'))} left)" if seconds >= _SHORT else ""

    def _write(self, line: str, *, important: bool = False) -> None:
        if self._quiet and not important:
            return
        if self._console.is_terminal:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            self._say(line)
