from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import accelerate
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from harness import HarnessError
from harness.catalog import Catalog, load_catalog
from harness.contracts import Dataset, Metric, Strategy, Task
from harness.engine.cache import Cache
from harness.engine.execute import _open
from harness.engine.features import Features
from harness.engine.meter import Meter
from harness.engine.models import body_digest
from harness.engine.stage import RunStage
from harness.records import Problem
from harness.testing import check_strategy, toy_catalog, toy_run, write_tiny_model

# The kit's model has two blocks; the default of last-layers is to train two, which would be all.
PARAMS = {"last-layers": {"layers": 1}}

S = TypeVar("S", bound=RunStage)


class Listing(RunStage):
    """A stage that lists what would be trained, and trains nothing."""

    names: list[str]

    def fit(self, model: nn.Module) -> nn.Module:
        self.names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        return model


class Tasting(RunStage):
    """A stage that tries what is shipped on a batch before it is merged."""

    adapted: torch.Tensor

    def ship(self, model: nn.Module) -> None:
        self.adapted = scores(model)
        super().ship(model)


def staged(
    kind: Callable[..., S],
    catalog: Catalog,
    model: Path,
    strategy: Strategy,
    cache: Path,
    data: Dataset | None = None,
    learning_rate: float = 1e-2,
) -> S:
    """Return the first stage of a toy run, its model freshly loaded; `data` in place of the toy data."""
    run = toy_run(catalog, model, strategy, learning_rate=learning_rate)
    if data is not None:
        task = catalog.make(Task, "text-classification", {}).reference()
        run = run.model_copy(update={"stages": (Problem(dataset=data.reference(), task=task),)})
    accelerator = accelerate.Accelerator(cpu=True)
    session = _open(run, catalog, accelerator, Cache(cache), Meter(accelerator.device), lambda _: None)
    return kind(session, Features(session), 0, catalog.make(Metric, "accuracy", {}), cache / "model")


def scores(model: nn.Module) -> torch.Tensor:
    """Return class scores for four texts, `[4, classes]`."""
    tokens = torch.arange(24).reshape(4, 6) % 20 + 3
    with torch.no_grad():
        return model.eval()(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits


@pytest.fixture(scope="module")
def toys() -> Catalog:
    return toy_catalog()


@pytest.fixture(scope="module")
def tiny_llama(tmp_path_factory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("llama"), "LlamaForCausalLM", num_key_value_heads=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(load_catalog().offers["strategy"]))
def test_every_installed_strategy_keeps_the_contract(catalog, name):
    check_strategy(catalog.make(Strategy, name, PARAMS.get(name, {})))


def test_full_trains_every_weight(toys, tiny_model, tmp_path):
    strategy = toys.make(Strategy, "full", {})
    stage = staged(Listing, toys, tiny_model, strategy, tmp_path)
    tuned = strategy.tune(stage)
    assert stage.names == [name for name, _ in tuned.named_parameters()]


def test_the_merged_model_answers_as_the_adapted_one(toys, tiny_model, tmp_path):
    strategy = toys.make(Strategy, "lora", {"rank": 4})
    stage = staged(Tasting, toys, tiny_model, strategy, tmp_path)
    before = scores(stage.model)
    tuned = strategy.tune(stage)
    assert torch.allclose(scores(tuned), stage.adapted, rtol=0, atol=1e-5)  # within single precision
    assert not torch.allclose(scores(tuned), before, rtol=0, atol=1e-2)


def test_the_merged_model_has_the_weights_of_the_published_one_and_no_others(toys, tiny_model, tmp_path):
    strategy = toys.make(Strategy, "lora", {})
    stage = staged(RunStage, toys, tiny_model, strategy, tmp_path)
    names = list(stage.model.state_dict())
    assert list(strategy.tune(stage).state_dict()) == names


def test_lora_adapts_every_linear_layer_of_the_body_and_trains_the_head(toys, tiny_llama, tmp_path):
    strategy = toys.make(Strategy, "lora", {})
    stage = staged(Listing, toys, tiny_llama, strategy, tmp_path)
    strategy.tune(stage)
    adapted = {name.partition(".lora_")[0].rpartition(".")[2] for name in stage.names if ".lora_" in name}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert [name for name in stage.names if ".lora_" not in name] == [
        "base_model.model.score.modules_to_save.default.weight"
    ]


def test_frozen_leaves_the_body_as_it_was_bit_by_bit(toys, tiny_model, tmp_path):
    strategy = toys.make(Strategy, "frozen", {})
    stage = staged(RunStage, toys, tiny_model, strategy, tmp_path)
    before = body_digest(stage.body)
    tuned = strategy.tune(stage)
    assert body_digest(stage.body) == before
    assert stage.trained(tuned) == 2 * 32 + 2  # a linear layer on 32 features for two classes


def test_frozen_answers_as_the_regression_it_was_fitted_by(toys, tiny_model, tmp_path):
    strategy = toys.make(Strategy, "frozen", {"strengths": (0.1,)})
    data = toys.make(Dataset, "toy", {"classes": 3})
    stage = staged(RunStage, toys, tiny_model, strategy, tmp_path, data)
    features, targets = stage.features("train"), stage.targets("train")
    scaler = StandardScaler().fit(features)
    regression = LogisticRegression(C=0.1, max_iter=1000).fit(scaler.transform(features), targets)
    head = strategy.tune(stage).head
    with torch.no_grad():
        found = head(torch.from_numpy(np.array(features))).softmax(1).numpy()
    # The scaler is folded into single-precision weights.
    assert np.allclose(found, regression.predict_proba(scaler.transform(features)), rtol=0, atol=1e-4)


def test_the_last_layers_of_bert_are_its_last_block_its_pooler_and_the_head(toys, tiny_model, tmp_path):
    strategy = toys.make(Strategy, "last-layers", {"layers": 1})
    stage = staged(Listing, toys, tiny_model, strategy, tmp_path)
    strategy.tune(stage)
    block = [name for name in stage.names if name.startswith("bert.encoder.layer.")]
    assert {name.split(".")[3] for name in block} == {"1"}
    assert len(block) == 16
    assert [name for name in stage.names if name not in block] == [
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    ]


def test_the_last_layers_of_llama_are_its_last_block_its_norm_and_the_head(toys, tiny_llama, tmp_path):
    strategy = toys.make(Strategy, "last-layers", {"layers": 1})
    stage = staged(Listing, toys, tiny_llama, strategy, tmp_path)
    strategy.tune(stage)
    assert stage.names == [
        "model.layers.1.self_attn.q_proj.weight",
        "model.layers.1.self_attn.k_proj.weight",
        "model.layers.1.self_attn.v_proj.weight",
        "model.layers.1.self_attn.o_proj.weight",
        "model.layers.1.mlp.gate_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
        "model.layers.1.mlp.down_proj.weight",
        "model.layers.1.input_layernorm.weight",
        "model.layers.1.post_attention_layernorm.weight",
        "model.norm.weight",
        "score.weight",
    ]


def test_what_is_before_the_last_layers_stays_as_it_was_bit_by_bit(toys, tiny_model, tmp_path):
    strategy = toys.make(Strategy, "last-layers", {"layers": 1})
    stage = staged(RunStage, toys, tiny_model, strategy, tmp_path)
    before = {name: tensor.clone() for name, tensor in stage.model.state_dict().items()}
    after = strategy.tune(stage).state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("bert.encoder.layer.1.") for name in moved)
    assert not any(name.startswith(("bert.embeddings.", "bert.encoder.layer.0.")) for name in moved)


def test_more_layers_than_the_model_has_are_refused_with_their_number(toys, tiny_model, tmp_path):
    strategy = toys.make(Strategy, "last-layers", {"layers": 3})
    stage = staged(RunStage, toys, tiny_model, strategy, tmp_path)
    with pytest.raises(HarnessError) as error:
        strategy.tune(stage)
    assert str(error.value) == "strategy 'last-layers': the model has 2 blocks, so layers=3 is too many"


def test_untuned_answers_the_majority_class_whatever_the_text(toys, tiny_model, tmp_path):
    path = tmp_path / "reviews.csv"
    labels = ["a"] * 20 + ["b"] * 20 + ["c"] * 60
    path.write_text("text,label\n" + "".join(f"text {number},{label}\n" for number, label in enumerate(labels)))
    strategy = toys.make(Strategy, "untuned", {})
    stage = staged(RunStage, toys, tiny_model, strategy, tmp_path, toys.make(Dataset, "file", {"path": str(path)}))
    found = scores(strategy.tune(stage))
    assert found.argmax(1).tolist() == [2, 2, 2, 2]
    # Carving the other splits class by class keeps the shares.
    assert found[0].exp().tolist() == pytest.approx([0.2, 0.2, 0.6], abs=0.01)
