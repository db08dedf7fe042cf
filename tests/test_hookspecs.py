"""A hook exists when it is documented and tested; two tests here say so of every hook."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pluggy
import pytest

import harness
from harness import hookspecs
from harness.catalog import Catalog, load_catalog, with_plugin
from harness.contracts import Dataset, Executor, Facts, Metric, Model, ModelSource, Reporter, Strategy, Task, Tracker
from harness.testing import (
    DeliveryWarning,
    check_dataset,
    check_executor,
    check_metric,
    check_reporter,
    check_strategy,
    check_tracker,
)

GUIDE = Path(__file__).parents[1] / "plugins" / "README.md"
HOOKS = {name: function for name, function in vars(hookspecs).items() if name.startswith("harness_")}


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_in_the_plugin_authors_guide_with_its_signature_and_an_example(name):
    signature = f"{name}{inspect.signature(HOOKS[name])}".replace("'", "")
    text = GUIDE.read_text(encoding="utf-8")
    assert f"### `{signature}`" in text
    section = text.partition(f"### `{signature}`")[2].partition("\n### ")[0]
    assert f"def {name}(" in section


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_has_a_test_of_its_name(name):
    assert f"test_{name}" in {test.partition("__")[0] for test in globals()}


def examples() -> Iterator[dict[str, object]]:
    """Yield the names that each example of the guide defines."""
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL):
        module: dict[str, object] = {}
        exec(compile(block, str(GUIDE), "exec"), module)
        yield module


def test_the_guides_examples_are_programs_that_offer_what_they_say():
    offered: set[str] = set()
    for module in examples():
        plugin = type("Plugin", (), {})()
        for name in HOOKS:
            if name in module:
                offered.add(name)
                setattr(plugin, name, module[name])
        if any(name.endswith("s") and name in module for name in HOOKS):
            with_plugin(load_catalog(), plugin, "from-the-guide")
    assert offered == set(HOOKS)


@pytest.mark.slow
def test_the_guides_examples_keep_the_contract_of_their_kind():
    known = {name: value for module in examples() for name, value in module.items()}
    check_metric(known["ErrorRate"](), np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]), expected=0.5)
    check_reporter(known["Lines"]())
    with pytest.warns(DeliveryWarning, match="trains 99 parameters"):  # its model is saved as a whole
        check_strategy(known["HeadOnly"]())
    check_dataset(known["Tickets"]())
    check_executor(known["Fresh"]())
    check_tracker(known["Told"]())


class MadeUpModel(Model):
    """A model."""

    name = "made-up"

    def locate(self) -> ModelSource:
        return ModelSource("nowhere", None, "0" * 64, None)


class MadeUpDataset(Dataset):
    """A dataset."""

    name = "made-up"
    task = "text-classification"
    watch_task = "probe"

    def read(self) -> dict:
        return {}

    def facts(self) -> Facts:
        return Facts()


class MadeUpTask(Task):
    """A task."""

    name = "made-up"
    metrics = ("accuracy",)


class MadeUpStrategy(Strategy):
    """A strategy."""

    name = "made-up"

    def tune(self, stage: harness.Stage) -> object:
        return stage.model


class MadeUpMetric(Metric):
    """A metric."""

    name = "made-up"
    title = "made up"

    def score(self, outputs: object, targets: object) -> float:
        del outputs, targets
        return 0.5


class MadeUpReporter(Reporter):
    """A reporter."""

    name = "made-up"
    suffix = ".txt"

    def render(self, table: harness.Table) -> str:
        return table.title


class MadeUpExecutor(Executor):
    """An executor."""

    name = "made-up"

    def run(self, jobs: object, host: object) -> object:
        del jobs, host
        return iter(())


class MadeUpTracker(Tracker):
    """A tracker."""

    name = "made-up"

    def finish(self, run: object, label: str, status: str, values: object) -> None:
        del run, label, status, values


def catalog_with(hook: str, component: type) -> Catalog:
    plugin = type("Plugin", (), {hook: staticmethod(harness.hookimpl(_returning(hook, component)))})()
    return with_plugin(load_catalog(), plugin, "made-up-plugin")


def _returning(name: str, component: type) -> object:
    def implementation() -> Iterator[type]:
        yield component

    implementation.__name__ = name
    return implementation


def test_harness_models__offers_a_model():
    assert catalog_with("harness_models", MadeUpModel).find(Model, "made-up") is MadeUpModel


def test_harness_datasets__offers_a_dataset():
    assert catalog_with("harness_datasets", MadeUpDataset).find(Dataset, "made-up") is MadeUpDataset


def test_harness_tasks__offers_a_task():
    assert catalog_with("harness_tasks", MadeUpTask).find(Task, "made-up") is MadeUpTask


def test_harness_strategies__offers_a_strategy():
    assert catalog_with("harness_strategies", MadeUpStrategy).find(Strategy, "made-up") is MadeUpStrategy


def test_harness_metrics__offers_a_metric():
    assert catalog_with("harness_metrics", MadeUpMetric).find(Metric, "made-up") is MadeUpMetric


def test_harness_reporters__offers_a_reporter():
    assert catalog_with("harness_reporters", MadeUpReporter).find(Reporter, "made-up") is MadeUpReporter


def test_harness_executors__offers_an_executor():
    assert catalog_with("harness_executors", MadeUpExecutor).find(Executor, "made-up") is MadeUpExecutor


def test_harness_trackers__offers_a_tracker():
    assert catalog_with("harness_trackers", MadeUpTracker).find(Tracker, "made-up") is MadeUpTracker


class Watcher:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @harness.hookimpl
    def harness_run_started(self, label: str) -> None:
        self.seen.append(f"started {label}")

    @harness.hookimpl
    def harness_run_logged(self, event: dict) -> None:
        if "loss" in event:
            self.seen.append("logged a loss")

    @harness.hookimpl
    def harness_run_finished(self, result: object) -> None:
        self.seen.append(f"finished {type(result).__name__}")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What an observer is told of one comparison with a run that trains."""
    from harness.testing import runner_here, toy_catalog, toy_run, write_tiny_model

    folder = tmp_path_factory.mktemp("watched")
    watcher = Watcher()
    catalog = with_plugin(toy_catalog(), watcher, "watcher")
    run = toy_run(catalog, write_tiny_model(folder / "model"), catalog.make(Strategy, "full", {}))
    list(runner_here(folder / "results", catalog).compute([("full", run)], "1 run to compute", 1))
    return watcher.seen


def test_harness_run_started__is_told_the_arm_first(watched):
    assert watched[0] == "started full"


def test_harness_run_logged__is_told_the_losses(watched):
    assert watched.count("logged a loss") == 24


def test_harness_run_finished__is_told_what_came_of_it_last(watched):
    assert watched[-1] == "finished Outcome"


def test_a_plugin_manager_knows_exactly_the_documented_hooks():
    manager = pluggy.PluginManager("harness")
    manager.add_hookspecs(hookspecs)
    assert {name for name in vars(manager.hook) if name.startswith("harness_")} == set(HOOKS)
