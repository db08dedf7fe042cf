"""Names of other libraries that are not promised to stay: each has a probe and a way around that gives the same."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.engine import compat
from harness.engine.fast import paths
from harness.store import Store
from harness.testing import ToyDataset, run_command, write_tiny_model

ROOT = Path(__file__).parents[2]


@pytest.fixture
def plain(monkeypatch):
    """Every probe fails."""
    monkeypatch.setenv("HARNESS_PLAIN", "1")
    compat.forget()
    compat.plain.cache_clear()
    yield
    monkeypatch.undo()
    compat.forget()
    compat.plain.cache_clear()


def test_nothing_private_of_another_library_is_touched_outside_this_module():
    own = {"harness/engine/compat.py", "plugins/harness_plugins/datasets/file.py"}  # the latter: of its own class
    marked = [
        str(path.relative_to(ROOT))
        for folder in ("harness", "plugins")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"noqa:[^#]*SLF001", path.read_text(encoding="utf-8"))
    ]
    assert set(marked) <= own


def test_every_probe_holds_with_the_installed_versions():
    compat.forget()
    for name in paths._CHECKS:
        assert paths.holds(name), compat._failed
    compat.softmax_backward(torch.ones(1, 2), torch.ones(1, 2))
    compat.versions(iter([]))
    assert compat.cpu_attention_counts(1, 2)
    assert compat.clips_in_step()
    with compat.replaced_attention(lambda original: original):
        pass
    assert compat.taken_plainly() == []


def test_a_name_that_is_gone_is_told_and_gone_around(monkeypatch):
    compat.forget()
    monkeypatch.delattr(torch, "_softmax_backward_data")
    weights = torch.tensor([[0.25, 0.75]])
    found = compat.softmax_backward(torch.tensor([[1.0, 0.0]]), weights)
    assert torch.allclose(found, torch.tensor([[0.1875, -0.1875]]))
    (told,) = compat.taken_plainly()
    assert told.startswith("the gradient of softmax uses the slower plain implementation: AttributeError")
    compat.forget()


def test_a_name_that_does_something_else_is_not_used(monkeypatch):
    compat.forget()
    monkeypatch.setattr(torch, "_softmax_backward_data", lambda gradient, *_: gradient)
    assert torch.allclose(compat.softmax_backward(torch.ones(1, 2), torch.tensor([[0.5, 0.5]])), torch.zeros(1, 2))
    assert "the results differ" in compat.taken_plainly()[0]
    compat.forget()


def test_without_torchs_count_everything_counts_as_changed(plain):
    parameter = nn.Parameter(torch.zeros(1))
    assert compat.versions(iter([parameter])) != compat.versions(iter([parameter]))


def test_attention_is_counted_without_its_kernels_name_too(plain):
    from harness.engine.flops import operation_counter

    value = torch.zeros(1, 1, 4, 8)
    with operation_counter() as counter, compat.countable():
        nn.functional.scaled_dot_product_attention(value, value, value)
    assert counter.get_total_flops() == 2 * 2 * 4 * 4 * 8


@pytest.mark.slow
def test_with_every_probe_failing_a_comparison_gives_the_plain_ways_numbers(tmp_path):
    write_tiny_model(tmp_path / "model")
    ToyDataset(rows=90).read().splits["train"].to_csv(str(tmp_path / "reviews.csv"))
    found = []
    for results, options, environment in (
        ("fast", [], {}),
        ("off", ["-o", "train.fast=false"], {}),
        ("failing", ["-o", "train.fast=true"], {"HARNESS_PLAIN": "1"}),
    ):
        command = [
            "compare", "reviews.csv", "-m", "./model", "-s", "full,lora,frozen,last-layers",
            "--seeds", "0", "-w", "none", "-o", "train.max_length=24", "-o", "train.epochs=2", "--results", results, "-f", "json", "--in-process", *options,
        ]  # fmt: skip
        if environment:  # it is read when the probes are first asked for
            done = subprocess.run(
                [sys.executable, "-m", "harness", *command],
                cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
            )  # fmt: skip
        else:
            done = run_command(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        store = Store(tmp_path / results)
        rows = json.loads(done.stdout)["rows"]
        found.append({row["label"]: store.predictions(store.find(row["runs"][0]), 1, 0).outputs for row in rows})
    fast, off, failing = found
    for label in fast:
        assert np.array_equal(off[label], failing[label]), label
    # Dropout is drawn otherwise; where there is none, the fast ways differ by rounding alone.
    assert np.allclose(fast["frozen"], off["frozen"], atol=1e-4)
