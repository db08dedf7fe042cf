"""A run that is interrupted goes on where it was, and ends as it would have."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from harness.contracts import Strategy
from harness.engine.worker import perform
from harness.records import Failure, Job, Place
from harness.store import Store
from harness.testing import compute, toy_catalog, toy_run

pytestmark = pytest.mark.slow


class Interrupted(BaseException):
    """Ends an attempt as a signal would: nothing handles it."""


def attempt(run, catalog, results, until=None, **job):
    """Compute a run, or only until this many losses were logged; return the outcome, None if it was interrupted."""
    seen = 0

    def log(event):
        nonlocal seen
        seen += "loss" in event
        if seen == until:
            raise Interrupted

    try:
        result = perform(Job(run=run, results=results, **job), catalog, log, Place(cpu=True))
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


@pytest.fixture
def at_every_step(monkeypatch):
    monkeypatch.setenv("HARNESS_CHECKPOINT_SECONDS", "0")


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
def test_an_interrupted_run_ends_as_it_would_have(catalog, tiny_model, tmp_path, at_every_step, strategy, params, train):
    toys = toy_catalog(catalog)
    run = toy_run(toys, tiny_model, toys.make(Strategy, strategy, params), **{"learning_rate": 5e-3, **train})
    os.environ["HARNESS_CHECKPOINT_SECONDS"] = "1e9"
    whole = compute(run, toys, tmp_path / "whole")
    os.environ["HARNESS_CHECKPOINT_SECONDS"] = "0"
    attempts = 0
    while (outcome := attempt(run, toys, tmp_path / "parts", until=(7, 12, 10)[attempts % 3] if attempts < 12 else None)) is None:
        attempts += 1
    assert attempts > 1
    assert kept(run, tmp_path / "parts") == kept(run, tmp_path / "whole")
    assert counted(outcome) == counted(whole)
    assert any("continued after an interruption" in note for note in outcome.notes)
    spent = sum(phase.wall_seconds for phase in outcome.phases.values())
    assert spent == pytest.approx(outcome.wall_seconds, rel=0.02)
