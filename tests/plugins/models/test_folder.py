import json
import shutil
from pathlib import Path

import pytest

from harness import HarnessError
from harness.contracts import hash_files
from harness.testing import check_component, write_tiny_model
from harness_plugins.models.folder import Folder


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def refusal(**params: str) -> str:
    """Return the message that locating ends in."""
    with pytest.raises(HarnessError) as error:
        Folder(**params).locate()
    return str(error.value)


def test_a_saved_model_is_found_with_the_hash_of_its_weights(tiny_model):
    source = Folder(path=str(tiny_model)).locate()
    assert source.path == str(tiny_model)
    assert source.sha256 == hash_files([tiny_model / "model.safetensors"])


def test_a_saved_model_loads_under_a_new_head(tiny_model):
    model = Folder(path=str(tiny_model)).load("AutoModelForSequenceClassification", num_labels=3)
    assert type(model).__name__ == "BertForSequenceClassification"
    assert model.config.num_labels == 3


def test_it_keeps_the_contract(tiny_model):
    check_component(Folder(path=str(tiny_model)))


def test_a_folder_that_holds_no_model_is_refused(tmp_path):
    assert refusal(path=str(tmp_path)) == (
        f"model folder {str(tmp_path)!r} has no config.json: give a folder written by save_pretrained"
    )


def test_weights_that_are_not_safetensors_are_refused(tiny_model, tmp_path):
    folder = copied(tiny_model, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert refusal(path=str(folder)) == (
        f"model folder {str(folder)!r} has no model.safetensors but pytorch_model.bin; load the model with transformers "
        "and save it with save_pretrained, which writes safetensors"
    )


def test_other_weights_than_asked_for_are_refused(tiny_model):
    found = hash_files([tiny_model / "model.safetensors"])
    assert refusal(path=str(tiny_model), sha256="0" * 64) == (
        f"model folder {str(tiny_model)!r} has sha256 {found[:16]}..., expected 0000000000000000..."
    )


def test_the_beginning_of_the_hash_is_enough_to_ask_for_weights(tiny_model):
    found = hash_files([tiny_model / "model.safetensors"])
    assert Folder(path=str(tiny_model), sha256=found[:12]).locate().sha256 == found


def test_the_fingerprint_does_not_follow_the_path(tiny_model, tmp_path):
    copy = copied(tiny_model, tmp_path / "elsewhere")
    first, second = (Folder(path=str(path)).reference() for path in (tiny_model, copy))
    assert first.fingerprint == second.fingerprint
    assert first.location == {"path": str(tiny_model)}
    assert first.params == second.params == {"sha256": None}


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_the_fingerprint_follows_configuration_and_tokenizer(tiny_model, tmp_path, name):
    folder = copied(tiny_model, tmp_path / "model")
    before = Folder(path=str(folder)).fingerprint()
    (folder / name).write_text((folder / name).read_text() + "\n")
    assert Folder(path=str(folder)).fingerprint() != before


def test_the_fingerprint_follows_the_weights(tmp_path):
    first, second = (
        Folder(path=str(write_tiny_model(tmp_path / str(seed), seed=seed))).fingerprint() for seed in (0, 1)
    )
    assert first != second


def sharded(folder: Path, names: list[str]) -> Path:
    """Make an index of a folder's weights, as if they lay in files of these names."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = {"metadata": {}, "weight_map": {f"weight {number}": name for number, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_files_that_the_index_names_are_the_weights_and_decoys_are_none(tiny_model, tmp_path):
    folder = sharded(copied(tiny_model, tmp_path / "model"), ["model-00001-of-00001.safetensors"])
    before = Folder(path=str(folder)).locate().sha256, Folder(path=str(folder)).fingerprint()
    assert before[0] == hash_files([tiny_model / "model.safetensors"])
    (folder / "decoy.safetensors").write_bytes(b"other weights")
    assert (Folder(path=str(folder)).locate().sha256, Folder(path=str(folder)).fingerprint()) == before


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/model.safetensors", "weights.bin", "sub/model.safetensors"]
)
def test_an_index_may_name_weights_of_the_folder_only(tiny_model, tmp_path, name):
    folder = sharded(copied(tiny_model, tmp_path / "model"), [name])
    assert refusal(path=str(folder)) == (
        f"model folder {str(folder)!r}: the index lists {name!r}, which is not a *.safetensors file in the folder"
    )


def test_a_file_that_the_index_names_must_be_there(tiny_model, tmp_path):
    folder = sharded(copied(tiny_model, tmp_path / "model"), ["model-00002-of-00002.safetensors"])
    assert "model-00002-of-00002.safetensors is missing but listed in the index" in refusal(path=str(folder))


def test_a_folder_without_its_tokenizer_is_refused(tiny_model, tmp_path):
    folder = copied(tiny_model, tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    assert refusal(path=str(folder)) == (
        f"model folder {str(folder)!r} has no tokenizer, so every word would be unknown; save one there with "
        "tokenizer.save_pretrained(folder)"
    )


def test_an_adapter_is_named_with_its_base(tiny_model, tmp_path):
    folder = copied(tiny_model, tmp_path / "model")
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/base"}))
    message = refusal(path=str(folder))
    assert "it is an adapter, not a model; merge it into its base" in message
    assert message.endswith("or use the base model (some/base)")


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("pytorch_model.bin", "pytorch_model.bin"),
        ("model.Q4_1.gguf", "model.Q4_1.gguf"),
        ("tf_model.h5", "tf_model.h5"),
    ],
)
def test_weights_of_another_kind_are_named(tiny_model, tmp_path, name, named):
    folder = copied(tiny_model, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / name)
    assert f"has no model.safetensors but {named}" in refusal(path=str(folder))


def test_quantised_weights_are_refused_by_the_name_of_their_method(tiny_model, tmp_path):
    folder = copied(tiny_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "quantization_config": {"quant_method": "gptq", "bits": 4}})
    )
    assert "holds GPTQ weights, which cannot be tuned; use the unquantised model" in refusal(path=str(folder))


def test_a_folder_never_touches_the_network(tiny_model, monkeypatch):
    def refuse(*args, **kwargs):
        message = "the network was touched"
        raise AssertionError(message)

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    model = Folder(path=str(tiny_model))
    assert len(model.tokenizer()) == 23
    assert model.config().model_type == "bert"
    assert model.load("AutoModelForSequenceClassification", num_labels=2) is not None
