"""A strategy from another distribution, really installed, works with `compare` as the built-in ones do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.testing import ToyDataset, run_command, write_tiny_model

PACKAGE = Path(__file__).parent / "harness-embeddings"
TASK = Path(__file__).parent / "harness-ordinal"
EXECUTOR = Path(__file__).parent / "harness-pool"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with the external plugins in it."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--target", str(folder), str(PACKAGE), str(TASK), str(EXECUTOR)],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def run(*command: str, cwd: Path, site: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_an_installed_strategy_is_listed_with_its_distribution_and_left_out_on_request(site, tmp_path):
    listed = run("-m", "harness.cli", "list", "strategies", cwd=tmp_path, site=site)
    assert "embeddings" in listed.stdout
    assert "harness-embeddings 1.0" in listed.stdout
    without = run("-m", "harness.cli", "list", "strategies", "--without", "embeddings", cwd=tmp_path, site=site)
    assert "harness-embeddings" not in without.stdout


@pytest.mark.slow
def test_an_installed_strategy_keeps_the_contract(site, tmp_path):
    code = "import harness.testing, harness_embeddings; harness.testing.check_strategy(harness_embeddings.Embeddings())"
    done = run("-c", code, cwd=tmp_path, site=site)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_an_installed_strategy_is_compared_and_its_version_recorded(site, tmp_path):
    write_tiny_model(tmp_path / "model")
    ToyDataset(rows=60).read().splits["train"].to_csv(tmp_path / "data.csv")
    done = run(
        "-m", "harness.cli", "compare", "data.csv", "-m", "./model", "-s", "full,embeddings", "--seeds", "0", "-w", "none",
        "-o", "train.epochs=1", "-o", "train.max_length=24", cwd=tmp_path, site=site,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("embeddings"))
    assert "91 MB" not in row
    outcome = next((tmp_path / "results" / "runs").glob("embeddings-*/outcome.json")).read_text()
    assert '"embeddings": "harness-embeddings 1.0"' in outcome


@pytest.mark.slow
def test_an_installed_task_and_its_metric_are_compared_by_every_kind_of_strategy(site, tmp_path):
    write_tiny_model(tmp_path / "model")
    ToyDataset(rows=90, classes=3).read().splits["train"].to_csv(tmp_path / "stars.csv")
    done = run(
        "-m", "harness.cli", "compare", "stars.csv", "-m", "./model", "-s", "full,frozen,lora", "--seeds", "0", "-w", "none",
        "-o", "file.task=ordinal", "-o", "file.task.most=3", "-o", "train.epochs=1", "-o", "train.max_length=24",
        "--format", "json", cwd=tmp_path, site=site,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = json.loads(done.stdout)
    assert [column["title"] for column in table["columns"][:2]] == ["accuracy", "off by"]
    assert {row["label"] for row in table["rows"]} == {"untuned", "full", "frozen", "lora"}
    assert all(row["cells"][1]["value"] is not None for row in table["rows"])


@pytest.mark.slow
def test_an_installed_executor_computes_the_scores_of_the_default_one(site, tmp_path):
    quickstart = Path(__file__).parents[2] / "experiments" / "quickstart.toml"
    tables = []
    for results, chosen in (("here", ()), ("there", ("--executor", "pool:workers=2"))):
        command = [
            "compare", str(quickstart), "-s", "full,frozen", "--seeds", "0", "--limit", "train=64,validation=32,test=64",
            "-o", "train.max_length=32", "-w", "none", "--results", results, "--format", "json", *chosen,
        ]  # fmt: skip
        installed = run("-m", "harness.cli", *command, cwd=tmp_path, site=site) if chosen else None
        done = installed or run_command(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        tables.append(json.loads(done.stdout))
    scores = [[(row["label"], row["cells"][0]["value"]) for row in table["rows"]] for table in tables]
    assert scores[0] == scores[1]
    assert len(scores[0]) == 3
