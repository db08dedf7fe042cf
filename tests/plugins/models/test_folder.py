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
        f"model folder {str(tmp_path)!r} has no config.json: is it a model saved by save_pretrained?"
    )


def test_weights_that_are_not_safetensors_are_refused(tiny_model, tmp_path):
    folder = copied(tiny_model, tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert refusal(path=str(folder)) == (
        f"model folder {str(folder)!r} has no *.safetensors: save it again with safe_serialization"
    )


def test_other_weights_than_asked_for_are_refused(tiny_model):
    found = hash_files([tiny_model / "model.safetensors"])
    assert refusal(path=str(tiny_model), sha256="0" * 64) == (
        f"model folder {str(tiny_model)!r} has sha256 {found[:16]}..., not 0000000000000000... as asked"
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
