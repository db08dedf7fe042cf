import numpy as np
import pytest
import torch

from harness.contracts import Strategy
from harness.delivery.pooled import pooled
from harness.store import Store
from harness.testing import compute, toy_catalog, toy_run


class Counting(torch.nn.Module):
    """A body whose hidden state at each place is the place's number."""

    def forward(self, input_ids, attention_mask):
        del attention_mask
        places = torch.arange(input_ids.shape[1]).float().expand(input_ids.shape)
        return type("Output", (), {"last_hidden_state": places.unsqueeze(-1)})()


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ([1, 1, 1, 0], {"mean": 1.0, "first": 0.0, "last": 2.0}),
        ([0, 1, 1, 1], {"mean": 2.0, "first": 1.0, "last": 3.0}),
    ],
    ids=["padded right", "padded left"],
)
def test_pooling_sees_tokens_and_not_padding(mask, expected):
    batch = {"input_ids": torch.zeros(1, 4, dtype=torch.long), "attention_mask": torch.tensor([mask])}
    assert {pooling: pooled(Counting(), batch, pooling).item() for pooling in expected} == expected


def test_features_of_the_published_body_are_extracted_once_for_all_seeds(catalog, tiny_model, tmp_path):
    toys = toy_catalog(catalog)
    runs = [toy_run(toys, tiny_model, toys.make(Strategy, "frozen", {}), seed=seed) for seed in (0, 1)]
    cold, warm = (compute(run, toys, tmp_path) for run in runs)
    kept = sorted((tmp_path / "cache" / "features").rglob("*.npy"))
    # Train, validation and test of two stages; train and test of what is watched by probe (whose test features serve the
    # representation as well only if the two tasks encode alike, which is not assumed): 6 + 2 + 1.
    assert len(kept) == 9
    assert cold.shared.seconds == 0
    assert cold.phases["features"].flops > 0
    assert warm.phases["features"].flops == 0
    assert warm.shared.flops == cold.phases["features"].flops
    assert sorted((tmp_path / "cache" / "features").rglob("*.npy")) == kept


def test_predictions_from_kept_features_are_those_of_the_first_time(catalog, tiny_model, tmp_path):
    toys = toy_catalog(catalog)
    strategy = toys.make(Strategy, "frozen", {})
    first, second = (toy_run(toys, tiny_model, strategy, seed=seed) for seed in (0, 1))
    compute(first, toys, tmp_path)
    compute(second, toys, tmp_path)
    store = Store(tmp_path)
    assert np.array_equal(store.predictions(first, 2, 0).outputs, store.predictions(second, 2, 0).outputs)


def test_a_tuned_body_never_reads_the_published_bodys_features(catalog, tiny_model, tmp_path):
    toys = toy_catalog(catalog)
    run = toy_run(toys, tiny_model, toys.make(Strategy, "full", {}), learning_rate=1e-2)
    compute(run, toys, tmp_path)
    store = Store(tmp_path)
    before, after = (store.predictions(run, moment, 3).outputs for moment in (0, 2))
    assert not np.allclose(before, after, atol=1e-3)
