import json
import re

import pytest

from harness.errors import HarnessError
from harness.experiment.spec import (
    entries_of,
    is_experiment,
    make_spec,
    read_spec,
    toml_value,
    with_limits,
    with_overrides,
)


def a_spec(**more):
    return make_spec(
        {
            "name": "x",
            "stages": ["reviews"],
            "strategies": ["full", {"name": "lora", "label": "big", "rank": 16}],
            **more,
        },
        "x",
    )


def test_a_component_is_named_by_a_string_or_by_a_table_with_its_parameters():
    spec = a_spec(stages=[{"dataset": "reviews", "limit": {"train": 5}, "task": "probe", "label": "column"}])
    assert spec.stages[0].name == "reviews"
    assert spec.stages[0].task == "probe"
    assert spec.stages[0].params == {"limit": {"train": 5}, "label": "column"}
    assert spec.strategies[1].label == "big"
    assert spec.strategies[1].params == {"rank": 16}


def test_a_file_is_an_experiment_of_its_own_name(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('question = "why?"\nstages = ["reviews"]\n')
    assert (read_spec(path).name, read_spec(path).question, read_spec(path).seeds) == ("mine", "why?", (0, 1, 2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages = [", "not valid TOML"),
        ('stagse = ["reviews"]', "unknown setting 'stagse': did you mean 'stages'?"),
        ("seeds = [0, 0]", "duplicate seed"),
        ('seeds = "many"', "seeds: input should be a valid tuple"),
        ("stages = [{ limit = 3 }]", "a table needs a name"),
        ("stages = [3]", "expected a name or a table with a name, but got 3"),
    ],
)
def test_a_mistake_in_a_file_names_the_file_and_the_setting(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(HarnessError) as error:
        read_spec(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_a_file_that_is_not_there_or_not_utf8_is_named(tmp_path):
    with pytest.raises(HarnessError, match="no experiment file"):
        read_spec(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'question = "\xe9"')
    with pytest.raises(HarnessError, match="cannot be read"):
        read_spec(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16", 16),
        ("5e-4", 5e-4),
        ("true", True),
        ("[1, 2]", [1, 2]),
        ('"16"', "16"),
        ("mean", "mean"),
        ("a, b", "a, b"),
        ("", None),
    ],
)
def test_an_options_value_is_read_as_toml_and_else_is_text(text, value):
    assert toml_value(text) == value


def test_an_option_reaches_a_strategy_by_name_or_label_a_dataset_and_the_training():
    spec = with_overrides(
        a_spec(watch=["prose"]),
        ["full.x=1", "big.rank=4", "big.train.learning_rate=0.1", "prose.limit.test=40", "train.epochs=2"],
    )
    assert spec.strategies[0].params == {"x": 1}
    assert spec.strategies[1].params == {"rank": 4}
    assert spec.strategies[1].train == {"learning_rate": 0.1}
    assert spec.watch[0].params == {"limit": {"test": 40}}
    assert spec.train == {"epochs": 2}


def test_a_training_option_holds_for_every_arm_even_one_with_its_own():
    spec = with_overrides(a_spec(strategies=[{"name": "full", "train": {"epochs": 9}}]), ["train.epochs=2"])
    assert spec.strategies[0].train == {}


@pytest.mark.parametrize("option", ["epochs=2", "train.epochs", "train=2", ".epochs=2"])
def test_an_option_of_another_form_is_refused(option):
    with pytest.raises(HarnessError, match=r"is not of the form NAME\.KEY=VALUE"):
        with_overrides(a_spec(), [option])


def test_an_option_for_nothing_in_the_experiment_is_refused_with_the_nearest():
    with pytest.raises(HarnessError, match="unknown target of an option 'bigg': did you mean 'big'"):
        with_overrides(a_spec(), ["bigg.rank=4"])


def test_limits_are_put_on_every_stage_beside_those_there():
    spec = with_limits(a_spec(stages=[{"name": "reviews", "limit": {"test": 3}}, "other"]), ["train=5,validation=2"])
    assert spec.stages[0].params == {"limit": {"test": 3, "train": 5, "validation": 2}}
    assert spec.stages[1].params == {"limit": {"train": 5, "validation": 2}}


@pytest.mark.parametrize("limit", ["500", "train", "train=many", "train=-1"])
def test_a_limit_of_another_form_is_refused(limit):
    with pytest.raises(HarnessError, match="is not of the form SPLIT=ROWS"):
        with_limits(a_spec(), [limit])


def test_an_experiment_can_be_yaml_or_json(tmp_path):
    table = {"question": "?", "stages": ["imdb"], "strategies": [{"name": "lora", "rank": 4}], "seeds": [0]}
    texts = {
        "a.json": json.dumps(table),
        "a.yaml": "question: '?'\nstages: [imdb]\nstrategies: [{name: lora, rank: 4}]\nseeds: [0]\n",
        "a.toml": 'question = "?"\nstages = ["imdb"]\nstrategies = [{ name = "lora", rank = 4 }]\nseeds = [0]\n',
    }
    specs = []
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert is_experiment(tmp_path / name)
        specs.append(read_spec(tmp_path / name))
    assert specs[0] == specs[1] == specs[2]
    (tmp_path / "data.json").write_text('[{"text": "x", "label": "y"}]')
    assert not is_experiment(tmp_path / "data.json")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bad.yaml", "a: [1", "bad.yaml: not valid YAML: "),
        ("bad.json", '{"stages": ', "bad.json: not valid JSON: "),
        ("list.yaml", "- 1", "list.yaml: an experiment file is a table of settings"),
    ],
)
def test_a_file_that_is_not_of_its_format_is_told(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(HarnessError, match=re.escape(message)):
        read_spec(tmp_path / name)


def test_strategies_named_with_settings_are_arms_labelled_by_them():
    assert entries_of("lora:rank=4, alpha=8,full,lora:train.learning_rate=1e-3") == [
        {"name": "lora", "rank": 4, "alpha": 8, "label": "lora rank=4 alpha=8"},
        "full",
        {"name": "lora", "train": {"learning_rate": 1e-3}, "label": "lora learning_rate=1e-3"},
    ]
    assert entries_of("full, lora") == ["full", "lora"]


def test_several_values_of_a_setting_are_an_arm_each():
    spec = make_spec({"name": "x", "stages": ["imdb"], "strategies": ["full", "lora"]}, "here")
    swept = with_overrides(spec, ["lora.rank=4,16", "lora.train.epochs=1,2"])
    assert [entry.label or entry.name for entry in swept.strategies] == [
        "full",
        "lora rank=4 epochs=1",
        "lora rank=4 epochs=2",
        "lora rank=16 epochs=1",
        "lora rank=16 epochs=2",
    ]
    assert [entry.params.get("rank") for entry in swept.strategies] == [None, 4, 4, 16, 16]
    assert with_overrides(spec, ["lora.layers=[1,2]"]).strategies[1].params == {"layers": [1, 2]}
