import numpy as np
import pytest
import torch

from harness.contracts import Strategy
from harness.engine.fast import splice as splice_module
from harness.store import Store
from harness.testing import compute, toy_catalog, toy_run, write_tiny_model

pytestmark = pytest.mark.slow

SHAPES = {
    "BertForMaskedLM": {},
    "RobertaForMaskedLM": {},
    "DistilBertForMaskedLM": {"dim": 32, "hidden_dim": 64, "n_layers": 3, "n_heads": 2},
    "ModernBertForMaskedLM": {},
    "LlamaForCausalLM": {"num_key_value_heads": 2, "pad_token_id": None},
    "GPT2LMHeadModel": {"pad_token_id": None, "n_layer": 3},
}
STRATEGIES = {"last-layers": {"layers": 1}, "lora": {"rank": 2, "layers": 1}}


@pytest.fixture(scope="module")
def toys():
    return toy_catalog()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("architecture", SHAPES)
def test_what_lies_below_is_kept_without_changing_any_number(toys, tmp_path, monkeypatch, architecture, strategy):
    shape = {"num_hidden_layers": 3, **SHAPES[architecture]}
    model = write_tiny_model(tmp_path / "model", architecture, **shape)
    run = toy_run(toys, model, toys.make(Strategy, strategy, STRATEGIES[strategy]), learning_rate=1e-2)
    kept = compute(run, toys, tmp_path / "kept")
    assert len(list((tmp_path / "kept" / "cache" / "hidden").glob("[!.]*"))) >= 4  # train, validation of two stages
    monkeypatch.setattr(splice_module, "_SHARE_OF_DISK", 0.0)
    plain = compute(run, toys, tmp_path / "plain")
    assert len(plain.notes) == len(kept.notes) + 1
    (more,) = set(plain.notes) - set(kept.notes)
    assert more.startswith("frozen lower layers are not cached: the cache would need")
    assert kept.phases["tune"].flops < plain.phases["tune"].flops
    for cell in ((1, 0), (2, 1), (2, 2)):
        one, other = (Store(tmp_path / name).predictions(run, *cell).outputs for name in ("kept", "plain"))
        # Two epochs of float32 rounding, at a learning rate that moves the outputs by tenths.
        assert np.allclose(one, other, rtol=0, atol=2e-3)


def test_what_one_seed_kept_serves_the_next(toys, tmp_path):
    model = write_tiny_model(tmp_path / "model", num_hidden_layers=3)
    strategy = toys.make(Strategy, "last-layers", {"layers": 1})
    first, second = (toy_run(toys, model, strategy, seed=seed) for seed in (0, 1))
    cold = compute(first, toys, tmp_path / "results")
    hidden = tmp_path / "results" / "cache" / "hidden"
    kept = {path.name: path.stat().st_mtime_ns for path in hidden.glob("[!.]*")}
    warm = compute(second, toys, tmp_path / "results")
    assert {path.name: path.stat().st_mtime_ns for path in hidden.glob("[!.]*")} == kept
    assert cold.shared.flops == 0 < cold.phases["features"].flops
    assert warm.phases["features"].flops == 0
    assert warm.shared.flops == cold.phases["features"].flops


def test_a_part_whose_output_may_change_is_not_kept(toys, tmp_path):
    model = write_tiny_model(tmp_path / "model")
    for name in ("full", "lora"):
        compute(toy_run(toys, model, toys.make(Strategy, name, {})), toys, tmp_path / "results")
    assert not (tmp_path / "results" / "cache" / "hidden").exists()


def test_a_model_that_does_not_take_what_is_kept_goes_the_plain_way_and_says_so(toys, tmp_path, monkeypatch):
    model = write_tiny_model(tmp_path / "model", num_hidden_layers=3)
    give = splice_module.Kept.give
    monkeypatch.setattr(splice_module.Kept, "give", lambda *args: torch.zeros_like(give(*args)))
    outcome = compute(toy_run(toys, model, toys.make(Strategy, "last-layers", {"layers": 1})), toys, tmp_path / "r")
    assert [note.rpartition(": ")[2] for note in outcome.notes] == [
        "BertForSequenceClassification gives different outputs with cached layers"
    ]
