import importlib.util
import sys
from pathlib import Path

import pytest

from harness.catalog import load_catalog
from harness.cli.tables import find_reporter
from harness.contracts import Reporter, Strategy, Tracker
from harness.errors import HarnessError
from harness.runner.tracking import find_trackers

GOOD = """
import harness

class Mine(harness.Strategy):
    "Mine."
    name = "{name}"
    def tune(self, stage):
        return stage.model

@harness.hookimpl
def {hook}():
    return [Mine]
"""


def install(folder: Path, distribution: str, code: str, plugin: str | None = None) -> None:
    """Lay out an installed distribution with one plugin module."""
    module = distribution.replace("-", "_")
    (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[harness]\n{plugin or distribution} = {module}\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An empty folder of installed packages, found before all others."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def problems(catalog) -> dict[str, str]:
    return {state.name: state.problem for state in catalog.states if state.problem}


def test_a_plugin_that_is_installed_is_found_with_its_distribution(site):
    install(site, "good-plugin", GOOD.format(name="mine", hook="harness_strategies"))
    offer = load_catalog().offers["strategy"]["mine"]
    assert (offer.plugin, offer.distribution) == ("good-plugin", "good-plugin 1.0")


def test_a_plugin_that_fails_to_import_is_reported_by_name_and_the_rest_goes_on(site):
    install(site, "broken-plugin", "import a_module_that_nobody_has")
    catalog = load_catalog()
    assert problems(catalog) == {"broken-plugin": "ModuleNotFoundError: No module named 'a_module_that_nobody_has'"}
    assert "lora" in catalog.offers["strategy"]


def test_a_plugin_that_exits_as_it_is_imported_is_reported_by_name_and_the_rest_goes_on(site):
    install(site, "exiting-plugin", "import sys; sys.exit('I would rather not')")
    catalog = load_catalog()
    assert problems(catalog) == {"exiting-plugin": "SystemExit: I would rather not"}
    assert "lora" in catalog.offers["strategy"]


def test_a_missing_name_mentions_the_plugins_that_did_not_load(site):
    install(site, "broken-plugin", "raise RuntimeError('out of order')")
    with pytest.raises(
        HarnessError,
        match=r"unknown strategy 'mine': .*; plugins that did not load: broken-plugin \(RuntimeError: out of order\)",
    ):
        load_catalog().find(Strategy, "mine")


def test_a_misspelt_hook_is_laid_at_the_door_of_its_plugin(site):
    install(site, "misspelt-plugin", GOOD.format(name="mine", hook="harness_strategy"))
    catalog = load_catalog()
    assert list(problems(catalog)) == ["misspelt-plugin"]
    assert "harness_strategy" in problems(catalog)["misspelt-plugin"]
    assert "mine" not in catalog.offers["strategy"]


def test_two_plugins_with_one_name_are_an_error_that_names_both(site):
    install(site, "acme", GOOD.format(name="lora", hook="harness_strategies"))
    with pytest.raises(HarnessError) as error:
        load_catalog()
    assert str(error.value).startswith(
        "two plugins offer a strategy named 'lora': acme (of acme 1.0) and lora (of finetune-harness "
    )
    assert str(error.value).endswith("leave one out with --without lora")
    assert load_catalog(without=["acme"]).find(Strategy, "lora").__name__ == "LoRA"
    assert load_catalog(without=["lora"]).find(Strategy, "lora").__name__ == "Mine"


def test_two_distributions_with_one_entry_point_are_an_error_that_names_both(site):
    install(site, "acme", GOOD.format(name="mine", hook="harness_strategies"), plugin="lora")
    with pytest.raises(HarnessError, match="two distributions have a plugin named 'lora'"):
        load_catalog()


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (
            "import harness\n@harness.hookimpl\ndef harness_metrics():\n    return [3]",
            "TypeError: 3 is not a subclass of harness.Metric",
        ),
        ("import harness\n@harness.hookimpl\ndef harness_metrics():\n    raise OSError('no disk')", "OSError: no disk"),
    ],
    ids=["wrong thing", "raises"],
)
def test_a_hook_that_gives_something_else_is_reported_by_name(site, code, problem, monkeypatch):
    monkeypatch.delitem(sys.modules, "odd_plugin", raising=False)
    install(site, "odd-plugin", code)
    assert problems(load_catalog()) == {"odd-plugin": problem}


def test_a_name_that_could_be_a_path_is_refused(site):
    install(site, "path-plugin", GOOD.format(name="../mine", hook="harness_strategies"))
    assert "must not contain" in problems(load_catalog())["path-plugin"]


def test_a_plugin_left_out_offers_nothing():
    assert "lora" not in load_catalog(without=["lora"]).offers["strategy"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lorra", "unknown strategy 'lorra': did you mean 'lora'?"),
        (
            "zzz",
            (
                "unknown strategy 'zzz': choose one of: adalora, bitfit, dora, ewc, frozen, frozen-ridge, full, ia3, last-layers, "
                "layernorm, lora, lp-ft, nearest-centroid, oft, peft, pissa, prefix, prompt, qlora, replay, rslora, untuned, vera"
            ),
        ),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_or_with_all(name, message, catalog):
    with pytest.raises(HarnessError) as error:
        catalog.find(Strategy, name)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"rnk": 4}, "strategy 'lora': unknown setting 'rnk': did you mean 'rank'?"),
        (
            {"rank": "many"},
            "strategy 'lora': rank: input should be a valid integer, unable to parse string as an integer, but got 'many'",
        ),
        ({"dropout": 1.5}, "strategy 'lora': dropout: input should be less than 1, but got 1.5"),
    ],
    ids=["unknown", "mistyped", "out of range"],
)
def test_a_wrong_parameter_is_one_line_with_its_name(params, message, catalog):
    with pytest.raises(HarnessError) as error:
        catalog.make(Strategy, "lora", params)
    assert str(error.value) == message


def test_a_stored_component_does_what_was_done_before_it_had_a_setting(catalog):
    now = catalog.make(Strategy, "frozen", {})
    before = catalog.make(Strategy, "frozen", {"selection": "validation"})
    assert "selection" not in before.reference().params
    assert now.reference().params["selection"] == "cross-validation"
    assert catalog.restore(Strategy, before.reference()) == before
    assert catalog.restore(Strategy, now.reference()) == now


@pytest.mark.parametrize(("kind", "name", "package"), [(Reporter, "html", "altair"), (Tracker, "mlflow", "mlflow")])
def test_what_is_not_installed_is_told_with_the_command_that_installs_it(catalog, monkeypatch, kind, name, package):
    found = importlib.util.find_spec
    monkeypatch.setattr("harness.contracts.find_spec", lambda asked: None if asked == package else found(asked))
    extra = name
    assert catalog.make(kind, name, {}).missing() == f"{package}: pip install 'finetune-harness[{extra}]'"
    with pytest.raises(HarnessError, match=f"{name!r} needs {package}: pip install"):
        find_reporter(catalog, name) if kind is Reporter else find_trackers(catalog, [name])
