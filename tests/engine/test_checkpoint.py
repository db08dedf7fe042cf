"""A run that is interrupted goes on where it was, and ends as it would have."""

import contextlib
import json
import random
import signal
import threading
import time

import numpy as np
import psutil
import pytest

from harness.contracts import Executor, Strategy
from harness.engine.worker import perform
from harness.errors import HarnessError
from harness.experiment.asked import Asked
from harness.records import Failure, Job, Place
from harness.runner.plans import Runner
from harness.store import Store
from harness.testing import ToyDataset, compute, toy_catalog, toy_run

pytestmark = pytest.mark.slow


class Interrupted(BaseException):
    """Ends an attempt as a signal would: nothing handles it."""


def attempt(run, catalog, results, until=None):
    """Compute a run, or only until this many losses were logged; return the outcome, None if it was interrupted.

    There is a checkpoint after every step.
    """
    seen = 0

    def log(event):
        nonlocal seen
        seen += "loss" in event
        if seen == until:
            raise Interrupted

    try:
        job = Job(run=run, results=results, checkpoint_seconds=0)
        result = perform(job, catalog, log, Place(cpu=True))
    except Interrupted:
        return None
    assert not isinstance(result, Failure), f"{result.reason}\n{result.trace}"
    return result


def kept(run, results):
    """Return everything stored of a run that must not depend on interruptions: its predictions and its curve."""
    folder = Store(results).folder(run)
    assert not (folder / "checkpoint").exists()
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    told = [{key: value for key, value in event.items() if key not in {"seconds", "flops"}} for event in events]
    with np.load(folder / "predictions.npz") as arrays:
        return {name: arrays[name].tolist() for name in arrays}, told


def counted(outcome):
    """Return what is counted of a run, which must not depend on interruptions either."""
    return (
        outcome.steps,
        outcome.examples,
        outcome.parameters_trained,
        {name: phase.flops for name, phase in outcome.phases.items() if phase.flops},
    )


@pytest.mark.parametrize(
    ("strategy", "params", "train"),
    [
        ("full", {}, {"epochs": 3}),
        ("full", {}, {"epochs": "flat", "max_steps": 90}),
        ("full", {}, {"epochs": 4, "patience": 1, "gradient_accumulation_steps": 2, "head_learning_rate": 1e-2}),
        ("lora", {}, {"epochs": 3}),
        ("lora", {"dropout": 0.1}, {"epochs": "flat", "max_steps": 90, "fast": False}),
        ("peft", {"method": "vera"}, {"epochs": 3}),
        ("last-layers", {}, {"epochs": 3}),
        ("lp-ft", {}, {"epochs": 3}),
        ("bitfit", {}, {"epochs": 3}),
        ("ewc", {}, {"epochs": 3}),
        ("replay", {}, {"epochs": 3}),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else value,
)
def test_an_interrupted_run_ends_as_it_would_have(catalog, tiny_model, tmp_path, strategy, params, train):
    toys = toy_catalog(catalog)
    run = toy_run(toys, tiny_model, toys.make(Strategy, strategy, params), **{"learning_rate": 5e-3, **train})
    whole = compute(run, toys, tmp_path / "whole")
    attempts, outcome = 0, None
    while outcome is None:
        until = (7, 12, 10)[attempts % 3] if attempts < 12 else None
        outcome = attempt(run, toys, tmp_path / "parts", until)
        attempts += 1
    assert attempts > 2
    assert kept(run, tmp_path / "parts") == kept(run, tmp_path / "whole")
    assert counted(outcome) == counted(whole)
    assert any("continued after an interruption" in note for note in outcome.notes)
    assert 0 < outcome.restarts < attempts
    assert outcome.restarts == attempts - 1 or strategy in {"ewc", "replay"}
    spent = sum(phase.wall_seconds for phase in outcome.phases.values())
    assert spent == pytest.approx(outcome.wall_seconds, rel=0.02)


@pytest.fixture
def asked(catalog, tiny_model, tmp_path):
    """A plan of one run of 60 steps, by a file and a model that other processes find too."""
    ToyDataset(rows=60).read().splits["train"].to_csv(str(tmp_path / "data.csv"))
    return Asked(
        target=str(tmp_path / "data.csv"), model=str(tiny_model), watch=["none"], strategies=["full"], seeds=[0],
        options=["train.epochs=10", "train.max_length=24", "train.batch_size=8", "train.learning_rate=5e-3"],
    ).plan(catalog)  # fmt: skip


def computed(plan, results, catalog, said, **settings):
    """Compute a plan once in other processes; return the result of its last run."""
    executor = catalog.make(Executor, "local", {"cpu": True, **settings})
    runner = Runner(Store(results), catalog, executor, said.append)
    runs = [(arm.label, run) for arm, run in plan.runs if arm.role != "baseline"]
    ((_, result),) = runner.compute(runs, "", len(runs))
    return runs[0][1], result


class Stopper(threading.Thread):
    """Tells the processes of this one to end, each a little after it has written a file of its run."""

    def __init__(self, results, number, times, after="log.jsonl"):
        super().__init__(daemon=True)
        self.runs, self.number, self.times, self.after, self.stopped = results / "runs", number, times, after, []

    def run(self):
        while len(self.stopped) < self.times:
            time.sleep(0.02)
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
                for child in (copy for warm in psutil.Process().children() for copy in warm.children()):
                    if child.pid not in self.stopped and self.trains(child):
                        time.sleep(0.2 * random.random())
                        self.stopped.append(child.pid)
                        child.send_signal(self.number)

    def trains(self, child):
        found = [path.stat() for path in self.runs.glob(f"full-*/{self.after}")]
        return any(one.st_size and one.st_mtime > child.create_time() for one in found)


def in_spite_of(stopper, plan, results, catalog, **settings):
    """Compute a plan's run as often as it is stopped; return the run and its outcome."""
    stopper.start()
    while True:
        run, result = computed(plan, results, catalog, [], **settings)
        if not isinstance(result, Failure):
            return run, result
        assert result.status == "lost", result


@pytest.mark.parametrize(("number", "times", "seconds"), [("SIGKILL", 20, "0"), ("SIGTERM", 3, "600")])
def test_being_killed_again_and_again_within_a_run_changes_nothing(
    catalog, asked, tmp_path, monkeypatch, number, times, seconds
):
    whole, _ = computed(asked, tmp_path / "whole", catalog, [])
    monkeypatch.setenv("HARNESS_CHECKPOINT_SECONDS", seconds)
    stopper = Stopper(tmp_path / "parts", getattr(signal, number), times)
    run, outcome = in_spite_of(stopper, asked, tmp_path / "parts", catalog)
    assert len(stopper.stopped) == times
    assert kept(run, tmp_path / "parts") == kept(whole, tmp_path / "whole")
    told = [note for note in outcome.notes if "continued after an interruption" in note]
    assert told
    if number == "SIGTERM":  # nothing is lost
        assert told == ["a run was continued after an interruption"]


def test_two_processes_that_share_a_run_go_on_together(catalog, asked, tmp_path, monkeypatch):
    whole, _ = computed(asked, tmp_path / "whole", catalog, [], processes_per_run=2)
    monkeypatch.setenv("HARNESS_CHECKPOINT_SECONDS", "0")
    stopper = Stopper(tmp_path / "parts", signal.SIGKILL, 1, "checkpoint/0.safetensors")
    run, outcome = in_spite_of(stopper, asked, tmp_path / "parts", catalog, processes_per_run=2)
    assert kept(run, tmp_path / "parts") == kept(whole, tmp_path / "whole")
    assert any("continued after an interruption" in note for note in outcome.notes)


@pytest.fixture
def interrupted(catalog, tiny_model, tmp_path):
    """A run that was interrupted, and its checkpoint."""
    toys = toy_catalog(catalog)
    run = toy_run(toys, tiny_model, toys.make(Strategy, "full", {}), stages=1, learning_rate=5e-3)
    assert attempt(run, toys, tmp_path, until=5) is None
    return run, toys, Store(tmp_path).folder(run) / "checkpoint" / "0.safetensors"


@pytest.mark.parametrize("content", [b"", b"no tensors", None], ids=["empty", "damaged", "cut off"])
def test_a_damaged_checkpoint_is_treated_as_missing(interrupted, tmp_path, content):
    run, toys, path = interrupted
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    assert not any("continued" in note for note in attempt(run, toys, tmp_path).notes)


def test_what_a_killed_process_left_half_written_does_not_pile_up(interrupted, tmp_path):
    run, toys, path = interrupted
    (path.parent / ".0.safetensors-abc").write_bytes(b"half")
    assert attempt(run, toys, tmp_path, until=2) is None
    assert [one.name for one in path.parent.iterdir()] == ["0.safetensors"]


def test_a_checkpoint_of_other_versions_is_not_used(interrupted, tmp_path, monkeypatch):
    run, toys, _ = interrupted
    monkeypatch.setattr("harness.engine.execute.versions", lambda: {"torch": "0.1"})
    assert not any("continued" in note for note in attempt(run, toys, tmp_path).notes)


def test_a_run_that_fails_leaves_no_checkpoint(interrupted, tmp_path, monkeypatch):
    run, toys, path = interrupted
    monkeypatch.setattr("harness.engine.training.Training._take_step", lambda *_: 1 / 0)
    result = perform(Job(run=run, results=tmp_path), toys, lambda _: None, Place(cpu=True))
    assert result.status == "failed"
    assert not path.exists()


def test_a_run_goes_on_if_its_checkpoint_cannot_be_written(catalog, tiny_model, tmp_path):
    toys = toy_catalog(catalog)
    run = toy_run(toys, tiny_model, toys.make(Strategy, "full", {}), stages=1)
    folder = Store(tmp_path).folder(run)
    folder.mkdir()
    (folder / "checkpoint").touch()  # not a folder
    assert any(note.startswith("no checkpoints: ") for note in attempt(run, toys, tmp_path).notes)


def test_a_short_training_writes_no_checkpoint(catalog, tiny_model, tmp_path, monkeypatch):
    toys = toy_catalog(catalog)
    run = toy_run(toys, tiny_model, toys.make(Strategy, "full", {}), stages=1)
    monkeypatch.setattr("harness.engine.training.Training._save", lambda _: 1 / 0)
    compute(run, toys, tmp_path)


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf", ""])
def test_a_time_between_checkpoints_that_is_none_is_refused_before_anything_is_computed(
    catalog, asked, tmp_path, monkeypatch, text
):
    monkeypatch.setenv("HARNESS_CHECKPOINT_SECONDS", text)
    runner = Runner(Store(tmp_path / "results"), catalog, catalog.make(Executor, "in-process", {"cpu": True}), print)
    with pytest.raises(HarnessError, match=f"HARNESS_CHECKPOINT_SECONDS='{text}' is not a number of seconds"):
        runner.carry_out(asked)
