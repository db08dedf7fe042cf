"""A model that the processes of a run share while they train it: the same results, with less memory in each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from harness.contracts import Strategy
from harness.testing import ToyDataset, run_command, write_tiny_model

pytestmark = pytest.mark.slow

QUICK = ["-o", "train.epochs=2", "-o", "train.patience=1", "-o", "train.max_length=24", "-o", "train.batch_size=8"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, without dropout, and a data file."""
    folder = tmp_path_factory.mktemp("place")
    write_tiny_model(folder / "model", hidden_dropout_prob=0.0)
    frame = ToyDataset(rows=80).read().splits["train"].to_pandas()
    frame["label"] = frame["label"].map({0: "good", 1: "bad"})
    frame.to_csv(folder / "reviews.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def strategies(catalog) -> list[str]:
    """The names of the strategies whose model can be shared."""
    every = [cls for cls in catalog.every(Strategy) if cls.role == "contender" and cls.shardable]
    made = [catalog.make(Strategy, cls.name, {"method": "lora"} if cls.name == "peft" else {}) for cls in every]
    return [
        "peft:method=lora" if strategy.name == "peft" else strategy.name
        for strategy in made
        if strategy.missing() is None
    ]


def losses(folder: Path) -> list[float]:
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if "loss" in event]


def folders(place: Path, name: str, *arguments: str) -> tuple[Path, Path]:
    """Return the runs that one process computed, and those of two that shared the model."""
    found = []
    for which, options in {"one": [], "shared": ["--processes-per-run", "2", "--shard"]}.items():
        results = f"{name}-{which}"
        done = run_command(
            "compare", "reviews.csv", "-m", "./model", "--seeds", "0", "-w", "none", *arguments, *options, "--cpu",
            "--results", results, cwd=place,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(place / results / "runs")
    return found[0], found[1]


def test_every_strategy_learns_the_same_whether_the_model_is_shared_or_not(place, strategies):
    alone, together = folders(place, "all", "-s", f"full,{','.join(strategies)}", *QUICK, "--keep-models")
    fitted = 0
    for one in sorted(alone.iterdir()):
        shared = together / one.name
        outcome = json.loads((shared / "outcome.json").read_text())
        assert outcome["sharded"] == bool(losses(one)), one.name
        assert losses(one) == pytest.approx(losses(shared), abs=1e-5), one.name
        with np.load(one / "predictions.npz") as single, np.load(shared / "predictions.npz") as joint:
            assert single["outputs-1-0"] == pytest.approx(joint["outputs-1-0"], abs=2e-3), one.name
        for file in (one / "model").rglob("*.safetensors"):
            ours, theirs = load_file(file), load_file(shared / "model" / file.relative_to(one / "model"))
            assert ours.keys() == theirs.keys()
            for key, values in ours.items():
                assert values.numpy() == pytest.approx(theirs[key].numpy(), abs=2e-3), (one.name, key)
        fitted += outcome["sharded"]
    assert fitted > 5


def test_training_until_flat_keeps_the_same_weights(place):
    arguments = [
        "-s",
        "full,lora",
        "-o",
        "train.max_steps=200",
        "-o",
        "train.batch_size=8",
        "-o",
        "train.max_length=24",
    ]
    alone, together = folders(place, "flat", *arguments)
    for one in sorted(alone.iterdir()):
        both = [
            [json.loads(line) for line in (runs / one.name / "log.jsonl").read_text().splitlines()]
            for runs in (alone, together)
        ]
        ended = [[event["best_step"] for event in events if "ended" in event] for events in both]
        assert ended[0] == ended[1]
        assert losses(one) == pytest.approx(losses(together / one.name), abs=1e-3)


def test_a_shared_model_takes_less_memory_in_each_process(tmp_path, place):
    # The C library would otherwise keep freed memory for itself.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
    write_tiny_model(
        tmp_path / "model",
        hidden_size=768, intermediate_size=3072, num_hidden_layers=4, num_attention_heads=8, hidden_dropout_prob=0.0,
    )  # fmt: skip
    peaks = {}
    for name, options in {"copies": [], "shared": ["--shard"]}.items():
        done = subprocess.run(
            [sys.executable, "-m", "harness", "compare", str(place / "reviews.csv"), "-m", "./model", "--seeds", "0", "-w", "none", "-s", "full",
            "-o", "train.epochs=1", "--processes-per-run", "2", *options, "--cpu", "--results", name],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        for strategy in ("untuned", "full"):
            (path,) = (tmp_path / name / "runs").glob(f"{strategy}-*/outcome.json")
            peaks[name, strategy] = json.loads(path.read_text())["phases"]["tune"]["peak_memory_bytes"]
    needed = {name: peaks[name, "full"] - peaks[name, "untuned"] for name in ("copies", "shared")}
    # Gradients and two moments of Adam: three times the weights, and once more for averaging copies' gradients.
    assert needed["copies"] > 3 * (tmp_path / "model" / "model.safetensors").stat().st_size
    assert needed["shared"] < 0.6 * needed["copies"], needed


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--shard"], "--processes-per-run 2 or more"),
        (["--shard", "--processes-per-run", "2", "-s", "full,adalora"], "strategy 'adalora' needs whole weights"),
        (["--shard", "--processes-per-run", "2", "-o", "train.compile=true"], "train.compile=false"),
        (["--shard", "--processes-per-run", "2", "-o", "train.precision=fp16"], "train.precision=bf16"),
        (["--shard", "--in-process"], "has no such setting"),
    ],
    ids=["one process", "strategy", "compiled", "fp16", "executor"],
)
def test_what_cannot_be_shared_is_refused_before_the_first_run(place, arguments, told):
    done = run_command("compare", "reviews.csv", "-m", "./model", *arguments, "--cpu", "--results", "none", cwd=place)
    assert done.returncode != 0
    assert told in done.stderr
    assert not list((place / "none" / "runs").glob("*"))
