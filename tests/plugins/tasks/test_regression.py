import numpy as np
import pytest
import torch

from harness import Facts
from harness.contracts import Strategy, Task
from harness.records import TaskData
from harness.store import Store
from harness.testing import check_component, compute, toy_catalog, toy_run
from harness_plugins.datasets.file import File
from harness_plugins.tasks.regression import Regression

ROWS = [(f"the film is {'good' if number % 2 else 'bad'} number{number}", number % 2 * 2.5) for number in range(60)]


def problem(tmp_path) -> TaskData:
    path = tmp_path / "scores.csv"
    path.write_text("text,label\n" + "".join(f"{text},{score}\n" for text, score in ROWS), encoding="utf-8")
    dataset = File(path=str(path), numeric=True)
    assert dataset.task_for(watched=False) == "regression"
    return TaskData(dataset=dataset.reference(), task=Regression().reference())


def test_it_keeps_the_contract():
    check_component(Regression())


def test_classes_are_refused():
    assert "needs a number in each row" in (Regression().check(Facts(("a", "b")), ("text", "label")) or "")


def test_the_loss_is_the_summed_squared_error():
    model = torch.nn.Module()
    model.forward = lambda **_: type("Output", (), {"logits": torch.tensor([[1.0], [2.0]])})()
    batch = {"input_ids": torch.zeros(2, 1), "labels": torch.tensor([0.0, 4.0])}
    assert Regression().loss(model, batch).item() == 5.0


@pytest.mark.parametrize("strategy", ["full", "frozen", "untuned", "lora"])
def test_a_number_is_learned_and_the_floor_answers_the_mean(catalog, tiny_model, tmp_path, strategy):
    toys = toy_catalog(catalog)
    made = toys.make(Strategy, strategy, {})
    rate = {} if strategy in ("frozen", "untuned") else {"learning_rate": 1e-2, "epochs": 8}
    run = toy_run(toys, tiny_model, made, **rate)
    run = run.model_copy(update={"stages": (problem(tmp_path),), "watch": ()})
    compute(run, toys, tmp_path / "results")
    found = Store(tmp_path / "results").predictions(run, 1, 0)
    assert found.outputs.shape == found.targets.shape
    error = float(np.abs(found.outputs - found.targets).mean())
    if strategy == "untuned":
        assert np.ptp(found.outputs) == 0
        assert error == pytest.approx(1.25, abs=0.2)
    else:
        assert error < 0.8


def test_a_task_of_numbers_is_named_to_the_strategies(catalog):
    assert catalog.make(Task, "regression", {}).answers == "number"
