import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.engine.flops import FlopCount, _count
from harness.testing import write_tiny_model
from harness_plugins.tasks.completion import Completion


def test_counts_of_a_transformer_are_a_polynomial_in_the_length_and_any_length_follows():
    # 10 items of 7 tokens, from lengths 2, 4, 6, 8 of a computation that takes 100 L + 3 L^2 operations.
    count = FlopCount({(length, 1): 100 * length + 3 * length**2 for length in (2, 4, 6, 8)})
    assert count.holds
    assert count((10, 7), 10) == 10 * (700 + 147)


def test_what_a_head_does_for_some_of_the_tokens_only_is_told_by_their_number():
    # 100 L + 3 L^2 operations, and 1000 for each token that is answered.
    items = [(20, 3), (30, 1), (40, 7), (50, 2), (60, 5), (70, 4)]
    count = FlopCount({(length, weight): 100 * length + 3 * length**2 + 1000 * weight for length, weight in items})
    assert count.holds
    assert count((2, 55), 9) == 2 * (5500 + 3 * 55**2) + 9000


def test_weights_that_were_never_different_tell_nothing_of_other_weights():
    count = FlopCount({(length, 2): 100 * length for length in (2, 4, 6, 8)})
    assert count.covers([(3, 2), (5, 2)])
    assert not count.covers([(3, 2), (5, 1)])


def test_counts_that_are_no_polynomial_say_so():
    count = FlopCount({(2, 1): 200, (4, 1): 400, (6, 1): 1000, (8, 1): 1010})
    assert not count.holds
    assert count((1, 6), 1) == 1000


def test_a_linear_layer_takes_two_operations_per_weight_forward_and_four_backward():
    layer = nn.Linear(32, 8, bias=False)
    batch = {"input_ids": torch.randn(5, 32, requires_grad=True)}
    forward = _count(layer, lambda batch: layer(batch["input_ids"]).sum(), batch, training=False)
    both = _count(layer, lambda batch: layer(batch["input_ids"]).sum(), batch, training=True)
    assert forward == 2 * 5 * 32 * 8
    assert both == 3 * forward


def test_the_fast_attention_kernel_of_a_cpu_is_counted():
    query = torch.randn(1, 2, 16, 8)
    attend = nn.functional.scaled_dot_product_attention
    count = _count(
        nn.Identity(), lambda batch: attend(*[batch["input_ids"]] * 3).sum(), {"input_ids": query}, training=False
    )
    # Scores and their application to the values: 2 products of 16 x 8 x 16 in each of 2 heads.
    assert count == 2 * 2 * (2 * 16 * 8 * 16)


def test_counting_leaves_neither_gradients_nor_drawn_random_numbers():
    layer, dropout = nn.Linear(4, 4), nn.Dropout(0.5)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    _count(
        layer, lambda batch: dropout(layer(batch["input_ids"])).sum(), {"input_ids": torch.randn(2, 4)}, training=True
    )
    drawn = torch.rand(3)
    torch.manual_seed(0)
    torch.randn(2, 4)  # drawn by the test itself, for the batch
    assert torch.equal(drawn, torch.rand(3))
    assert not torch.equal(drawn, expected)
    assert layer.weight.grad is None


@pytest.mark.parametrize("lengths", [(5,), (5, 9)])
def test_few_lengths_are_known_exactly_and_prove_nothing_of_others(lengths):
    count = FlopCount({(length, 1): 7 * length for length in lengths})
    assert not count.holds
    assert count((2, 5), 2) == 70


def test_a_batch_of_completions_takes_what_its_single_items_tell(tmp_path):
    folder = write_tiny_model(tmp_path, "LlamaForCausalLM", num_key_value_heads=2)
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder, eos_token="[SEP]"),
    )
    task = Completion()
    texts = {
        "text": [f"{'film ' * n}" for n in range(5, 25)],
        "completion": [f"{'plot ' * (n % 5)}very" for n in range(20)],
    }
    items = task.encode(texts, tokenizer, 64)
    items.pop("truncated")

    def taken(rows):
        part = {name: [values[row] for row in rows] for name, values in items.items()}
        batch = task.collate(part, tokenizer)
        count = _count(model, lambda batch: task.loss(model, batch), batch, training=True)
        return batch["input_ids"].shape, task.weight(part), count

    singles = [taken([row]) for row in (0, 4, 7, 11, 15, 19)]
    known = FlopCount({(shape[1], weight): count for shape, weight, count in singles})
    assert known.holds
    shape, weight, count = taken([3, 8, 12, 18])
    assert known(shape, weight) == count
