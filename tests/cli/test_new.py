"""`harness new`, `schema`, `--version`, completion: what a newcomer's first plugin and editor need."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.cli.completion import kinds, names, runs
from harness.errors import HarnessError

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["strategy", "dataset", "metric", "task", "executor"])
def test_a_new_plugin_passes_its_test_at_once(tmp_path, kind):
    done = CliRunner().invoke(app, ["new", kind, "my-own", "--folder", str(tmp_path)])
    assert done.exit_code == 0, done.output
    folder = tmp_path / "harness-my-own"
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore"], cwd=folder, capture_output=True,
        text=True, check=False, env={"PYTHONPATH": str(folder), "PATH": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout
    assert "1 passed" in tested.stdout
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["harness"] == {"my-own": "harness_my_own"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["strategi", "x"], "unknown kind 'strategi': did you mean 'strategy'?"),
        (["strategy", "My Lora"], "'My Lora' is not a valid plugin name"),
        (["strategy", "there"], "already exists, and new does not overwrite folders"),
    ],
)
def test_a_mistake_writes_nothing(tmp_path, arguments, said):
    (tmp_path / "harness-there").mkdir()
    done = CliRunner().invoke(app, ["new", *arguments, "--folder", str(tmp_path)])
    assert isinstance(done.exception, HarnessError)
    assert said in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["harness-there"]


@pytest.fixture(scope="module")
def schema():
    made = json.loads(CliRunner().invoke(app, ["schema"]).stdout)
    jsonschema.Draft202012Validator.check_schema(made)
    return made


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_schema_takes_every_experiment(schema, path):
    errors = jsonschema.Draft202012Validator(schema).iter_errors(tomllib.loads(path.read_text()))
    assert [error.message for error in errors] == []


@pytest.mark.parametrize(
    "table",
    [
        {"stages": ["imdb"], "seed": [0]},
        {"stages": ["imdb"], "train": {"epoch": 1}},
        {"stages": [{"limit": {"train": 5}}]},
    ],
    ids=["a misspelt setting", "a misspelt training setting", "a dataset without a name"],
)
def test_the_schema_finds_what_is_misspelt(schema, table):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(table, schema)


def test_the_schema_knows_the_installed_strategies(schema):
    assert "lora" in schema["properties"]["strategies"]["items"]["anyOf"][0]["examples"]


def test_the_version_is_told_with_those_of_the_main_libraries():
    lines = CliRunner().invoke(app, ["--version"]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["finetune-harness", "torch", "transformers", "peft", "accelerate"]


def test_names_are_completed_with_their_summaries(tmp_path, monkeypatch):
    assert [name for name, _ in names("strategy")("fro")] == ["frozen", "frozen-ridge"]
    assert [name for name, _ in names("strategy")("full,lor")] == ["full,lora"]
    assert kinds("exec") == ["executor", "executors"]
    run = tmp_path / "runs" / "full-toy-s0-0123456789ab"
    run.mkdir(parents=True)
    (run / "run.json").touch()
    monkeypatch.setenv("HARNESS_RESULTS", str(tmp_path))
    assert runs("0123") == [("0123456789ab", "full-toy-s0-0123456789ab")]
