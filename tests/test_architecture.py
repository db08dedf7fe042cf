import json

import pytest

from harness.architecture import block_count, find_blocks, most_tokens, skeleton
from harness.testing import TinyModel, write_tiny_model


def model(folder, architecture, **settings):
    return TinyModel(path=str(write_tiny_model(folder / "model", architecture, **settings)))


@pytest.mark.parametrize(
    ("architecture", "settings", "most"),
    [
        ("BertModel", {}, 64),
        # Its positions begin after the padding token's number.
        ("RobertaForMaskedLM", {"pad_token_id": 1, "max_position_embeddings": 66}, 64),
        ("GPT2LMHeadModel", {"pad_token_id": None, "max_position_embeddings": 48}, 48),
    ],
)
def test_a_text_may_have_as_many_tokens_as_model_and_tokenizer_take(tmp_path, architecture, settings, most):
    assert most_tokens(model(tmp_path, architecture, **settings), 64) == most


def test_a_model_that_writes_no_limit_as_minus_one_has_none(tmp_path):
    made = model(tmp_path, "BertModel")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_position_embeddings": -1}))
    assert most_tokens(made, 10_000) == 64  # the tokenizer's


def test_a_tokenizer_that_knows_no_limit_sets_none(tmp_path):
    made = model(tmp_path, "BertModel", max_position_embeddings=512)
    path = tmp_path / "model" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 1e30}))
    assert most_tokens(made, 128) == 512


def test_blocks_are_counted_without_weights(tmp_path):
    made = model(tmp_path, "BertModel", num_hidden_layers=3)
    assert block_count(made) == len(find_blocks(skeleton(made))) == 3


def test_layers_that_are_one_block_count_once(tmp_path):
    assert block_count(model(tmp_path, "AlbertModel", embedding_size=32, num_hidden_layers=4)) == 1
