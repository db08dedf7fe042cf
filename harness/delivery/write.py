"""The one writer of delivered models: each folder is what its library's own loader opens.

    whole      config.json, model.safetensors          AutoModelFor….from_pretrained, pipeline
    adapter    adapter_config.json, adapter_model…     AutoPeftModelFor….from_pretrained
    pooled     modules.json, 1_Pooling, 2_Dense        SentenceTransformer: `encode` gives the scores

Beside them always the tokenizer, which cuts texts where the run did.
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
"""What PEFT calls what a class of transformers is for."""
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
"""What safetensors calls a type."""
POOLINGS: Mapping[Pooling, str] = {"mean": "mean", "first": "cls", "last": "lasttoken"}
"""What sentence-transformers calls ways of pooling."""
_ADAPTER = "adapter_config.json"


class Loaded(NamedTuple):
    """How a run loaded the model that it tuned."""

    auto_class: str
    settings: Mapping[str, Any]
    """What `from_pretrained` was given for the task."""
    renamed: bool = False
    """Whether the files' names of weights had to be changed for this class."""


class Made(NamedTuple):
    """A tuned model, and what belongs to it."""

    tuned: nn.Module
    """As the strategy gave it back."""
    model: PreTrainedModel
    """The body under the task's head, which an adapter was put into."""
    loaded: Loaded
    published: PretrainedConfig
    tokenizer: PreTrainedTokenizerBase
    generation: Mapping[str, Any]
    """Settings of generation; empty where the task writes nothing."""


def is_adapter(model: nn.Module) -> TypeGuard[PeftModel]:
    """Return whether a model is one of PEFT's, without importing PEFT where it cannot be."""
    peft = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def unwrap(model: nn.Module) -> None:
    """Put a model's trained heads in the places of the wrappers that some of PEFT's methods leave there when they are merged."""
    peft = sys.modules.get("peft")
    if peft is None:
        return
    for name, module in list(model.named_modules()):
        if isinstance(module, peft.utils.ModulesToSaveWrapper):
            parent, _, last = name.rpartition(".")
            trained = module.modules_to_save[module.active_adapters[0]]
            setattr(model.get_submodule(parent), last, trained)


def base_of(model: ComponentRef, source: ModelSource, folder: Path) -> Base:
    """Return where a run's base model is, as seen from a delivered folder."""
    local = Path(source.path).is_dir()
    path = os.path.relpath(Path(source.path).resolve(), folder.resolve()) if local else source.path
    revision = None if local else source.revision or "main"
    # Of the weights that lie there: a model may be known by the file that they were made of.
    weights = sorted(Path(source.path).glob("*.safetensors")) if local else []
    sha256 = hash_files(weights) if weights else source.sha256
    return Base(name=model.name, path=path, revision=revision, sha256=sha256, licence=source.licence)


def write_adapter(folder: Path, adapted: PeftModel) -> None:
    """Write an adapter's weights, before it is merged into its base; `write` completes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    adapted.save_pretrained(folder)


def write(folder: Path, made: Made, described: Manifest) -> Manifest:
    """Write a tuned model; return what the folder is.

    Args:
        folder: Where to; an adapter may be there already.
        made: The model.
        described: What is known of the run.
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
    """Return how many bytes a model's weights take as safetensors: what must be sent where the published base is.

    Args:
        model: A whole model; an adapter, of which the base is not counted; or a head on features.
        body_is_published: Whether a head's body is as it was published, and so is not counted.
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

    Weights under several names are counted once, as they are written.

    Source: the format's own description, https://github.com/huggingface/safetensors#format.
    """
    distinct: dict[Any, tuple[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if isinstance(tensor, torch.Tensor):
            place = (tensor.device, tensor.data_ptr(), tensor.shape) if tensor.device.type != "meta" else id(tensor)
            distinct.setdefault(place if tensor.numel() else name, (name, tensor))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    # Wider types first, then by name, so that all data is aligned.
    for name, tensor in sorted(distinct.values(), key=lambda one: (-one[1].element_size(), one[0])):
        size = tensor.numel() * tensor.element_size()
        kind = _TYPES.get(tensor.dtype, "F32")
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [at, at + size]}
        at += size
    length = len(json.dumps(header, separators=(",", ":")).encode())
    return 8 + -(-length // 8) * 8 + at


def _write_weights(folder: Path, made: Made, described: Manifest) -> tuple[str, str, Pooling | None]:
    """Write what its library loads; return the kind of folder, why it is none, and how features are pooled."""
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
    return "none", f"its model is of class {type(tuned).__name__}, which no public library loads", None


def _complete_adapter(folder: Path, made: Made, base: Base) -> None:
    """Say in an adapter's configuration what PEFT's own loaders ask: what it is for, and where its base is."""
    path = folder / _ADAPTER
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"], config["revision"] = base.path, base.revision
    if word := TASK_TYPES.get(made.loaded.auto_class):
        config["task_type"], config["auto_mapping"] = word, None
        # PEFT's class for a task keeps whole heads; the weights' names are the same.
        kept = config.get("modules_to_save") or []
        config["modules_to_save"] = list(dict.fromkeys(_whole(name, made.model) for name in kept)) or None
    path.write_text(dump(config), encoding="utf-8")
    if made.generation:
        GenerationConfig(**made.generation).save_pretrained(folder)


def _whole(name: str, model: PreTrainedModel) -> str:
    """Return the part of a model that a module belongs to: of those in the body, one of the body's own parts."""
    first, _, rest = name.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first == model.base_model_prefix else first


def _write_pooled(folder: Path, tuned: FeatureHead, made: Made, described: Manifest) -> tuple[str, str, Pooling | None]:
    body = cast("PreTrainedModel", tuned.body)
    if not isinstance(tuned.head, nn.Linear):
        return "none", f"its head is of class {type(tuned.head).__name__}, which no public library loads", tuned.pooling
    if body.config.is_encoder_decoder:
        alone = _encoder(body)
        if alone is None:
            return "none", "no public library loads its encoder without its decoder", tuned.pooling
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
    """Return the encoder of a body that has a decoder, too, as a model of its own; None if the library has no class for it."""
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
    """Have a model's configuration name the published attention dropout meanwhile, which a run may set to 0."""
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
    """Have a tokenizer cut texts, where it is asked to, at the run's length meanwhile; not where answers are written."""
    before = tokenizer.model_max_length
    if not writes:
        tokenizer.model_max_length = max_length
    try:
        yield
    finally:
        tokenizer.model_max_length = before
