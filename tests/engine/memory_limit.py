"""Trains one batch a step, with a limit on this process's memory and without; prints both curves as JSON, the limited first."""

import json
import os
import resource
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from harness.contracts import Strategy, Task
from harness.engine import train
from harness.records import TaskData
from harness.store import Store
from harness.testing import ToyDataset, compute, toy_catalog, toy_run, write_tiny_model

ROOM_BYTES = 120_000_000

results = Path(sys.argv[1])
toys = toy_catalog()
model = write_tiny_model(results / "model", hidden_size=128, intermediate_size=2048, hidden_dropout_prob=0.0)
dataset = ToyDataset(rows=600)
problem = TaskData(dataset=dataset.reference(), task=toys.make(Task, "text-classification", {}).reference())
settings = {"batch_size": 432, "epochs": 3, "learning_rate": 1e-3, "eval_batch_tokens": 256}
run = toy_run(toys, model, toys.make(Strategy, "full", {}), **settings)
run = run.model_copy(update={"stages": (problem,), "watch": ()})
steps = train.Training.run


def limited(loop, batches, rate):
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM_BYTES, before[1]))
    try:
        steps(loop, batches, rate)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


found = []
# The limited one first, or it could use again what the other has given back to this process only.
for name, way in (("limited", limited), ("free", steps)):
    train.Training.run = way
    outcome = compute(run, toys, results / name)
    curve = (Store(results / name).folder(run) / "log.jsonl").read_text().splitlines()
    losses = [event["loss"] for event in map(json.loads, curve) if "loss" in event]
    found.append({"notes": list(outcome.notes), "steps": outcome.steps, "losses": losses})
sys.stdout.write(json.dumps(found))
