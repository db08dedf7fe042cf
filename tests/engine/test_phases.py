"""What is charged to which phase, in whole runs."""

import time

import numpy as np
import pytest
from safetensors.numpy import load_file

import harness
from harness.catalog import with_plugin
from harness.contracts import Metric, Strategy, Task
from harness.engine.job import Job
from harness.engine.worker import perform
from harness.records import Problem
from harness.store import Store
from harness.testing import ToyDataset, compute, toy_catalog, toy_run

SECOND = 1.0


class Slow(harness.Strategy):
    """Train every weight, after a pause."""

    name = "slow"
    pause: float = 0.0

    def tune(self, stage: harness.Stage):
        time.sleep(self.pause)
        return stage.fit(stage.model)


@pytest.fixture
def toys(catalog):
    class Slowly(catalog.find(Task, "text-classification")):
        """Think long about every evaluation."""

        name = "slowly"
        metrics = ("sleepy",)
        pause: float = 0.0

        def evaluate(self, view, split="test"):
            time.sleep(self.pause)
            return super().evaluate(view, split)

    class Sleepy(Metric):
        """Sleep over the predictions."""

        name, title = "sleepy", "sleepy"

        def score(self, outputs, targets):
            time.sleep(SECOND)
            return float(np.mean(outputs.argmax(1) == targets))

    class Plugin:
        @harness.hookimpl
        def harness_strategies(self):
            return [Slow]

        @harness.hookimpl
        def harness_tasks(self):
            return [Slowly]

        @harness.hookimpl
        def harness_metrics(self):
            return [Sleepy]

    return with_plugin(toy_catalog(catalog), Plugin(), "slow")


def seconds(toys, model, results, pause=0.0, task=None, pause_of_task=0.0):
    """Return the wall seconds of a run's phases."""
    run = toy_run(toys, model, toys.make(Strategy, "slow", {"pause": pause}), stages=1, epochs=1)
    if task is not None:
        problem = Problem(
            dataset=ToyDataset().reference(), task=toys.make(Task, task, {"pause": pause_of_task}).reference()
        )
        run = run.model_copy(update={"stages": (problem,)})
    outcome = compute(run.model_copy(update={"watch": ()}), toys, results)
    found = {name: phase.wall_seconds for name, phase in outcome.phases.items()}
    assert sum(found.values()) == pytest.approx(outcome.wall_seconds, rel=0.02, abs=0.05)
    return found


def test_a_strategy_that_sleeps_changes_the_phase_of_tuning_alone(toys, tiny_model, tmp_path):
    plain = seconds(toys, tiny_model, tmp_path / "plain")
    slow = seconds(toys, tiny_model, tmp_path / "slow", pause=1.5 * SECOND)
    grown = {name: slow[name] - plain[name] for name in plain}
    assert grown.pop("tune") > SECOND
    assert max(grown.values()) < SECOND


def test_time_of_evaluating_and_of_scoring_is_never_that_of_tuning(toys, tiny_model, tmp_path):
    plain = seconds(toys, tiny_model, tmp_path / "plain")
    slow = seconds(toys, tiny_model, tmp_path / "slow", task="slowly", pause_of_task=SECOND)
    assert slow["validate"] >= 2 * SECOND  # one of them by the metric
    assert slow["test"] >= SECOND
    assert slow["tune"] - plain["tune"] < SECOND


def test_the_bytes_to_ship_are_those_of_what_was_trained_as_it_is_saved(catalog, tiny_model, tmp_path):
    toys = toy_catalog(catalog)
    run = toy_run(toys, tiny_model, toys.make(Strategy, "lora", {"rank": 2}), stages=1)
    outcome = perform(Job(run, tmp_path, cpu=True, keep_model=True), toys, lambda _: None)
    (file,) = (Store(tmp_path).folder(run) / "model").rglob("*.safetensors")
    tensors = load_file(file)
    assert sum(tensor.size for tensor in tensors.values()) == outcome.parameters_trained
    assert any("classifier" in name for name in tensors)
    assert any("lora_A" in name for name in tensors)
    assert outcome.ship_bytes == file.stat().st_size
