"""Transformations of a delivered folder without tuning: merging, another precision, an ONNX graph, a copy of the base."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.catalog import Catalog
from harness.delivery.load import Delivered, base_path, quiet
from harness.delivery.manifest import ONNX, Manifest, read_manifest, write_manifest
from harness.delivery.write import unwrap
from harness.errors import HarnessError
from harness.store import dump

_BASE = "base"
_MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def merge(folder: Path, catalog: Catalog | None = None) -> Manifest:
    """Merge a folder's adapter into its base, so that the folder contains a whole model.

    Raises:
        HarnessError: The adapter cannot be merged.
    """
    delivered = Delivered(folder, device="cpu", catalog=catalog)
    adapted: Any = delivered.model
    if delivered.manifest.kind != "adapter":
        return delivered.manifest
    try:
        whole = adapted.merge_and_unload()
    except Exception as error:  # noqa: BLE001 - libraries raise many kinds of errors here
        message = f"the adapter cannot be merged into its base ({' '.join(str(error).split())[:120]}); export it without --merged"
        raise HarnessError(message) from None
    unwrap(whole)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / _BASE, ignore_errors=True)
    if (folder / "generation_config.json").is_file():
        import transformers

        whole.generation_config = transformers.GenerationConfig.from_pretrained(folder)
    with quiet():
        whole.save_pretrained(folder, save_original_format="key_mapping" not in delivered.manifest.settings)
    return write_manifest(folder, delivered.manifest.model_copy(update={"kind": "whole", "settings": {}}))


def convert(folder: Path, dtype: str) -> Manifest:
    """Convert a folder's weights to another precision."""
    manifest = read_manifest(folder)
    if manifest.dtype == dtype or manifest.kind not in ("whole", "pooled"):
        return manifest
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        wanted = getattr(torch, dtype)
        save_file({name: t.to(wanted) if t.is_floating_point() else t for name, t in tensors.items()}, path, metadata)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(dump({**config, "dtype": dtype}), encoding="utf-8")
    return write_manifest(folder, manifest.model_copy(update={"dtype": dtype}))


def rebase(folder: Path, was: Path) -> Manifest:
    """Update the relative path to the adapter's base in a copied folder.

    Args:
        folder: The copy.
        was: The original folder.
    """
    manifest = read_manifest(folder)
    if manifest.kind != "adapter" or not manifest.base.local:
        return manifest
    path = os.path.relpath((was.resolve() / manifest.base.path).resolve(), folder.resolve())
    return _with_base(folder, manifest, path)


def bring_base(folder: Path) -> Manifest:
    """Copy an adapter's base into its folder if the base is a local folder, so that the folder can be moved."""
    manifest = read_manifest(folder)
    if manifest.kind != "adapter" or not manifest.base.local:
        return manifest
    source = Path(base_path(folder, manifest))
    target = folder / _BASE
    target.mkdir()
    for path in [*sorted(source.glob("*.safetensors")), *sorted(source.glob("*.safetensors.index.json"))]:
        shutil.copyfile(path, target / path.name)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    # PEFT's loader reads the number of classes from the base's configuration.
    told = {
        name: value for name, value in manifest.settings.items() if name in ("id2label", "label2id", "problem_type")
    }
    if "num_labels" in manifest.settings and "id2label" not in told:
        count = int(str(manifest.settings["num_labels"]))
        told |= {
            "id2label": {str(at): f"LABEL_{at}" for at in range(count)},
            "label2id": {f"LABEL_{at}": at for at in range(count)},
        }
    (target / "config.json").write_text(dump({**config, **told}), encoding="utf-8")
    if (source / "generation_config.json").is_file():
        shutil.copyfile(source / "generation_config.json", target / "generation_config.json")
    return _with_base(folder, manifest, _BASE)


def _with_base(folder: Path, manifest: Manifest, path: str) -> Manifest:
    configuration = folder / "adapter_config.json"
    adapter = json.loads(configuration.read_text(encoding="utf-8"))
    configuration.write_text(dump({**adapter, "base_model_name_or_path": path}), encoding="utf-8")
    return write_manifest(folder, manifest.model_copy(update={"base": manifest.base.model_copy(update={"path": path})}))


def add_onnx(folder: Path, texts: Sequence[dict[str, Any]]) -> Manifest:
    """Add an ONNX graph to a folder.

    Args:
        folder: The folder.
        texts: Example rows with the task's columns.

    Raises:
        HarnessError: The model generates text, or it cannot be exported as a graph.
    """
    delivered = Delivered(folder, device="cpu")
    if delivered.manifest.task.name and delivered.task.answers == "text":
        message = "--onnx: a text-generating model cannot be exported as one graph (each token depends on the previous ones); remove --onnx"
        raise HarnessError(message)
    from harness.delivery.onnx import write_onnx

    rows = delivered.task.unlabelled({name: [row[name] for row in texts] for name in texts[0]})
    encoded = delivered.task.encode(rows, delivered.tokenizer, delivered.manifest.max_length)
    kept = {name: values for name, values in encoded.items() if name in _MODEL_INPUTS}
    batch = delivered.tokenizer.pad(kept, return_tensors="pt")
    write_onnx(folder / ONNX, delivered.model, {name: batch[name] for name in _MODEL_INPUTS if name in batch})
    return write_manifest(folder, delivered.manifest)
