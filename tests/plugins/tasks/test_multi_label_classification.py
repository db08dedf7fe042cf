import numpy as np
import pytest
import torch

from harness import Facts
from harness.contracts import Strategy
from harness.records import TaskData
from harness.store import Store
from harness.testing import check_component, compute, toy_catalog, toy_run
from harness_plugins.datasets.file import File
from harness_plugins.metrics.subset_accuracy import SubsetAccuracy
from harness_plugins.tasks.multi_label_classification import MultiLabelClassification


def rows() -> str:
    """Texts that have the class of each telling word in them: none, one or two."""
    lines = ["text,label"]
    for number in range(80):
        words = [word for at, word in enumerate(("good", "loud")) if number >> at & 1]
        lines.append(f"the film is {' and '.join(words) or 'it'} number{number},{'|'.join(words)}")
    return "\n".join(lines)


def test_it_keeps_the_contract():
    check_component(MultiLabelClassification())


def test_data_without_labels_is_refused():
    assert "label_separator" in (MultiLabelClassification().check(Facts(None), ("text",)) or "")


def test_the_loss_is_the_mean_over_classes_summed_over_texts():
    model = torch.nn.Module()
    model.forward = lambda **_: type("Output", (), {"logits": torch.zeros(3, 2)})()
    batch = {"input_ids": torch.zeros(3, 1), "labels": torch.tensor([[0, 1], [1, 1], [0, 0]])}
    assert MultiLabelClassification().loss(model, batch).item() == pytest.approx(3 * np.log(2))


@pytest.mark.parametrize("strategy", ["full", "frozen", "untuned"])
def test_none_one_or_several_classes_are_learned(catalog, tiny_model, tmp_path, strategy):
    path = tmp_path / "labels.csv"
    path.write_text(rows(), encoding="utf-8")
    toys = toy_catalog(catalog)
    rate = {"learning_rate": 1e-3, "epochs": 40} if strategy == "full" else {}
    run = toy_run(toys, tiny_model, toys.make(Strategy, strategy, {}), **rate)
    dataset = File(path=str(path), label_separator="|")
    stage = TaskData(dataset=dataset.reference(), task=MultiLabelClassification().reference())
    run = run.model_copy(update={"stages": (stage,), "watch": ()})
    compute(run, toys, tmp_path / "results")
    found = Store(tmp_path / "results").predictions(run, 1, 0)
    assert found.outputs.shape == found.targets.shape == (16, 2)
    score = SubsetAccuracy().score(found.outputs, found.targets)
    assert (score > 0.8) == (strategy != "untuned")
