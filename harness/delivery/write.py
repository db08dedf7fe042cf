"""Writer of delivered models: each folder can be opened by its library's own loader.

    whole      config.json, model.safetensors          AutoModelFor….from_pretrained, pipeline
    adapter    adapter_config.json, adapter_model…     AutoPeftModelFor….from_pretrained
    pooled     modules.json, 1_Pooling, 2_Dense        SentenceTransformer: `encode` returns the scores

The tokenizer is always included; it truncates texts to the same length as the run.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, cast

import torch
from torch import nn
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from harness.architecture import ATTENTION_DROPOUT
from harness.contracts import ModelSource, hash_files
from harness.delivery.card import write_card
from harness.delivery.manifest import Base, Manifest, write_manifest
from harness.delivery.pooled import FeatureHead
from harness.protocols import Pooling
from harness.records import ComponentRef
from harness.store import dump

if TYPE_CHECKING:
    from peft import PeftModel

TASK_TYPES: Mapping[str, str] = {
    "AutoModelForSequenceClassification": "SEQ_CLS",
    "AutoModelForTokenClassification": "TOKEN_CLS",
    "AutoModelForQuestionAnswering": "QUESTION_ANS",
    "AutoModelForCausalLM": "CAUSAL_LM",
}
"""PEFT's task type for each transformers class."""
_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Names of types in safetensors."""
POOLINGS: Mapping[Pooling, str] = {"mean": "mean", "first": "cls", "last": "lasttoken"}
"""Names of pooling modes in sentence-transformers."""
_ADAPTER = "adapter_config.json"


class Loaded(NamedTuple):
    """How a run loaded the model it tuned."""

    auto_class: str
    settings: Mapping[str, Any]
    """Arguments of `from_pretrained` set for the task."""
    renamed: bool = False
    """Whether the weight names in the files had to be changed for this class."""


class Made(NamedTuple):
    """A tuned model with its configuration and tokenizer."""

    tuned: nn.Module
    """The model returned by the strategy."""
    model: PreTrainedModel
    """The body with the task's head, into which an adapter was inserted."""
    loaded: Loaded
    published: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase
    generation: Mapping[str, Any]
    """Generation settings; empty if the task does not generate text."""


def is_adapter(model: nn.Module) -> TypeGuard[PeftModel]:
    """Return whether a model is a PEFT model, without importing PEFT if it was not imported yet."""
    peft = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def unwrap(model: nn.Module) -> None:
    """Replace the wrappers that some PEFT methods leave after merging by the trained heads."""
    peft = sys.modules.get("peft")
    if peft is None:
        return
    for name, module in list(model.named_modules()):
        if isinstance(module, peft.utils.ModulesToSaveWrapper):
            parent, _, last = name.rpartition(".")
            trained = module.modules_to_save[module.active_adapters[0]]
            setattr(model.get_submodule(parent), last, trained)


def base_of(model: ComponentRef, source: ModelSource, folder: Path) -> Base:
    """Return the location of a run's base model, relative to a delivered folder."""
    local = Path(source.path).is_dir()
    path = os.path.relpath(Path(source.path).resolve(), folder.resolve()) if local else source.path
    revision = None if local else source.revision or "main"
    # Hash the weights in the folder: the model's own sha256 may be that of the file they were made from.
    weights = sorted(Path(source.path).glob("*.safetensors")) if local else []
    sha256 = hash_files(weights) if weights else source.sha256
    return Base(name=model.name, path=path, revision=revision, sha256=sha256, licence=source.licence)


def write_adapter(folder: Path, adapted: PeftModel) -> None:
    """Write an adapter's weights before it is merged into its base; `write` completes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    adapted.save_pretrained(folder)


def write(folder: Path, made: Made, described: Manifest) -> Manifest:
    """Write a tuned model and return the folder's manifest.

    Args:
        folder: Target folder; may already contain an adapter.
        made: The model.
        described: Manifest with the facts known from the run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kind, reason, pooling = _write_weights(folder, made, described)
    if kind != "none":
        with _cutting(made.tokenizer, described.max_length, writes=bool(made.generation)):
            made.tokenizer.save_pretrained(folder)
    dtype = str(next(made.tuned.parameters(), torch.empty(0)).dtype).removeprefix("torch.")
    whole = described.model_copy(
        update={
            "kind": kind,
            "reason": reason,
            "pooling": pooling,
            "auto_class": made.loaded.auto_class,
            "settings": json.loads(json.dumps(made.loaded.settings)),
            "dtype": dtype,
        }
    )
    write_card(folder, whole, folder.name.strip(".").partition("-")[0])
    return write_manifest(folder, whole)


def saved_bytes(model: nn.Module, *, body_is_published: bool = False) -> int:
    """Return the saved size of a model's weights as safetensors, in bytes, without the published base.

    Args:
        model: A whole model, an adapter (its base is not counted) or a head on features.
        body_is_published: Whether a head's body is unchanged since publication and thus not counted.
    """
    if is_adapter(model):
        from peft import get_peft_model_state_dict

        return _file_bytes(get_peft_model_state_dict(model), {"format": "pt"})
    if isinstance(model, FeatureHead):
        head = _file_bytes(model.head.state_dict(keep_vars=True))
        return head if body_is_published else head + saved_bytes(model.body)
    metadata = {"format": "pt"} if isinstance(model, PreTrainedModel) else None
    return _file_bytes(model.state_dict(keep_vars=True), metadata)


def _file_bytes(tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> int:
    """Return the size of a safetensors file: 8 bytes, a header of JSON padded to a multiple of 8, and the data.

    Weights with several names are counted once, because they are written once.

    Source: the format description, https://github.com/huggingface/safetensors#format.
    """
    distinct: dict[Any, tuple[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, torch.Tensor):
            place = (tensor.device, tensor.data_ptr(), tensor.shape) if tensor.device.type != "meta" else id(tensor)
            distinct.setdefault(place if tensor.numel() else name, (name, tensor))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    # Wider types first, then by name, to align all data.
    for name, tensor in sorted(distinct.values(), key=lambda one: (-one[1].element_size(), one[0])):
        size = tensor.numel() * tensor.element_size()
        kind = _TYPES.get(tensor.dtype, "F32")
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    length = len(json.dumps(header, separators=(",", ":")).encode())
    return 8 + -(-length // 8) * 8 + at


def _write_weights(folder: Path, made: Made, described: Manifest) -> tuple[str, str, Pooling | None]:
    """Write the weights; return the kind of folder, the reason if it is `none`, and the pooling."""
    tuned = made.tuned
    if (folder / _ADAPTER).is_file() or is_adapter(tuned):
        if is_adapter(tuned):
            write_adapter(folder, tuned)
        _complete_adapter(folder, made, described.base)
        return "adapter", "", None
    if isinstance(tuned, FeatureHead):
        return _write_pooled(folder, tuned, made, described)
    if isinstance(tuned, PreTrainedModel):
        unwrap(tuned)
        if made.generation:
            tuned.generation_config = GenerationConfig(**made.generation)
        with _as_published(tuned, made.published):
            tuned.save_pretrained(folder, save_original_format=not made.loaded.renamed)
        return "whole", "", None
    save = getattr(tuned, "save_pretrained", None)
    if callable(save):
        save(folder)
    return "none", f"the model class is {type(tuned).__name__}, which no public library can load", None


def _complete_adapter(folder: Path, made: Made, base: Base) -> None:
    """Add to an adapter's configuration what PEFT's loaders need: the task type and the location of the base."""
    path = folder / _ADAPTER
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"], config["revision"] = base.path, base.revision
    if word := TASK_TYPES.get(made.loaded.auto_class):
        config["task_type"], config["auto_mapping"] = word, None
        # PEFT's class for a task saves whole heads; the weight names are the same.
        kept = config.get("modules_to_save") or []
        config["modules_to_save"] = list(dict.fromkeys(_whole(name, made.model) for name in kept)) or None
    path.write_text(dump(config), encoding="utf-8")
    if made.generation:
        GenerationConfig(**made.generation).save_pretrained(folder)


def _whole(name: str, model: PreTrainedModel) -> str:
    """Return the part of a model that contains a module: a direct child of the model or of its body."""
    first, _, rest = name.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first == model.base_model_prefix else first


def _write_pooled(folder: Path, tuned: FeatureHead, made: Made, described: Manifest) -> tuple[str, str, Pooling | None]:
    body = cast("PreTrainedModel", tuned.body)
    if not isinstance(tuned.head, nn.Linear):
        return "none", f"the head class is {type(tuned.head).__name__}, which no public library can load", tuned.pooling
    if body.config.is_encoder_decoder:
        alone = _encoder(body)
        if alone is None:
            return "none", "no public library can load its encoder without the decoder", tuned.pooling
        body = alone
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling as PoolingModule

    with _as_published(body, made.published):
        body.save_pretrained(folder)
    with _cutting(made.tokenizer, described.max_length, writes=False):
        made.tokenizer.save_pretrained(folder)
    head = tuned.head
    dense = Dense(
        head.in_features,
        head.out_features,
        activation_function=nn.Identity(),
        init_weight=head.weight.detach().cpu().clone(),
        init_bias=head.bias.detach().cpu().clone(),
    )
    parts = [Transformer(str(folder)), PoolingModule(head.in_features, POOLINGS[tuned.pooling]), dense]
    SentenceTransformer(modules=parts, device="cpu").save(str(folder), create_model_card=False)
    return "pooled", "", tuned.pooling


def _encoder(body: PreTrainedModel) -> PreTrainedModel | None:
    """Return the encoder of an encoder-decoder body as a separate model; None if the library has no class for it."""
    import transformers

    cls = getattr(transformers, type(body).__name__.removesuffix("Model") + "EncoderModel", None)
    if cls is None:
        return None
    with torch.device("meta"):
        alone: Any = cls(body.config)
    alone.load_state_dict(
        {key: value for key, value in body.state_dict().items() if key in alone.state_dict()}, assign=True, strict=False
    )
    alone.tie_weights()
    return cast("PreTrainedModel", alone)


@contextmanager
def _as_published(model: PreTrainedModel, published: PretrainedConfig) -> Iterator[None]:
    """Restore the published attention dropout in a model's configuration temporarily; a run may set it to 0."""
    names = [name for name in ATTENTION_DROPOUT if hasattr(published, name) and hasattr(model.config, name)]
    before = {name: getattr(model.config, name) for name in names}
    for name in names:
        setattr(model.config, name, getattr(published, name))
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(model.config, name, value)


@contextmanager
def _cutting(tokenizer: PreTrainedTokenizerBase, max_length: int, *, writes: bool) -> Iterator[None]:
    """Set the tokenizer's maximum length to the run's temporarily; not for tasks that generate text."""
    before = tokenizer.model_max_length
    if not writes:
        tokenizer.model_max_length = max_length
    try:
        yield
    finally:
        tokenizer.model_max_length = before
