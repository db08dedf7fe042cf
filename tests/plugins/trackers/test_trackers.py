"""Trackers, read back by their own clients."""

from collections.abc import Mapping
from pathlib import Path

import pytest

import harness
from harness.runner.tracking import Tracking, find_trackers
from harness.testing import ToyDataset, check_tracker, toy_catalog, toy_run

pytestmark = pytest.mark.slow


class Broken(harness.Tracker):
    """A tracker whose server is gone."""

    name = "broken"

    def finish(self, run: harness.Run, label: str, status: str, values: Mapping[str, float]) -> None:
        """Fail."""
        message = "no route to host"
        raise OSError(message)


class Offered:
    """A plugin with that tracker."""

    @harness.hookimpl
    def harness_trackers(self) -> list[type[harness.Tracker]]:
        return [Broken]


@pytest.fixture
def tracked(tmp_path: Path, tiny_model: Path, monkeypatch):
    """Return a function that compares with trackers, in an empty folder with a file of reviews."""
    monkeypatch.chdir(tmp_path)
    ToyDataset(rows=120).read().splits["train"].to_pandas().to_csv("reviews.csv", index=False)

    def compare(*track: str, **more: object) -> harness.Comparison:
        asked = {"strategies": ["frozen", "full"], "seeds": [0], "watch": "none", "options": "train.epochs=1", **more}
        return harness.compare(
            "reviews.csv", model=tiny_model, executor="in-process", track=track, name="reviews", **asked
        )

    return compare


def test_tensorboard_has_the_curves_and_results_of_each_run(tracked):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    comparison = tracked("tensorboard:folder=events")
    frame = comparison.runs()
    folders = {path.name.rpartition("-")[2]: path for path in Path("events/reviews").iterdir()}
    assert set(folders) == set(frame.index)
    full = frame.index[frame["arm"] == "full"][0]
    known = events.EventAccumulator(str(folders[full]))
    known.Reload()
    losses = known.Scalars("tune/loss")
    assert [one.step for one in losses] == list(range(1, len(losses) + 1))
    (accuracy,) = known.Scalars("result/accuracy")
    assert accuracy.value == pytest.approx(frame.loc[full, "accuracy"], abs=1e-6)
    assert known.Scalars("result/peak_memory_bytes")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, about MLflow
def test_mlflow_has_the_runs_once_however_often_they_are_sent(tracked):
    mlflow = pytest.importorskip("mlflow")
    for _ in range(2):
        comparison = tracked("mlflow:uri=sqlite:///runs.db")
    client = mlflow.MlflowClient("sqlite:///runs.db")
    place = client.get_experiment_by_name("reviews").experiment_id
    found = {one.info.run_name: one for one in client.search_runs([place])}
    assert set(found) == {"reviews", "untuned seed 0", "frozen seed 0", "full seed 0"}
    frame = comparison.runs().set_index("arm")
    assert found["full seed 0"].data.metrics["result/accuracy"] == frame.loc["full", "accuracy"]
    assert found["full seed 0"].data.params["strategy"] == "full"
    assert len(client.get_metric_history(found["full seed 0"].info.run_id, "tune/loss")) > 3
    assert {one.info.status for one in found.values()} == {"FINISHED"}


@pytest.mark.filterwarnings("ignore")  # of the clients, about themselves
@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb", "trackio"])
def test_a_tracker_keeps_the_contract(name, catalog, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))  # read when it is imported
    pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    settings = {"mlflow": {"uri": "sqlite:///runs.db"}, "wandb": {"mode": "offline"}}
    Path("results").mkdir()
    check_tracker(catalog.make(harness.Tracker, name, settings.get(name, {})))


def test_a_tracker_that_fails_is_told_once_and_ends_nothing(tracked, capsys):
    comparison = tracked("broken", plugins=[Offered()])
    assert set(comparison.runs()["status"]) == {"done"}
    told = capsys.readouterr().err
    assert told.count("tracker 'broken' failed and is disabled: OSError: no route to host") == 1


def test_a_tracker_that_does_not_exist_is_told_before_anything_is_computed(tracked, catalog):
    with pytest.raises(harness.HarnessError, match="unknown tracker 'tensorbord': did you mean 'tensorboard'"):
        tracked("tensorbord")
    with pytest.raises(harness.HarnessError, match="is not of the form KEY=VALUE"):
        find_trackers(catalog, ["mlflow:here"])
    assert not Path("results").exists()


def test_steps_of_several_stages_are_counted_on(tiny_model):
    seen: list[tuple[int, float]] = []

    class Kept(Broken):
        def log(self, run: harness.Run, label: str, step: int, values: Mapping[str, float]) -> None:
            seen.append((step, values["loss"]))

    tracking = Tracking([Kept()], lambda _: None)
    toys = toy_catalog()
    run = toy_run(toys, tiny_model, toys.make(harness.Strategy, "full", {}))
    tracking.harness_run_started(run, "full")
    for step in (1, 2, 3, 1, 2):
        tracking.harness_run_logged(run, {"phase": "tune", "step": step, "steps": 3, "loss": float(step)})
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5]
