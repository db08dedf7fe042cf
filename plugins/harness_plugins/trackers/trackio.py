"""Trackio."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, JsonValue, PrivateAttr

import harness


class Trackio(harness.Tracker):
    """Trackio, kept on this machine: a group for each comparison and a run for each run; show with `trackio show`."""

    name = "trackio"
    imports: ClassVar[tuple[str, ...]] = ("trackio",)
    install = "pip install 'finetune-harness[trackio]'"

    project: str = Field("harness", min_length=1, description="name of the project")
    space: str | None = Field(
        None, description="name of a Space to keep it in; blank: TRACKIO_SPACE_ID or this machine"
    )
    server: str | None = Field(None, description="address of a server; blank: TRACKIO_SERVER_URL or none")

    _comparison: str = PrivateAttr("")
    _runs: dict[str, Any] = PrivateAttr(default_factory=dict)
    _settings: Mapping[str, JsonValue] = PrivateAttr(default_factory=dict)

    def begin(self, name: str, settings: Mapping[str, JsonValue]) -> None:
        """Remember the comparison, which is the group of its runs."""
        self._comparison, self._settings = name, dict(settings)

    def log(self, run: harness.Run, label: str, step: int, values: Mapping[str, float]) -> None:
        """Send a point of each curve."""
        with _silent():
            self._of(run, label).log({f"tune/{key}": value for key, value in values.items()}, step=step)

    def finish(self, run: harness.Run, label: str, status: str, values: Mapping[str, float]) -> None:
        """Send the results of a run, and end it."""
        with _silent():
            known = self._of(run, label)
            known.log({**{f"result/{key}": value for key, value in values.items()}, "status": status})
            known.finish()
            del self._runs[run.id]

    def end(self, files: Sequence[Path]) -> None:
        """Send the saved files."""
        with _silent():
            whole = self._begin(self._comparison, dict(self._settings))
            for path in files:
                whole.log_artifact(path, type="comparison")
            whole.finish()

    def _of(self, run: harness.Run, label: str) -> Any:
        if run.id not in self._runs:
            settings = {"strategy": label, "seed": run.seed, "model": run.model.name, **run.strategy.params}
            # A run is found again by its name alone, so that the id is a part of it.
            self._runs[run.id] = self._begin(f"{label} seed {run.seed} {run.id}", settings)
        return self._runs[run.id]

    def _begin(self, name: str, settings: dict[str, Any]) -> Any:
        import trackio

        return trackio.init(
            project=self.project, name=name, group=self._comparison, config=settings, resume="allow",
            space_id=self.space, server_url=self.server, embed=False, auto_log_gpu=False, auto_log_cpu=False,
        )  # fmt: skip


def _silent() -> contextlib.AbstractContextManager[object]:
    """Hide what Trackio prints of every run."""
    return contextlib.redirect_stdout(io.StringIO())


@harness.hookimpl
def harness_trackers() -> list[type[harness.Tracker]]:
    """Register the tracker."""
    return [Trackio]
