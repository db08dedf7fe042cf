import itertools
import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from harness.contracts import Strategy
from harness.engine.train import _flat, learning_rate
from harness.engine.training import parameter_groups
from harness.records import Failure, TrainConfig
from harness.store import Store
from harness.testing import compute, toy_catalog, toy_run, write_tiny_model

pytestmark = pytest.mark.slow


def curve(run, results):
    events = [json.loads(line) for line in (Store(results).folder(run) / "log.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if "loss" in event]


GOLDEN = [0.68827, 0.69527, 0.71592, 0.69374, 0.69358, 0.70109]


@pytest.fixture(scope="module")
def quiet_model(tmp_path_factory):
    """A tiny model without dropout, so that only rounding can tell two ways of computing apart."""
    folder = tmp_path_factory.mktemp("quiet") / "model"
    return write_tiny_model(folder, hidden_dropout_prob=0.0, max_position_embeddings=64)


def tuned(catalog, model, results, seed=0, **train):
    toys = toy_catalog(catalog)
    run = toy_run(toys, model, toys.make(Strategy, "full", {}), seed=seed, learning_rate=5e-3, **train)
    return run, compute(run, toys, results)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [1 / 3, 2 / 3, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ("constant", [1 / 3, 2 / 3, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("cosine", [1 / 3, 2 / 3, 1.0, 0.96194, 0.853553, 0.691342, 0.5, 0.308658, 0.146447, 0.03806]),
    ],
)
def test_the_learning_rate_warms_up_and_then_follows_the_schedule(schedule, expected):
    config = TrainConfig(learning_rate=1.0, warmup_ratio=0.2, schedule=schedule)
    assert [learning_rate(config, step, 10) for step in range(10)] == pytest.approx(expected, abs=1e-5)


def test_the_loss_curve_is_the_one_it_was(catalog, quiet_model, tmp_path):
    run, outcome = tuned(catalog, quiet_model, tmp_path)
    # From this project's own loop, on a CPU in float32; a change here is a change of every number the harness reports.
    assert curve(run, tmp_path)[:6] == pytest.approx(GOLDEN, abs=2e-4)
    assert outcome.steps == len(curve(run, tmp_path)) == 24
    assert outcome.examples == 2 * 2 * 43


def test_accumulation_changes_nothing_but_rounding(catalog, quiet_model, tmp_path):
    whole, _ = tuned(catalog, quiet_model, tmp_path)
    pieces, _ = tuned(catalog, quiet_model, tmp_path, gradient_accumulation_steps=3)
    assert curve(pieces, tmp_path) == pytest.approx(curve(whole, tmp_path), abs=1e-4)


def test_another_seed_draws_other_batches(catalog, quiet_model, tmp_path):
    first, _ = tuned(catalog, quiet_model, tmp_path)
    second, _ = tuned(catalog, quiet_model, tmp_path, seed=1)
    assert curve(first, tmp_path) != pytest.approx(curve(second, tmp_path), abs=1e-3)


def test_training_stops_when_validation_no_longer_improves(catalog, quiet_model, tmp_path):
    patient, _ = tuned(catalog, quiet_model, tmp_path, epochs=12)
    hasty, outcome = tuned(catalog, quiet_model, tmp_path, epochs=12, patience=1)
    assert outcome.steps < len(curve(patient, tmp_path))
    assert len(curve(hasty, tmp_path)) == outcome.steps


@pytest.fixture
def flat(catalog, quiet_model, tmp_path):
    """A run of one stage that is trained until validation is flat, and the events of its log."""
    toys = toy_catalog(catalog)
    made = toys.make(Strategy, "full", {})
    run = toy_run(toys, quiet_model, made, stages=1, learning_rate=5e-3, epochs="flat", max_steps=600)
    outcome = compute(run, toys, tmp_path)
    return outcome, Store(tmp_path).log(run)


def test_training_until_flat_checks_validation_and_ends_before_the_maximum(flat):
    outcome, log = flat
    checks = [event for event in log if event.get("validation_loss") is not None]
    [end] = [event for event in log if "ended" in event]
    assert (end["ended"], end["stage"]) == ("flat", 0)
    assert outcome.steps < 600
    # Every check follows whole epochs of together at least 50 steps, and the last one the cool-down.
    assert {after["step"] - before["step"] for before, after in itertools.pairwise(checks[:-1])} == {54}
    assert checks[-1]["step"] == outcome.steps
    # The toys are learned at once: three more checks are of no use.
    losses = [event["validation_loss"] for event in checks[:-1]]
    assert len(losses) == 4
    assert losses[0] < 0.02 * math.log(2)
    # The small validation split is judged by its loss, and the best weights are those that are cooled down.
    assert end["best_step"] == checks[losses.index(min(losses))]["step"]
    assert outcome.steps - checks[-2]["step"] == round(0.2 * end["best_step"])


def test_the_learning_rate_until_flat_is_constant_and_then_decays_to_nothing(flat):
    _, log = flat
    [end] = [event for event in log if "ended" in event]
    checks = [event["step"] for event in log if event.get("validation_loss") is not None]
    rates = {event["step"]: event["learning_rate"] for event in log if "loss" in event}
    assert rates[checks[0]] < rates[checks[1]] == rates[checks[-2]] == 5e-3  # 60 steps of warm-up
    assert rates[checks[-1]] < 5e-3 * 12 / (checks[-1] - checks[-2])
    assert end["step"] == checks[-1]


def test_training_until_flat_never_takes_more_than_the_maximum_of_steps(catalog, quiet_model, tmp_path):
    toys = toy_catalog(catalog)
    made = toys.make(Strategy, "full", {})
    run = toy_run(toys, quiet_model, made, stages=1, learning_rate=1e-5, epochs="flat", max_steps=70)
    assert compute(run, toys, tmp_path).steps <= 70
    [end] = [event for event in Store(tmp_path).log(run) if "ended" in event]
    assert end["ended"] == "maximum"


@pytest.mark.parametrize(
    ("scores", "losses", "flat"),
    [
        ([0.5, 0.6, 0.6, 0.6, 0.6], [1.0, 0.9, 0.9, 0.9, 0.9], True),
        ([0.5, 0.6, 0.6, 0.6, 0.7], [1.0, 0.9, 0.9, 0.9, 0.9], False),
        ([0.1, 0.1, 0.1, 0.1, 0.1], [2.1, 2.0, 1.9, 1.8, 1.7], False),
        ([0.6, 0.6, 0.6], [1.0, 1.0, 1.0], False),
        ([-math.inf] * 5, [1.0, 0.1, 0.095, 0.092, 0.09], True),
        ([0.9, 0.9, 0.9, 0.9, 0.8], [1.0, 1.1, 1.2, 1.3, 1.4], True),
    ],
    ids=["level", "a higher score", "chance, but learning", "too few checks", "a loss near its end", "overfitting"],
)
def test_validation_is_flat_if_neither_score_nor_loss_has_improved(scores, losses, flat):
    assert _flat(scores, losses, 3, 2.1) is flat


def test_a_loss_that_is_not_a_number_ends_the_run_and_says_what_may_help(catalog, quiet_model, tmp_path):
    from harness.engine.worker import perform
    from harness.records import Job, Place

    toys = toy_catalog(catalog)
    run = toy_run(toys, quiet_model, toys.make(Strategy, "full", {}), learning_rate=1e30, max_grad_norm=1e30, epochs=4)
    result = perform(Job(run=run, results=tmp_path), toys, lambda _: None, Place(cpu=True))
    assert isinstance(result, Failure)
    assert "try a lower learning rate" in result.reason
    assert Store(tmp_path).failure(run) == result


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is limited the Linux way")
def test_a_batch_that_does_not_fit_in_memory_is_computed_in_pieces_with_the_same_result(tmp_path):
    program = Path(__file__).with_name("memory_limit.py")
    done = subprocess.run([sys.executable, program, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    limited, free = json.loads(done.stdout)
    assert free["notes"] == []
    assert len(limited["notes"]) == 1
    assert re.fullmatch(
        r"each batch was computed in (2|4|8|16) pieces because larger pieces did not fit in memory",
        limited["notes"][0],
    )
    assert limited["steps"] == free["steps"]
    # Sums in another order, in single precision.
    assert limited["losses"] == pytest.approx(free["losses"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "train", [{"class_weights": "balanced"}, {"label_smoothing": 0.2}, {"head_learning_rate": 5e-2}]
)
@pytest.mark.parametrize("strategy", ["full", "lora"])
def test_a_setting_of_the_loss_or_of_the_head_changes_what_is_learned(catalog, quiet_model, tmp_path, strategy, train):
    toys = toy_catalog(catalog)
    losses = []
    for name, settings in (("plain", {}), ("set", train)):
        made = toys.make(Strategy, strategy, {})
        run = toy_run(toys, quiet_model, made, stages=1, learning_rate=5e-3, **settings)
        uneven = run.stages[0].dataset.model_copy(update={"params": {**run.stages[0].dataset.params, "rows": 61}})
        run = run.model_copy(update={"stages": (run.stages[0].model_copy(update={"dataset": uneven}),)})
        compute(run, toys, tmp_path / name)
        losses.append(curve(run, tmp_path / name))
    assert losses[0] != losses[1]
    # The first step is taken before anything was learned: a learning rate cannot have changed its loss.
    assert (losses[0][0] == losses[1][0]) == ("head_learning_rate" in train)


def test_the_heads_parameters_have_a_learning_rate_of_their_own():
    matrix, bias, head = (torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 2), (2,), (3, 2)))
    config = TrainConfig(learning_rate=1e-3, head_learning_rate=1e-2)
    groups = parameter_groups([matrix, bias, head], config, [2])
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert rates == {id(matrix): 1e-3, id(bias): 1e-3, id(head): pytest.approx(1e-2)}
    assert [group["times"] for group in parameter_groups([matrix, head], TrainConfig(learning_rate=1e-3), [1])] == [
        1.0,
        1.0,
    ]
