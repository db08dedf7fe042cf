import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional

from harness.engine.compat import clip_in_step
from harness.engine.fast.attention import short_attention
from harness.engine.fast.dropout import fast_dropout
from harness.engine.fast.rows import UsedRows, find_word_embedding

RATE, DECAY = 0.05, 0.1


class Words(nn.Module):
    """Looks words up and adds them up."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places, self.out = nn.Embedding(20, 4, padding_idx=0), nn.Embedding(8, 4), nn.Linear(4, 2)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.out((self.words(input_ids) + self.places(torch.arange(input_ids.shape[1]))).sum(1))


BATCHES = [torch.tensor(rows) for rows in ([[1, 2, 0], [3, 2, 1]], [[2, 3, 3], [1, 0, 0]], [[9, 1, 2], [7, 7, 0]])]


def optimizer_of(parameters: list[nn.Parameter]) -> torch.optim.AdamW:
    return torch.optim.AdamW(parameters, lr=RATE, weight_decay=DECAY, fused=True)


def loss_of(model: Words, ids: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(model(ids), torch.tensor([0, 1]))


def test_training_the_used_rows_is_training_all_of_them(monkeypatch):
    plain, short = Words(), Words()
    optimizer = optimizer_of(list(plain.parameters()))
    for ids in BATCHES * 3:
        loss_of(plain, ids).backward()
        optimizer.step()
        optimizer.zero_grad()

    used = UsedRows(short.words, np.array([0, 1, 2, 3]))  # 7 and 9 turn up later
    optimizer = optimizer_of([used.replaced(parameter) for parameter in short.parameters()])
    for _ in range(3):
        with used.training(optimizer):
            for ids in BATCHES:
                loss_of(short, ids).backward()
                optimizer.step()
                optimizer.zero_grad()
                used.decay(1 - RATE * DECAY)
    assert len(used.parameter) == 6
    for expected, found in zip(plain.parameters(), short.parameters(), strict=True):
        assert torch.allclose(expected, found, rtol=0, atol=1e-6)  # single precision


def test_the_embedding_of_words_is_found_and_not_that_of_places():
    model, ids = Words(), BATCHES[0]
    assert find_word_embedding(model, {"input_ids": ids}, lambda batch: model(batch["input_ids"])) is model.words


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.words.requires_grad_(False),
        lambda model: setattr(model.words, "max_norm", 1.0),
    ],
    ids=["frozen", "renormed"],
)
def test_an_embedding_that_is_not_plain_is_left_alone(change):
    model, ids = Words(), BATCHES[0]
    change(model)
    assert find_word_embedding(model, {"input_ids": ids}, lambda batch: model(batch["input_ids"])) is None


def test_an_embedding_with_two_names_is_one_embedding():
    model, ids = Words(), BATCHES[0]
    model.head = model.words
    assert find_word_embedding(model, {"input_ids": ids}, lambda batch: model(batch["input_ids"])) is model.words


def test_an_embedding_tied_to_a_head_is_left_alone():
    model, ids = Words(), BATCHES[0]
    model.head = nn.Linear(4, 20, bias=False)
    model.head.weight = model.words.weight
    assert find_word_embedding(model, {"input_ids": ids}, lambda batch: model(batch["input_ids"])) is None


def test_dropout_keeps_the_share_it_should_and_the_mean():
    torch.manual_seed(0)
    layer, ones = nn.Dropout(0.1), torch.ones(1000, 999, requires_grad=True)
    with fast_dropout(layer):
        dropped = layer(ones)
        dropped.sum().backward()
    kept = dropped != 0
    # Three standard deviations of a share of a million.
    assert float(kept.float().mean()) == pytest.approx(0.9, abs=0.0009)
    assert torch.allclose(dropped[kept], torch.tensor(1 / 0.9), rtol=1e-4)
    assert torch.equal(ones.grad, dropped)


def test_dropout_is_off_in_eval_mode_and_torchs_own_again_afterwards():
    layer, ones = nn.Dropout(0.5), torch.ones(100)
    with fast_dropout(layer):
        assert torch.equal(layer.eval()(ones), ones)
    assert "forward" not in vars(layer)


@pytest.mark.parametrize("max_norm", [0.01, 100.0], ids=["clipped", "not clipped"])
def test_clipping_in_the_step_is_clipping_before_it(max_norm):
    plain, short = Words(), Words()
    for model in (plain, short):
        (loss_of(model, BATCHES[0]) * 10).backward()
    # Without momentum's scale invariance, two steps with different gradients tell the norms apart.
    first, second = (optimizer_of(list(model.parameters())) for model in (plain, short))
    for ids in BATCHES:
        nn.utils.clip_grad_norm_(plain.parameters(), max_norm)
        clip_in_step(second, list(short.parameters()), max_norm)
        for model, optimizer in ((plain, first), (short, second)):
            optimizer.step()
            optimizer.zero_grad()
            loss_of(model, ids).backward()
    for expected, found in zip(plain.parameters(), short.parameters(), strict=True):
        assert torch.allclose(expected, found, rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [6, 65], ids=["short", "long"])
def test_attention_over_short_texts_is_the_librarys(tiny_model, length):
    model = transformers.AutoModel.from_pretrained(tiny_model, max_position_embeddings=80, ignore_mismatched_sizes=True)
    model.eval()
    tokens = torch.arange(4 * length).reshape(4, length) % 20 + 3
    mask = torch.ones_like(tokens)
    mask[1, 4:] = 0

    def computed():
        hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state
        (hidden * mask.unsqueeze(-1)).square().sum().backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        model.zero_grad()
        return hidden.detach()[mask.bool()], gradients

    expected, expected_gradients = computed()
    with short_attention():
        found, gradients = computed()
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)
    for one, other in zip(expected_gradients, gradients, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-4 * max(1.0, float(one.abs().max())))
