"""The commands that compute nothing."""

import json
import re
from pathlib import Path

import pytest

from harness import HarnessError
from harness.cli.describe import describe
from harness.testing import run_command

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def harness(*arguments: str, cwd: Path = ROOT) -> str:
    done = run_command(*arguments, cwd=cwd, COLUMNS="160")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_list_names_every_built_in_with_its_first_line():
    rows = {(row["kind"], row["name"]): row["summary"] for row in json.loads(harness("list", "--json"))}
    assert rows["strategy", "full"] == "Train every weight of the model."
    assert {name for kind, name in rows if kind == "strategy"} >= {"untuned", "full", "frozen", "last-layers", "lora"}
    assert {name for kind, name in rows if kind == "model"} >= {"minilm", "hub", "folder"}
    assert {name for kind, name in rows if kind == "dataset"} >= {
        "imdb",
        "rotten-tomatoes",
        "sotu-era",
        "sotu",
        "file",
        "hub",
    }
    assert {name for kind, name in rows if kind == "reporter"} >= {"rich", "markdown", "csv", "json"}


def test_list_of_one_kind_shows_only_that_kind():
    assert {row["kind"] for row in json.loads(harness("list", "metrics", "--json"))} == {"metric"}
    assert "macro-f1" in harness("list", "metrics")


def test_describe_shows_parameters_with_types_defaults_help_and_source():
    text = harness("describe", "strategy", "lora")
    assert re.search(r"rank +int +8 +rank of the adapters", text)
    assert "training defaults: learning_rate=0.0005" in text
    assert "plugin lora of finetune-harness" in text


def test_describe_train_shows_the_training_settings():
    assert re.search(r"epochs +int \| .flat. +flat +passes over the training split", harness("describe", "train"))


@pytest.mark.slow
def test_every_component_can_be_described(capsys):
    for row in json.loads(harness("list", "--json")):
        describe(row["kind"], row["name"])
        assert capsys.readouterr().out.startswith(f"{row['kind']} {row['name']}  version ")


def test_every_strategy_is_listed_once_and_has_a_summary():
    rows = json.loads(harness("list", "strategies", "--json"))
    assert len({row["name"] for row in rows}) == len(rows)
    assert {"full", "frozen", "lora"} <= {row["name"] for row in rows}
    assert all(row["summary"] for row in rows)


def test_describe_shows_a_method_of_peft_with_its_settings_and_where_its_learning_rate_is_from():
    text = harness("describe", "strategy", "peft:ia3")
    assert text.startswith("strategy peft:ia3  version 1")
    assert "Scales keys, values and the feed-forward layer by trained vectors (Liu et al., 2022)." in text
    assert "Learning rate 0.005: PEFT's method_comparison, MetaMathQA, ia3 all-attn-5k-lr0.005" in text
    assert re.search(r"init_ia3_weights +bool +True +Whether to initialize the vectors", text)
    assert "modules_to_save" not in text  # follows from the model
    assert "training defaults: learning_rate=0.005" in text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("peft:vara", "unknown method of PEFT 'vara': did you mean 'vera'?"),
        ("full:3", "strategy 'full:3': 'full' takes no argument after a colon, but got '3'"),
    ],
)
def test_describe_refuses_what_a_name_cannot_stand_for(name, message):
    with pytest.raises(HarnessError) as error:
        describe("strategy", name)
    assert message in str(error.value)


def test_plan_says_what_would_run_and_that_nothing_is_done(tmp_path):
    plan = json.loads(harness("plan", str(ROOT / "experiments" / "quickstart.toml"), "--json", cwd=tmp_path))
    assert [run["arm"] for run in plan["runs"]] == ["untuned", "full", "frozen", "lora"] * 3
    assert {run["state"] for run in plan["runs"]} == {"missing"}
    assert len({run["id"] for run in plan["runs"]}) == 12
    assert "12 runs: 0 done, 12 to compute" in harness(
        "plan", str(ROOT / "experiments" / "quickstart.toml"), cwd=tmp_path
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_doctor_finds_all_well(tmp_path):
    text = harness("doctor", cwd=tmp_path)
    assert "lora (finetune-harness 0.1.0): ok" in text
    needs = text.partition("something installed first\n")[2].partition("results\n")[0]
    assert "  model " not in needs.replace("model smollm2", "")  # whose package is installed beside
    assert "  dataset " not in needs
    assert "left out by --without" in harness("doctor", "--without", "lora", cwd=tmp_path)
