"""What a delivered folder says of itself, and whether it is still what was delivered."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from harness import HarnessError
from harness.delivery.manifest import Base, Manifest, read_manifest, write_manifest
from harness.delivery.write import saved_bytes
from harness.records import ComponentRef, TrainConfig


def delivered(folder: Path) -> Path:
    (folder / "1_part").mkdir(parents=True)
    for name in ("config.json", "1_part/config.json", "README.md"):
        (folder / name).write_text("{}", encoding="utf-8")
    one = ComponentRef(name="one", version=1)
    manifest = Manifest(
        kind="whole", base=Base(name="base", path="base"), task=one, dataset=one, data="data", max_length=8, batch_tokens=64,
        precision="fp32", dtype="float32", run="0" * 12, strategy=one, train=TrainConfig(), seed=0, versions={},
    )  # fmt: skip
    write_manifest(folder, manifest)
    return folder


def test_every_file_has_its_hash(tmp_path):
    folder = delivered(tmp_path / "model")
    assert sorted(read_manifest(folder).files) == ["1_part/config.json", "README.md", "config.json"]


def test_a_card_may_be_edited(tmp_path):
    folder = delivered(tmp_path / "model")
    (folder / "README.md").write_text("# ours", encoding="utf-8")
    assert read_manifest(folder).kind == "whole"


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "config.json").write_text("{ }"), "config.json' was changed after delivery"),
        (
            lambda folder: (folder / "1_part/config.json").unlink(),
            "lacks the file 1_part/config.json",
        ),
        (
            lambda folder: (folder / "harness.json").write_text("{}"),
            "harness.json' cannot be read; it is damaged or from another",
        ),
        (lambda folder: (folder / "harness.json").unlink(), r"is not an exported model \(no harness.json\)"),
    ],
    ids=["changed", "lost", "damaged", "not ours"],
)
def test_a_folder_that_is_not_what_was_delivered_is_refused(tmp_path, harm, message):
    folder = delivered(tmp_path / "model")
    harm(folder)
    with pytest.raises(HarnessError, match=message):
        read_manifest(folder)


def test_a_folder_of_a_later_format_is_refused(tmp_path):
    folder = delivered(tmp_path / "model")
    said = json.loads((folder / "harness.json").read_text(encoding="utf-8"))
    (folder / "harness.json").write_text(json.dumps({**said, "format": 2}), encoding="utf-8")
    with pytest.raises(HarnessError, match="has format 2, but this version reads format 1: update harness"):
        read_manifest(folder)


def test_bytes_to_ship_are_those_of_the_file_without_writing_it(tiny_model, tmp_path):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3)
    model.save_pretrained(tmp_path / "whole")
    assert saved_bytes(model) == (tmp_path / "whole" / "model.safetensors").stat().st_size


def test_tied_weights_are_shipped_once(tiny_model, tmp_path):
    model = transformers.AutoModelForMaskedLM.from_pretrained(tiny_model)
    model.save_pretrained(tmp_path / "whole")
    assert abs(saved_bytes(model) - (tmp_path / "whole" / "model.safetensors").stat().st_size) < 500  # of the header


def test_an_adapter_ships_without_its_base(tiny_model, tmp_path):
    import peft

    model = transformers.AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3)
    adapted = peft.get_peft_model(model, peft.LoraConfig(target_modules=["query"], modules_to_save=["classifier"]))
    adapted.save_pretrained(tmp_path / "adapter")
    assert saved_bytes(adapted) == (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size


def test_weights_of_several_types_are_counted_as_they_are_written(tmp_path):
    module = nn.Linear(3, 2, dtype=torch.bfloat16)
    module.register_buffer("steps", torch.tensor([1, 2, 3]))
    save_file(module.state_dict(), tmp_path / "module.safetensors")
    assert saved_bytes(module) == (tmp_path / "module.safetensors").stat().st_size
