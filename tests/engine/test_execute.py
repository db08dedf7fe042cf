import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from harness import hookimpl
from harness.analysis.cache import AnalysisCache
from harness.analysis.scores import Scores
from harness.catalog import with_plugin
from harness.contracts import Metric, Strategy, Task
from harness.engine.worker import perform
from harness.records import TUNING, Job, Place, TaskData
from harness.store import Store
from harness.testing import ToyDataset, compute, toy_catalog, toy_run, write_tiny_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def masked_model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("masked") / "model", "BertForMaskedLM")


def watched(catalog, model, results, strategy, params=None, **train):
    """Return base and final scores of what is watched: probe, representation and language-model loss."""
    toys = toy_catalog(catalog)
    run = toy_run(toys, model, toys.make(Strategy, strategy, params or {}), **train)
    prose = TaskData(dataset=ToyDataset(seed=3).reference(), task=toys.make(Task, "language-modelling", {}).reference())
    run = run.model_copy(update={"watch": (*run.watch, prose)})
    outcome = compute(run, toys, results)
    store = Store(results)
    scores = Scores(store, toys, AnalysisCache(), run, outcome)
    metrics = ("accuracy", "cka", "nats-per-token")
    return [[scores.get(metric, moment, 2 + at).value for at, metric in enumerate(metrics)] for moment in (0, 2)]


@pytest.mark.parametrize("strategy", ["frozen", "untuned"])
def test_what_leaves_the_body_alone_forgets_exactly_nothing(catalog, masked_model, tmp_path, strategy):
    before, after = watched(catalog, masked_model, tmp_path, strategy)
    assert after == before


def test_full_tuning_moves_everything_that_is_watched_through_the_body(catalog, masked_model, tmp_path):
    before, after = watched(catalog, masked_model, tmp_path, "full", learning_rate=1e-2)
    assert after[1] < 0.999 < before[1]
    assert abs(after[2] - before[2]) > 1e-3


def test_an_adapter_that_learned_nothing_forgets_nothing(catalog, masked_model, tmp_path):
    before, after = watched(catalog, masked_model, tmp_path, "lora", learning_rate=1e-30)
    assert after == pytest.approx(before, abs=1e-6)


def test_a_trained_adapter_is_on_when_what_is_watched_is_measured_afterwards(catalog, masked_model, tmp_path):
    before, after = watched(catalog, masked_model, tmp_path, "lora", learning_rate=1e-2)
    assert abs(after[2] - before[2]) > 1e-4
    assert after[1] < 0.999


def test_base_scores_are_measured_once_and_shared_by_all_arms(catalog, masked_model, tmp_path):
    watched(catalog, masked_model, tmp_path, "untuned")
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "base").glob("[!.]*")}
    watched(catalog, masked_model, tmp_path, "full")
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache" / "base").glob("[!.]*")} == kept
    assert len(kept) == 3


def test_phases_add_up_to_the_runs_wall_time(catalog, tiny_model, tmp_path):
    toys = toy_catalog(catalog)
    outcome = compute(toy_run(toys, tiny_model, toys.make(Strategy, "full", {})), toys, tmp_path)
    covered = sum(phase.wall_seconds for phase in outcome.phases.values())
    assert covered == pytest.approx(outcome.wall_seconds, rel=0.02, abs=0.05)


class Clock:
    """A meter's clock on which nothing takes time but sleep."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return 0.0

    def sleep(self) -> None:
        self.now += 1


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("harness.engine.meter.time", clock)
    return clock


def slept(phases):
    return {name: phase.wall_seconds for name, phase in phases.items() if phase.wall_seconds}


def test_a_strategy_that_sleeps_a_second_changes_its_own_phase_alone(catalog, tiny_model, tmp_path, clock):
    class Sleepy(Strategy):
        """Trains everything, after a second's sleep."""

        name = "sleepy"
        defaults = {"learning_rate": 1e-3}

        def tune(self, stage):
            clock.sleep()
            stage.model.requires_grad_(True)
            return stage.fit(stage.model)

    class Bedroom:
        @hookimpl
        def harness_strategies(self):
            return [Sleepy]

    toys = with_plugin(toy_catalog(catalog), Bedroom(), "bedroom")
    run = toy_run(toys, tiny_model, toys.make(Strategy, "sleepy", {}), stages=1)
    assert slept(compute(run, toys, tmp_path / "results").phases) == {"tune": 1}


def test_evaluation_never_enters_the_time_of_tuning(catalog, tiny_model, tmp_path, clock, monkeypatch):
    toys = toy_catalog(catalog)
    run = toy_run(toys, tiny_model, toys.make(Strategy, "full", {}), stages=1, epochs=2)
    run = run.model_copy(update={"watch": ()})
    kind = type(toys.restore(Task, run.stages[0].task))
    evaluate = kind.evaluate

    def slow(task, view, split="test"):
        clock.sleep()
        return evaluate(task, view, split)

    metric = toys.find(Metric, kind.metrics[0])
    score = metric.score

    def slow_score(metric, outputs, targets):
        clock.sleep()
        return score(metric, outputs, targets)

    monkeypatch.setattr(kind, "evaluate", slow)
    monkeypatch.setattr(metric, "score", slow_score)
    # Validation is evaluated and scored after each epoch; what is tested is scored when a table is asked for.
    assert slept(compute(run, toys, tmp_path / "results").phases) == {"validate": 4, "test": 1}


def test_an_outcome_says_what_was_trained_delivered_and_used(catalog, tiny_model, tmp_path):
    toys = toy_catalog(catalog)
    outcome = compute(toy_run(toys, tiny_model, toys.make(Strategy, "lora", {"rank": 2})), toys, tmp_path)
    # Rank 2 on 6 linear layers of 2 blocks (4 of 32 x 32, 32 x 64, 64 x 32) and the pooler, and a head for 3 classes.
    adapters = 2 * 2 * (4 * 64 + 96 + 96) + 2 * 64
    assert outcome.parameters_trained == adapters + 33 * 3
    assert outcome.plugins["lora"].startswith("finetune-harness ")
    assert outcome.device.startswith("CPU")
    assert [note.dataset for note in outcome.data] == ["toy"] * 4
    assert outcome.ship_bytes > adapters * 4


def test_predictions_carry_the_test_items_ids_once_each(catalog, tiny_model, tmp_path):
    toys = toy_catalog(catalog)
    run = toy_run(toys, tiny_model, toys.make(Strategy, "untuned", {}))
    compute(run, toys, tmp_path)
    ids = Store(tmp_path).predictions(run, 1, 0).ids
    assert len(np.unique(ids)) == len(ids) == 12


@pytest.mark.parametrize("strategy", ["pissa", "oft"])
def test_what_is_forgotten_is_measured_from_the_model_without_the_adapter(catalog, masked_model, tmp_path, strategy):
    # Of itself: each store measures its own base. An adapter that were there already would show.
    published, _ = watched(catalog, masked_model, tmp_path / "untuned", "untuned")
    before, after = watched(catalog, masked_model, tmp_path / "adapted", strategy, learning_rate=5e-2)
    assert before == published
    assert abs(after[2] - before[2]) > 1e-4


@pytest.mark.parametrize(("strategy", "points"), [("full", 2), ("frozen", 1), ("nearest-centroid", 1), ("untuned", 0)])
def test_every_stage_that_trained_something_has_a_curve_of_what_tuning_has_cost(
    catalog, tiny_model, tmp_path, strategy, points
):
    toys = toy_catalog(catalog)
    run = toy_run(toys, tiny_model, toys.make(Strategy, strategy, {}))
    outcome = compute(run, toys, tmp_path)
    lines = (Store(tmp_path).folder(run) / "log.jsonl").read_text().splitlines()
    curve = [event for event in map(json.loads, lines) if "validation" in event]
    assert [event["stage"] for event in curve] == [0] * points + [1] * points
    assert all(0 <= event["validation"] <= 1 for event in curve)
    costs = [(event["seconds"], event["flops"]) for event in curve]
    assert costs == sorted(costs)
    spent = sum(outcome.phases[name].wall_seconds for name in TUNING if name in outcome.phases)
    assert all(0 < seconds <= spent + outcome.shared.seconds for seconds, _ in costs)


def test_the_bytes_to_ship_are_those_of_what_was_trained_as_it_is_saved(catalog, tiny_model, tmp_path):
    toys = toy_catalog(catalog)
    run = toy_run(toys, tiny_model, toys.make(Strategy, "lora", {"rank": 2}), stages=1)
    outcome = perform(Job(run=run, results=tmp_path, keep_model=True), toys, lambda _: None, Place(cpu=True))
    (file,) = (Store(tmp_path).folder(run) / "model").rglob("*.safetensors")
    tensors = load_file(file)
    assert sum(tensor.size for tensor in tensors.values()) == outcome.parameters_trained
    assert any("classifier" in name for name in tensors)
    assert any("lora_A" in name for name in tensors)
    assert outcome.ship_bytes == file.stat().st_size


def test_the_curve_is_whole_before_the_outcome_says_that_all_is(catalog, tiny_model, tmp_path, monkeypatch):
    toys = toy_catalog(catalog)
    first, run = (toy_run(toys, tiny_model, toys.make(Strategy, "full", {}), seed, stages=1) for seed in (0, 1))
    compute(first, toys, tmp_path)  # so that nothing is left to tokenise, which writes what waits to be written
    finish, seen = Store.finish, []

    def watched(store, run, outcome, predictions):
        seen.append(store.log(run))
        finish(store, run, outcome, predictions)

    monkeypatch.setattr(Store, "finish", watched)
    compute(run, toys, tmp_path)
    assert seen == [Store(tmp_path).log(run)]
    assert any("validation" in event for event in seen[0])


@pytest.mark.parametrize("strategy", ["full", "lp-ft"])
def test_activations_that_are_recomputed_change_nothing_but_memory(catalog, tiny_model, tmp_path, strategy):
    toys = toy_catalog(catalog)
    predictions = []
    for checkpointing in (False, True):
        run = toy_run(
            toys, tiny_model, toys.make(Strategy, strategy, {}), stages=1, gradient_checkpointing=checkpointing
        )
        compute(run, toys, tmp_path)
        predictions.append(Store(tmp_path).predictions(run, 1, 0).outputs)
    assert np.allclose(*predictions, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("units", [False, True])
def test_a_run_says_if_its_precision_was_emulated(catalog, tiny_model, tmp_path, monkeypatch, precision, units):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": units})
    toys = toy_catalog(catalog)
    run = toy_run(toys, tiny_model, toys.make(Strategy, "full", {}), precision=precision, epochs=1)
    told = [note for note in compute(run, toys, tmp_path).notes if "emulated" in note]
    assert bool(told) == (precision == "bf16" and not units)
