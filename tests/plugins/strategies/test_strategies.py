import json
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, TypeVar

import accelerate
import numpy as np
import peft
import pytest
import torch
import transformers
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler
from torch import nn
from transformers import BertModel

from harness import HarnessError
from harness.catalog import Catalog, load_catalog
from harness.contracts import Dataset, Metric, Model, Strategy, Task
from harness.engine.cache import Cache
from harness.engine.execute import open_session
from harness.engine.features import Features
from harness.engine.meter import Meter
from harness.engine.models import body_digest
from harness.engine.stage import RunStage
from harness.records import TaskData
from harness.testing import check_strategy, toy_catalog, toy_run, write_tiny_model
from harness.testing.toys import NEUTRAL, TELLING

pytestmark = pytest.mark.slow

# The kit's model has two blocks; the default of last-layers is to train two, which would be all.
PARAMS = {"last-layers": {"layers": 1}, "peft": {"method": "hra"}}

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
    task: str = "text-classification",
    **train: Any,
) -> S:
    """Return the first stage of a toy run, its model freshly loaded; `data` under `task` in place of the toy data."""
    run = toy_run(catalog, model, strategy, **{"learning_rate": 1e-2, **train})
    if data is not None:
        made = catalog.make(Task, task, {}).reference()
        run = run.model_copy(update={"stages": (TaskData(dataset=data.reference(), task=made),)})
    accelerator = accelerate.Accelerator(cpu=True)
    session = open_session(run, catalog, accelerator, Cache(cache), Meter(accelerator.device), lambda _: None)
    metric = catalog.make(Metric, session.tokens[0].task.metrics[0], {})
    return kind(session, Features(session), 0, metric, cache / "model")


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
@pytest.mark.filterwarnings(
    "ignore:.*its saved size is:harness.testing.checks.DeliveryWarning"
)  # what is whole is shipped whole
@pytest.mark.parametrize("name", sorted(load_catalog().offers["strategy"]))
def test_every_installed_strategy_keeps_the_contract(catalog, name):
    strategy = catalog.make(Strategy, name, PARAMS.get(name, {}))
    if reason := strategy.missing() or (name == "qlora" and not torch.cuda.is_available() and "a GPU"):
        pytest.skip(f"needs {reason}")
    if name == "prefix" and "past_key_values" not in signature(BertModel.forward).parameters:
        pytest.skip("PEFT cannot pass keys and values to these models")
    check_strategy(strategy)


@pytest.mark.filterwarnings("ignore:.*its saved size is:harness.testing.checks.DeliveryWarning")
def test_a_strategy_for_one_stage_keeps_the_contract_in_one(catalog):
    check_strategy(catalog.make(Strategy, "peft", {"method": "lily"}))


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


def test_a_penalty_can_be_chosen_by_cross_validation_on_train(toys, tiny_model, tmp_path):
    strengths = (1e-6, 0.1, 10.0)
    data = toys.make(Dataset, "toy", {"classes": 3})
    strategy = toys.make(Strategy, "frozen", {"strengths": strengths})
    stage = staged(RunStage, toys, tiny_model, strategy, tmp_path, data)
    features, targets = stage.features("train"), stage.targets("train")
    scaled = StandardScaler().fit_transform(features)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    shares = [
        np.mean(cross_val_predict(LogisticRegression(C=strength, max_iter=1000), scaled, targets, cv=folds) == targets)
        for strength in strengths
    ]
    regression = LogisticRegression(C=strengths[int(np.argmax(shares))], max_iter=1000).fit(scaled, targets)
    with torch.no_grad():
        found = strategy.tune(stage).head(torch.from_numpy(np.array(features))).softmax(1).numpy()
    assert np.allclose(found, regression.predict_proba(scaled), rtol=0, atol=1e-3)
    assert not strategy.uses_validation()
    assert toys.make(Strategy, "frozen", {"selection": "validation"}).uses_validation()


def test_what_is_trained_on_validation_too_has_its_rows(toys, tiny_model, tmp_path):
    strategy = toys.make(Strategy, "nearest-centroid", {})
    apart, together = (
        staged(RunStage, toys, tiny_model, strategy, tmp_path / str(refit), refit=refit) for refit in (False, True)
    )
    rows = len(apart.targets("train")) + len(apart.targets("validation"))
    assert len(together.targets("train")) == rows
    assert len(together.features("train")) == rows


@pytest.mark.parametrize("chosen", [{}, {"selection": "validation"}])
def test_frozen_answers_several_classes_as_a_regression_for_each(toys, tiny_model, tmp_path, chosen):
    path = tmp_path / "labels.csv"
    labels = ["a;b", "b", "c"]
    texts = [
        f"the film is {TELLING[number % 3]} {NEUTRAL[number % 12]} {NEUTRAL[number // 12]}" for number in range(96)
    ]
    path.write_text("text,label\n" + "".join(f"{text},{labels[n % 3]}\n" for n, text in enumerate(texts)))
    data = toys.make(Dataset, "file", {"path": str(path), "label_separator": ";"})
    strategy = toys.make(Strategy, "frozen", {"strengths": (0.1,), **chosen})
    stage = staged(RunStage, toys, tiny_model, strategy, tmp_path, data, "multi-label-classification")
    features, targets = stage.features("train"), stage.targets("train")
    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    expected = [
        LogisticRegression(C=0.1, max_iter=1000).fit(scaled, has).decision_function(scaled) for has in targets.T
    ]
    with torch.no_grad():
        found = strategy.tune(stage).head(torch.from_numpy(np.array(features))).numpy()
    assert np.allclose(found, np.stack(expected, axis=1), rtol=0, atol=1e-4)


def test_lp_ft_tunes_a_body_one_of_whose_features_hardly_varies(toys, tiny_model, tmp_path):
    model = transformers.AutoModel.from_pretrained(tiny_model)
    norm = model.encoder.layer[-1].output.LayerNorm
    with torch.no_grad():
        norm.weight[0], norm.bias[0] = 1e-31, 0.0
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    stage = staged(RunStage, toys, folder, toys.make(Strategy, "lp-ft", {}), tmp_path / "cache")
    before = body_digest(stage.body)
    tuned = toys.make(Strategy, "lp-ft", {}).tune(stage)
    assert body_digest(stage.body) != before
    assert tuned.head.weight.abs().max() < 1e6


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("frozen", {"strengths": (0.1,)}),
        ("frozen", {"strengths": (0.1,), "selection": "validation"}),
        ("frozen-ridge", {"penalties": (10.0,)}),
    ],
)
def test_a_number_is_answered_by_ridge_regression(toys, tiny_model, tmp_path, name, params):
    path = tmp_path / "numbers.csv"
    texts = [
        f"the film is {TELLING[number % 6]} {NEUTRAL[number % 12]} {NEUTRAL[number // 12]}" for number in range(96)
    ]
    path.write_text("text,label\n" + "".join(f"{text},{n % 6 / 2}\n" for n, text in enumerate(texts)))
    data = toys.make(Dataset, "file", {"path": str(path), "numeric": True})
    strategy = toys.make(Strategy, name, params)
    stage = staged(RunStage, toys, tiny_model, strategy, tmp_path, data, "regression")
    features, targets = stage.features("train"), stage.targets("train")
    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    with torch.no_grad():
        found = strategy.tune(stage).head(torch.from_numpy(np.array(features))).numpy()
    assert np.allclose(found[:, 0], Ridge(alpha=10.0).fit(scaled, targets).predict(scaled), rtol=0, atol=1e-4)


def test_frozen_trains_and_delivers_the_tasks_own_head_where_it_says_something_of_each_token(
    toys, tiny_model, tmp_path
):
    path = tmp_path / "names.conll"
    path.write_text("".join(f"{one} O\ngood B-a\n{other} O\n\n" for one in NEUTRAL[:6] for other in NEUTRAL[:6]))
    data = toys.make(Dataset, "file", {"path": str(path)})
    strategy = toys.make(Strategy, "frozen", {})
    stage = staged(RunStage, toys, tiny_model, strategy, tmp_path, data, "token-classification")
    before = body_digest(stage.body)
    tuned = strategy.tune(stage)
    assert body_digest(stage.body) == before
    assert stage.trained(tuned) == 2 * 32 + 2
    assert stage.ship_bytes == 8 + 128 + 4 * (2 * 32 + 2)  # a length, a header of two names, and the head


def test_frozen_has_a_learning_rate_only_where_it_trains_by_gradient_descent(toys):
    strategy = toys.make(Strategy, "frozen", {})
    tasks = {name: toys.make(Task, name, {}) for name in ("text-classification", "token-classification")}
    assert strategy.training([tasks["text-classification"]]) == {}
    assert strategy.training(list(tasks.values())) == {"learning_rate": 1e-3}


@pytest.mark.parametrize(
    ("name", "task", "reason"),
    [
        ("frozen", "completion", "the model's own head generates the answer, so there is no new head to train"),
        ("lp-ft", "completion", "the model's own head generates the answer, so there is no new head to train"),
        (
            "nearest-centroid",
            "regression",
            "it predicts one class per text; task 'regression' needs another output",
        ),
        (
            "frozen-ridge",
            "token-classification",
            "it predicts one class or several classes or one number per text; task 'token-classification' needs another output",
        ),
        ("ewc", "regression", "needs at least two stages"),
    ],
)
def test_what_a_strategy_cannot_do_is_refused_when_planned(toys, tiny_model, name, task, reason):
    model = toys.make(Model, "tiny", {"path": str(tiny_model)})
    assert toys.make(Strategy, name, {}).check(model, [toys.make(Task, task, {})]) == reason


def test_bitfit_trains_the_biases_and_the_head(toys, tiny_model, tmp_path):
    strategy = toys.make(Strategy, "bitfit", {})
    stage = staged(Listing, toys, tiny_model, strategy, tmp_path)
    strategy.tune(stage)
    assert [name for name in stage.names if not name.endswith("bias")] == ["classifier.weight"]
    assert "bert.encoder.layer.0.attention.self.query.bias" in stage.names


def test_bitfit_refuses_a_model_without_biases_when_planned(toys, tiny_llama):
    model = toys.make(Model, "tiny", {"path": str(tiny_llama)})
    assert toys.make(Strategy, "bitfit", {}).check(model, []) == "the model has no biases to train"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The following rank_pattern keys", "ignore:Adapter 'default'")  # AdaLoRA's, in PEFT
@pytest.mark.parametrize("name", ["lora", "dora", "rslora", "pissa", "adalora"])
def test_the_additions_that_are_delivered_load_with_plain_peft_and_predict_the_same(toys, tiny_model, tmp_path, name):
    strategy = toys.make(Strategy, name, {})
    stage = staged(RunStage, toys, tiny_model, strategy, tmp_path)
    tuned = strategy.tune(stage)
    fresh = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=2)
    loaded = peft.PeftModel.from_pretrained(fresh, tmp_path / "model")
    assert torch.allclose(scores(loaded), scores(tuned), rtol=0, atol=1e-4)  # merged into single-precision weights


@pytest.mark.filterwarnings("ignore:Adapter 'default'")  # PEFT does not expect a layer to be left without any rank
def test_adalora_prunes_its_additions_to_the_rank_that_was_asked_for(toys, tiny_model, tmp_path):
    strategy = toys.make(Strategy, "adalora", {"rank": 2, "start_rank": 4})
    stage = staged(RunStage, toys, tiny_model, strategy, tmp_path, epochs=4)
    strategy.tune(stage)
    pattern = json.loads((tmp_path / "model" / "adapter_config.json").read_text())["rank_pattern"]
    ranks = [sum(kept) for kept in pattern.values()]
    assert sum(ranks) <= 2 * len(ranks) < 4 * len(ranks)
    assert len(set(ranks)) > 1  # shared out by importance, not evenly


def test_adalora_needs_steps_to_share_out_its_ranks(toys, tiny_model, tmp_path):
    strategy = toys.make(Strategy, "adalora", {})
    stage = staged(RunStage, toys, tiny_model, strategy, tmp_path, epochs=1, batch_size=100)
    with pytest.raises(HarnessError) as error:
        strategy.tune(stage)
    assert "needs at least two optimizer steps" in str(error.value)


def test_nothing_of_a_language_models_own_head_is_trained_beside_an_adapter(toys, tmp_path):
    model = write_tiny_model(tmp_path / "bert", "BertForMaskedLM")
    data = toys.make(Dataset, "toy", {})
    strategy = toys.make(Strategy, "lora", {})
    stage = staged(Listing, toys, model, strategy, tmp_path, data, "language-modelling")
    strategy.tune(stage)
    assert all(".lora_" in name for name in stage.names)


def test_the_last_layers_of_a_language_model_leave_its_tied_embedding_as_it_is(toys, tmp_path):
    model = write_tiny_model(tmp_path / "gpt2", "GPT2LMHeadModel")
    data = toys.make(Dataset, "toy", {})
    strategy = toys.make(Strategy, "last-layers", {"layers": 1})
    stage = staged(Listing, toys, model, strategy, tmp_path, data, "language-modelling")
    strategy.tune(stage)
    assert all(name.startswith(("transformer.h.1.", "transformer.ln_f.")) for name in stage.names)


def test_qlora_says_what_it_needs(toys, tiny_model, tmp_path, monkeypatch):
    strategy = toys.make(Strategy, "qlora", {})
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert strategy.missing() == "bitsandbytes: pip install bitsandbytes"
    monkeypatch.undo()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    model = toys.make(Model, "tiny", {"path": str(tiny_model)})
    with pytest.raises(HarnessError) as error:
        strategy.loading("AutoModelForSequenceClassification", model.config())
    assert "needs a CUDA GPU" in str(error.value)
    stage = staged(RunStage, toys, tiny_model, toys.make(Strategy, "lora", {}), tmp_path)
    with pytest.raises(HarnessError) as error:
        strategy.tune(stage)
    assert str(error.value) == "strategy 'qlora': the base was not loaded in 4 bits"


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
    assert str(error.value) == "strategy 'last-layers': layers=3 is too many; the model has 2 blocks"


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


def test_the_last_layers_of_deberta_leave_what_all_its_blocks_share(toys, tmp_path):
    settings = {
        "relative_attention": True,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
    }
    model = write_tiny_model(tmp_path / "deberta", "DebertaV2ForMaskedLM", **settings)
    strategy = toys.make(Strategy, "last-layers", {"layers": 1})
    stage = staged(Listing, toys, model, strategy, tmp_path)
    strategy.tune(stage)
    body = [name for name in stage.names if name.startswith("deberta.")]
    assert body
    assert all(name.startswith("deberta.encoder.layer.1.") for name in body)


def test_the_last_layers_of_an_encoder_and_decoder_can_be_told(toys, tmp_path):
    model = write_tiny_model(tmp_path / "t5", "T5ForConditionalGeneration", d_kv=16)
    strategy = toys.make(Strategy, "last-layers", {"layers": 1})
    stage = staged(Listing, toys, model, strategy, tmp_path)
    strategy.tune(stage)
    assert stage.names
    assert not any("shared" in name for name in stage.names)
