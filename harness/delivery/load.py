"""Loading of delivered folders with the libraries' own loaders, and prediction with them.

Needs neither the results folder nor the engine. Importing this module does not import torch.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from harness.batches import evaluation_batches, of_one_width
from harness.catalog import Catalog, load_catalog
from harness.contracts import Facts, Task, hash_files
from harness.delivery.manifest import ONNX, Manifest, read_manifest
from harness.errors import HarnessError, UndefinedError
from harness.protocols import Pooling
from harness.records import Predictions, Split

if TYPE_CHECKING:
    import datasets
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LOADERS = {"whole": "transformers", "adapter": "peft", "pooled": "sentence-transformers", "onnx": "onnxruntime"}
"""The library that loads each kind of folder."""
_ROWS = 1000
"""Rows encoded at a time."""
_PRECISIONS = {"bf16": "bfloat16", "fp16": "float16"}


class Delivered:
    """A loaded delivered model."""

    def __init__(
        self, folder: str | Path, *, device: str | None = None, onnx: bool = False, catalog: Catalog | None = None
    ) -> None:
        """Load the model in a folder.

        Args:
            folder: A folder written by harness export or --keep-models.
            device: For example `cpu` or `cuda`; None for an accelerator if available.
            onnx: Load the folder's ONNX graph with onnxruntime, on the CPU.
            catalog: Catalog with the task; None for the installed components.

        Raises:
            HarnessError: The folder is not a delivered model or was changed, or a required package is not installed.
        """
        self.folder = Path(folder)
        self.manifest: Manifest = read_manifest(self.folder)
        if self.manifest.kind == "none":
            message = f"{str(folder)!r} cannot be loaded: {self.manifest.reason}"
            raise HarnessError(message)
        self.task: Task = (catalog or load_catalog()).restore(Task, self.manifest.task)
        self.facts = Facts(classes=self.manifest.classes)
        kind = "onnx" if onnx else self.manifest.kind
        self.loader = LOADERS[kind]
        with quiet():
            import torch
            import transformers

            chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
            self.device: str = "cpu" if kind == "onnx" else chosen
            self.tokenizer: PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(
                self.folder, local_files_only=True, trust_remote_code=False
            )
            self.model: nn.Module = _OPEN[kind](self.folder, self.manifest).to(self.device).eval()

    def predict(self, texts: Sequence[str | Mapping[str, Any]]) -> list[dict[str, JsonValue]]:
        """Return the prediction for each text, in order: a label and its probability, tags, an answer, ...

        Args:
            texts: Texts, or rows with the task's columns, such as `text` and `text_pair`.
        """
        rows = [{"text": text} if isinstance(text, str) else dict(text) for text in texts]
        found: list[dict[str, JsonValue]] = []
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            found += self.answer({name: [row[name] for row in part] for name in part[0]})
        return found

    def answer(self, columns: Mapping[str, list[Any]]) -> list[dict[str, JsonValue]]:
        """Return the predictions for rows given by column; see `predict`."""
        rows = self.task.unlabelled(columns)
        said = self.evaluate({**rows, "id": list(range(len(next(iter(rows.values())))))})
        return self.task.readable(said.outputs, rows, self.facts)

    def evaluate(self, rows: Mapping[str, list[Any]]) -> Predictions:
        """Return the predictions for rows with ids and labels, in the form a run stores."""
        return self.task.evaluate(_Given(self, rows))


class _Given:
    """View of rows through a delivered model; see `harness.protocols.View`."""

    before = None

    def __init__(self, delivered: Delivered, rows: Mapping[str, list[Any]]) -> None:
        import datasets

        self._delivered = delivered
        self.facts, self.tokenizer = delivered.facts, delivered.tokenizer
        self._rows = datasets.Dataset.from_dict(dict(rows))
        manifest = delivered.manifest
        encoded = delivered.task.encode(
            {name: list(values) for name, values in rows.items()}, self.tokenizer, manifest.max_length
        )
        of = encoded.pop("row", range(len(rows["id"])))
        encoded.pop("truncated", None)
        self._ids = np.array([rows["id"][row] for row in of])
        self._encoded = encoded

    def rows(self, split: Split) -> datasets.Dataset:
        del split
        return self._rows

    def ids(self, split: Split) -> NDArray[Any]:
        del split
        return self._ids

    def targets(self, split: Split) -> NDArray[Any]:
        del split
        labels = self._encoded.get("labels")
        # Placeholder: unknown targets are not used.
        return np.zeros(len(self._ids)) if labels is None else np.asarray(labels)

    def features(self, split: Split, pooling: Pooling = "mean") -> NDArray[Any]:
        del split, pooling
        message = "a delivered model provides no features"
        raise UndefinedError(message)

    def outputs(self, split: Split) -> NDArray[Any]:
        """Return the task's prediction for each item, `[n, ...]`, with the batch size of the run."""
        del split
        import torch

        given, encoded = self._delivered, self._encoded
        parts: list[tuple[NDArray[np.int64], NDArray[Any]]] = []
        lengths = np.array([len(tokens) for tokens in encoded["input_ids"]])
        dtype = _PRECISIONS.get(given.manifest.precision)
        measured = (
            torch.autocast(given.device.partition(":")[0], getattr(torch, dtype)) if dtype else contextlib.nullcontext()
        )
        with torch.no_grad(), measured:
            for numbers in evaluation_batches(lengths, given.manifest.batch_tokens):
                items = {name: [values[at] for at in numbers] for name, values in encoded.items()}
                batch = given.task.collate(items, given.tokenizer)
                placed = {name: tensor.to(given.device) for name, tensor in batch.items()}
                parts.append((numbers, given.task.predict(given.model, placed).float().cpu().numpy()))
        values = np.concatenate(of_one_width([array for _, array in parts]))
        result = np.empty_like(values)
        result[np.concatenate([numbers for numbers, _ in parts])] = values
        return result


def base_path(folder: Path, manifest: Manifest) -> str:
    """Return the location of an adapter's base: a hub id, or a folder with the weights it was tuned on.

    Raises:
        HarnessError: The folder does not exist or contains other weights.
    """
    base = manifest.base
    if not base.local:
        return base.path
    place = Path(os.path.normpath(folder.resolve() / base.path))
    weights = sorted(place.glob("*.safetensors"))
    if not weights:
        message = (
            f"{str(folder)!r} is an adapter of {base.name!r} (sha256 {(base.sha256 or '?')[:16]}...), which is missing at {str(place)!r}; "
            "copy it there, or export the model again with --merged"
        )
        raise HarnessError(message)
    if base.sha256 is not None and hash_files(weights) != base.sha256:
        message = (
            f"{str(folder)!r} is an adapter of {base.name!r} with sha256 {base.sha256[:16]}..., but {str(place)!r} has other weights; "
            "copy the right ones there"
        )
        raise HarnessError(message)
    return str(place)


def _open_whole(folder: Path, manifest: Manifest) -> nn.Module:
    model: nn.Module = _pretrained(str(folder), manifest, {})
    return model


def _open_adapter(folder: Path, manifest: Manifest) -> nn.Module:
    import peft

    base = _pretrained(base_path(folder, manifest), manifest, manifest.settings)
    adapted: Any = peft.PeftModel.from_pretrained(base, str(folder))
    if getattr(adapted, "prompt_encoder", None):
        adapted.register_forward_hook(_aligned, with_kwargs=True)
    model: nn.Module = adapted
    return model


def _pretrained(path: str, manifest: Manifest, settings: Mapping[str, Any]) -> PreTrainedModel:
    import transformers

    given = dict(settings)
    if "id2label" in given:
        given["id2label"] = {int(number): name for number, name in given["id2label"].items()}
    where: dict[str, Any] = {"local_files_only": True} if Path(path).is_dir() else {"revision": manifest.base.revision}
    loader: Any = getattr(transformers, manifest.auto_class or "AutoModel")
    model: PreTrainedModel = loader.from_pretrained(
        path, **where, dtype=manifest.dtype, use_safetensors=True, trust_remote_code=False, **given
    )
    if model.config.pad_token_id is None and model.config.eos_token_id is not None:
        end = model.config.eos_token_id
        # A decoder's classification head uses it to find each text's last token.
        model.config.pad_token_id = end if isinstance(end, int) else end[0]
    return model


def _open_pooled(folder: Path, manifest: Manifest) -> nn.Module:
    import sentence_transformers
    from torch import nn
    from transformers.modeling_outputs import SequenceClassifierOutput

    loaded = sentence_transformers.SentenceTransformer(
        str(folder),
        device="cpu",
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"dtype": manifest.dtype},
    )

    class Scoring(nn.Module):
        """Returns the output of `encode` in the form of a transformers classification model."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = loaded

        def forward(self, **batch: Any) -> Any:
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
            return SequenceClassifierOutput(logits=self.inner(inputs)["sentence_embedding"])

    return Scoring()


def _open_onnx(folder: Path, manifest: Manifest) -> nn.Module:
    del manifest
    from harness.delivery.onnx import OnnxModel

    if not (folder / ONNX).is_file():
        message = f"{str(folder)!r} has no {ONNX}; export the model with --onnx"
        raise HarnessError(message)
    model: nn.Module = OnnxModel(folder / ONNX)
    return model


_OPEN = {"whole": _open_whole, "adapter": _open_adapter, "pooled": _open_pooled, "onnx": _open_onnx}


def _aligned(adapted: Any, args: Any, kwargs: Any, output: Any) -> Any:
    """Remove the scores of an adapter's virtual prefix tokens, to align the scores with the text's tokens."""
    del adapted, args
    length = kwargs["input_ids"].shape[1]
    for name in ("logits", "start_logits", "end_logits"):
        scores = output.get(name)
        if scores is not None and (name != "logits" or scores.ndim > 2):
            output[name] = scores[:, -length:]
    return output


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the libraries' loading reports and warnings; the predictions are checked instead."""
    import warnings

    import transformers

    before: Any = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(before)
