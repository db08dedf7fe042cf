"""Weights & Biases."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue, PrivateAttr

import harness


class WandB(harness.Tracker):
    """Weights & Biases: a group for each comparison and a run for each run, with curves, results and the saved table."""

    name = "wandb"
    imports: ClassVar[tuple[str, ...]] = ("wandb",)
    install = "pip install 'finetune-harness[wandb]'"

    project: str = Field("harness", min_length=1, description="name of the project")
    mode: Literal["online", "offline"] | None = Field(
        None, description="blank: WANDB_MODE or online; offline: send later"
    )
    folder: str = Field("results", min_length=1, description="folder of the local files")

    _comparison: str = PrivateAttr("")
    _runs: dict[str, Any] = PrivateAttr(default_factory=dict)
    _settings: Mapping[str, JsonValue] = PrivateAttr(default_factory=dict)

    def begin(self, name: str, settings: Mapping[str, JsonValue]) -> None:
        """Remember the comparison, which is the group of its runs."""
        self._comparison, self._settings = name, dict(settings)

    def log(self, run: harness.Run, label: str, step: int, values: Mapping[str, float]) -> None:
        """Send a point of each curve."""
        self._of(run, label).log({f"tune/{key}": value for key, value in values.items()}, step=step)

    def finish(self, run: harness.Run, label: str, status: str, values: Mapping[str, float]) -> None:
        """Send the results of a run, and end it."""
        known = self._of(run, label)
        known.summary.update({**{f"result/{key}": value for key, value in values.items()}, "status": status})
        known.finish(exit_code=0 if status == "done" else 1)
        del self._runs[run.id]

    def end(self, files: Sequence[Path]) -> None:
        """Send the saved files."""
        import wandb

        whole = self._begin(self._comparison, self._comparison, dict(self._settings))
        kept = wandb.Artifact(re.sub(r"[^\w.-]+", "-", self._comparison, flags=re.ASCII), type="comparison")
        for path in files:
            kept.add_file(str(path))
        whole.log_artifact(kept)
        whole.finish()

    def _of(self, run: harness.Run, label: str) -> Any:
        if run.id not in self._runs:
            settings = {"strategy": label, "seed": run.seed, **run.strategy.params}
            self._runs[run.id] = self._begin(run.id, f"{label} seed {run.seed}", settings)
        return self._runs[run.id]

    def _begin(self, known: str, name: str, settings: dict[str, Any]) -> Any:
        import wandb

        # Several runs are open at once if they are computed side by side.
        return wandb.init(
            project=self.project, group=self._comparison, id=known, name=name, config=settings, mode=self.mode,
            dir=self.folder, resume="allow", reinit="create_new", settings=wandb.Settings(silent=True),
        )  # fmt: skip


@harness.hookimpl
def harness_trackers() -> list[type[harness.Tracker]]:
    """Register the tracker."""
    return [WandB]
