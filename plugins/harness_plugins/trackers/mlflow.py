"""MLflow."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, JsonValue, PrivateAttr

import harness

_RUN, _ABOUT = "harness.run", "comparison"


class MLflow(harness.Tracker):
    """MLflow: an experiment for each comparison and a run for each run, with curves, results and the saved table."""

    name = "mlflow"
    imports: ClassVar[tuple[str, ...]] = ("mlflow",)
    install = "pip install 'finetune-harness[mlflow]'"

    uri: str | None = Field(
        None, description="address of the server or database; blank: MLFLOW_TRACKING_URI or MLflow's default"
    )
    experiment: str | None = Field(None, description="name of the experiment; blank: the name of the comparison")

    _client: Any = PrivateAttr(None)
    _place: str = PrivateAttr("")
    _known: dict[str, str] = PrivateAttr(default_factory=dict)
    _about: str = PrivateAttr("")

    def begin(self, name: str, settings: Mapping[str, JsonValue]) -> None:
        """Find or create the experiment, and a run for the comparison as a whole."""
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=self.uri)
        called = self.experiment or name
        known = self._client.get_experiment_by_name(called)
        self._place = known.experiment_id if known else self._client.create_experiment(called)
        self._about = self._find(_ABOUT, name)
        self._client.log_text(self._about, json.dumps(settings, indent=2), "experiment.json")

    def log(self, run: harness.Run, label: str, step: int, values: Mapping[str, float]) -> None:
        """Send a point of each curve."""
        for key, value in values.items():
            self._client.log_metric(self._of(run, label), f"tune/{key}", value, step=step)

    def finish(self, run: harness.Run, label: str, status: str, values: Mapping[str, float]) -> None:
        """Send the results of a run, and end it."""
        place = self._of(run, label)
        for key, value in values.items():
            self._client.log_metric(place, f"result/{key}", value)
        self._client.set_tag(place, "status", status)
        self._client.set_terminated(place, "FINISHED" if status == "done" else "FAILED")

    def end(self, files: Sequence[Path]) -> None:
        """Send the saved files, and end the run of the comparison."""
        for path in files:
            self._client.log_artifact(self._about, str(path))
        self._client.set_terminated(self._about)

    def _of(self, run: harness.Run, label: str) -> str:
        if run.id not in self._known:
            place = self._known[run.id] = self._find(run.id, f"{label} seed {run.seed}")
            for key, value in {
                "strategy": label,
                "seed": run.seed,
                "model": run.model.name,
                **run.strategy.params,
            }.items():
                self._client.log_param(place, key, value)
        return self._known[run.id]

    def _find(self, tag: str, name: str) -> str:
        """Return the id of the MLflow run with this tag, which an earlier command may have made."""
        found = self._client.search_runs([self._place], f"tags.`{_RUN}` = '{tag}'", max_results=1)
        made = found[0] if found else self._client.create_run(self._place, tags={_RUN: tag}, run_name=name)
        return str(made.info.run_id)


@harness.hookimpl
def harness_trackers() -> list[type[harness.Tracker]]:
    """Register the tracker."""
    return [MLflow]
