"""Every built-in strategy on the shapes of model that people bring, built small."""

import pytest

from harness.contracts import Strategy
from harness.testing import compute, toy_catalog, toy_run, write_tiny_model

SHAPES = {
    "LlamaForCausalLM": {"num_key_value_heads": 2, "pad_token_id": None},
    "GPT2LMHeadModel": {"pad_token_id": None},
    "DistilBertForMaskedLM": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2},
    "RobertaForMaskedLM": {},
    "ModernBertForMaskedLM": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("architecture", SHAPES)
def test_every_strategy_tunes_this_shape_of_model(catalog, tmp_path, architecture, precision):
    model = write_tiny_model(tmp_path / "model", architecture, **SHAPES[architecture])
    toys = toy_catalog(catalog)
    trained = {}
    for name, params in (("full", {}), ("frozen", {}), ("last-layers", {"layers": 1}), ("lora", {"rank": 2})):
        run = toy_run(toys, model, toys.make(Strategy, name, params), precision=precision, epochs=1)
        trained[name] = compute(run, toys, tmp_path / "results").parameters_trained
    assert trained["frozen"] == 3 * 33
    assert trained["frozen"] < trained["lora"] < trained["last-layers"] < trained["full"]
