"""Strategies that guard what earlier stages learned."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from harness.catalog import Catalog
from harness.contracts import Dataset, Strategy
from harness.records import Predictions
from harness.store import Store
from harness.testing import compute, toy_catalog, toy_run, write_tiny_model
from harness.testing.toys import NEUTRAL


@pytest.fixture(scope="module")
def toys() -> Catalog:
    return toy_catalog()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model without dropout, and a second task to which the first one's telling words mean nothing."""
    root = tmp_path_factory.mktemp("continual")
    write_tiny_model(root / "model", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    random = np.random.default_rng(5)
    rows = []
    for number in range(240):
        words = [*random.choice(NEUTRAL[:10], size=5)]
        words.insert(int(random.integers(5)), ("it", "of")[number % 2])
        words.insert(int(random.integers(5)), str(random.choice(["good", "bad"])))
        rows.append(" ".join([*words, *(NEUTRAL[int(digit)] for digit in str(number))]) + f",{'ab'[number % 2]}\n")
    (root / "second.csv").write_text("text,label\n" + "".join(rows))
    return root


def first_stage(
    toys: Catalog, folder: Path, results: Path, name: str, params: Mapping[str, Any], **train: Any
) -> tuple[Predictions, Predictions]:
    """Return the predictions on the first of two stages, after it and after the second."""
    strategy = toys.make(Strategy, name, params)
    settings = {"learning_rate": 3e-3, "epochs": 8, "batch_size": 8, **train}
    run = toy_run(toys, folder / "model", strategy, **settings)
    data = toys.make(Dataset, "toy", {"rows": 200}), toys.make(Dataset, "file", {"path": str(folder / "second.csv")})
    stages = tuple(
        problem.model_copy(update={"dataset": dataset.reference()})
        for problem, dataset in zip(run.stages, data, strict=True)
    )
    run = run.model_copy(update={"stages": stages, "watch": ()})
    compute(run, toys, results)
    return Store(results).predictions(run, 1, 0), Store(results).predictions(run, 2, 0)


def accuracy(found: Predictions) -> float:
    return float((found.outputs.argmax(1) == found.targets).mean())


@pytest.mark.slow
def test_replay_and_ewc_keep_what_full_tuning_forgets(toys, folder, tmp_path):
    arms = {"full": {}, "replay": {"share": 0.5}, "ewc": {"strength": 100.0}}
    scores = {
        name: [accuracy(found) for found in first_stage(toys, folder, tmp_path, name, params)]
        for name, params in arms.items()
    }
    assert [learned for learned, _ in scores.values()] == [1.0, 1.0, 1.0]
    forgotten = {name: learned - left for name, (learned, left) in scores.items()}
    assert forgotten["full"] > 0.3
    assert forgotten["replay"] < forgotten["full"] / 2
    assert forgotten["ewc"] < forgotten["full"] / 2


@pytest.mark.slow
def test_ewc_without_strength_is_full_tuning(toys, folder, tmp_path):
    _, full = first_stage(toys, folder, tmp_path, "full", {}, epochs=1)
    _, ewc = first_stage(toys, folder, tmp_path, "ewc", {"strength": 1e-9}, epochs=1)
    # A penalty has every row of the embedding trained, where full tuning passes over those that no text uses.
    assert np.allclose(full.outputs, ewc.outputs, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params"), [("replay", {}), ("ewc", {"strength": 100.0})])
def test_a_penalty_is_added_once_to_a_step_however_many_pieces_it_is_computed_in(toys, folder, tmp_path, name, params):
    one, four = (
        first_stage(toys, folder, tmp_path, name, params, epochs=1, gradient_accumulation_steps=pieces)[1]
        for pieces in (1, 4)
    )
    assert np.allclose(one.outputs, four.outputs, rtol=0, atol=1e-4)  # sums of single precision in another order


class Past:
    """An earlier stage of four rows whose loss is the body's answer to one of the inputs."""

    def __init__(self, body: nn.Linear, inputs: torch.Tensor) -> None:
        self.items = len(inputs)
        self.asked: list[list[int]] = []
        self._body, self._inputs = body, inputs

    def loss(self, rows: NDArray[np.int64]) -> torch.Tensor:
        self.asked.append(sorted(int(row) for row in rows))
        return self._body(self._inputs[np.asarray(rows)]).mean()


def stage_after(
    past: list[Past], body: nn.Linear, fit: Callable[..., nn.Module], batch_size: int = 4, index: int = 1
) -> Any:
    config = SimpleNamespace(batch_size=batch_size)
    return SimpleNamespace(model=body, body=body, earlier=past, seed=0, index=index, config=config, fit=fit)


def test_ewc_holds_a_weight_by_its_squared_gradient_over_the_mean_of_all(toys):
    body = nn.Linear(2, 1)
    inputs = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    penalties = []

    def fit(model: nn.Module, penalty: Callable[[], torch.Tensor]) -> nn.Module:
        penalties.append(float(penalty().detach()))
        with torch.no_grad():
            body.weight += torch.tensor([[0.1, 5.0]])
        penalties.append(float(penalty().detach()))
        return model

    toys.make(Strategy, "ewc", {"strength": 2.0}).tune(stage_after([Past(body, inputs)], body, fit))
    # Squared gradients: 1 and 9 of the first weight, 0 of the second, 1 and 1 of the bias: 10, 0, 2, and 4 on average.
    assert penalties == pytest.approx([0.0, 2.0 / 2 * 10 / 4 * 0.1**2])


def test_replay_remembers_the_same_share_of_a_stage_ever_after(toys):
    body = nn.Linear(2, 1)

    def fit(model: nn.Module, penalty: Callable[[], torch.Tensor]) -> nn.Module:
        for _ in range(30):
            penalty()
        return model

    def remembered(index: int) -> list[set[int]]:
        past = [Past(body, torch.ones(20, 2)) for _ in range(index)]
        toys.make(Strategy, "replay", {"share": 0.25}).tune(stage_after(past, body, fit, index=index))
        assert all(len(rows) == 4 // index for stage in past for rows in stage.asked)
        return [{row for rows in stage.asked for row in rows} for stage in past]

    (second,), (third, _) = remembered(1), remembered(2)
    assert len(second) == 5
    assert second == third
