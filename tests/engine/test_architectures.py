"""Every built-in strategy on the shapes of model that people bring, built small."""

import pytest
import torch

from harness.contracts import Facts, Strategy, Task
from harness.engine.models import RunLoader
from harness.records import TrainConfig
from harness.testing import TinyModel, compute, toy_catalog, toy_run, write_tiny_model
from harness_plugins.tasks._answers import logits

SHAPES = {
    "LlamaForCausalLM": {"num_key_value_heads": 2, "pad_token_id": None},
    "GPT2LMHeadModel": {"pad_token_id": None},
    "DistilBertForMaskedLM": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2},
    "RobertaForMaskedLM": {},
    "ModernBertForMaskedLM": {},
    "DebertaV2ForMaskedLM": {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]},
    "DebertaForMaskedLM": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "LongformerForMaskedLM": {"attention_window": [8, 8]},
    "XLNetLMHeadModel": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
    "T5EncoderModel": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "precision"),
    [*((name, "fp32") for name in SHAPES), ("LlamaForCausalLM", "bf16"), ("ModernBertForMaskedLM", "bf16")],
)
def test_every_strategy_tunes_this_shape_of_model(catalog, tmp_path, architecture, precision):
    model = write_tiny_model(tmp_path / "model", architecture, **SHAPES[architecture])
    toys = toy_catalog(catalog)
    trained = {}
    for name, params in (("full", {}), ("frozen", {}), ("last-layers", {"layers": 1}), ("lora", {"rank": 2})):
        run = toy_run(toys, model, toys.make(Strategy, name, params), stages=1, precision=precision, epochs=1)
        trained[name] = compute(run, toys, tmp_path / "results").parameters_trained
    assert trained["frozen"] == 2 * 33
    assert trained["frozen"] < trained["lora"] < trained["last-layers"] < trained["full"]


REASON = "the model's body returns fewer features than tokens, so they cannot be pooled over tokens"


@pytest.mark.slow
def test_a_body_that_shortens_texts_is_tuned_or_refused_while_planning(catalog, tmp_path):
    shape = {"block_sizes": [1, 1], "d_model": 32, "n_head": 2, "d_head": 16, "d_inner": 64}
    model = write_tiny_model(tmp_path / "model", "FunnelForMaskedLM", **shape)
    toys, task = toy_catalog(catalog), catalog.make(Task, "text-classification", {})
    refused = {}
    for name, params in (
        ("full", {}),
        ("frozen", {}),
        ("frozen-ridge", {}),
        ("last-layers", {"layers": 1}),
        ("lora", {"rank": 2}),
    ):
        strategy = toys.make(Strategy, name, params)
        if reason := strategy.check(TinyModel(path=str(model)), [task]):
            refused[name] = reason
        else:
            run = toy_run(toys, model, strategy, epochs=1)
            outcome = compute(run, toys, tmp_path / "results")
            watched = [cell.undefined for cell in outcome.evaluations if cell.problem >= len(run.stages)]
            assert set(watched) == {REASON}
    assert refused == {"frozen": REASON, "frozen-ridge": REASON}


def test_an_encoder_without_its_decoder_answers_by_the_mean_over_tokens(catalog, tmp_path):
    model = TinyModel(path=str(write_tiny_model(tmp_path / "t5", "T5EncoderModel", **SHAPES["T5EncoderModel"])))
    head = (
        catalog.make(Task, "text-classification", {}).build(RunLoader(model, TrainConfig()), Facts(("a", "b"))).eval()
    )
    tokens = torch.tensor([[5, 6, 7, 0]])
    mask = torch.tensor([[1, 1, 1, 0]])
    with torch.no_grad():
        features = head.base_model(input_ids=tokens, attention_mask=mask).last_hidden_state[:, :3].mean(1)
        answered = logits(head, {"input_ids": tokens, "attention_mask": mask})
        assert torch.allclose(answered, head.classifier(features), atol=1e-6)
