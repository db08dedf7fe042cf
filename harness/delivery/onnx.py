"""A delivered model as one ONNX graph, from token ids to scores: body, pooling and head."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.utils import ModelOutput

from harness.errors import HarnessError

_SCORES = ("logits", "start_logits", "end_logits")
_OPSET = 18
INSTALL = "pip install 'finetune-harness[onnx]'"


class OnnxModel(nn.Module):
    """An ONNX graph with the interface of a transformers model, run by onnxruntime on the CPU."""

    def __init__(self, path: Path) -> None:
        """Open a graph.

        Raises:
            HarnessError: onnxruntime is not installed.
        """
        super().__init__()
        if find_spec("onnxruntime") is None:
            message = f"onnxruntime is not installed: {INSTALL}"
            raise HarnessError(message)
        import onnxruntime

        self._session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self._inputs = [part.name for part in self._session.get_inputs()]
        self._outputs = [part.name for part in self._session.get_outputs()]

    def forward(self, **batch: torch.Tensor) -> Any:
        """Return the graph's scores by name."""
        given = {name: batch[name].cpu().numpy().astype(np.int64) for name in self._inputs}
        found = self._session.run(self._outputs, given)
        return ModelOutput({name: torch.from_numpy(array) for name, array in zip(self._outputs, found, strict=True)})


class _Graph(nn.Module):
    """The exported module: takes tensors, returns a tuple of tensors."""

    def __init__(self, model: nn.Module, names: Sequence[str], scores: Sequence[str]) -> None:
        super().__init__()
        self.model, self._names, self._scores = model, tuple(names), tuple(scores)

    def forward(self, *tensors: torch.Tensor) -> Any:
        output = self.model(**dict(zip(self._names, tensors, strict=True)))
        return tuple(output[name] for name in self._scores)


def write_onnx(path: Path, model: nn.Module, batch: dict[str, torch.Tensor]) -> None:
    """Write a model's graph.

    Args:
        path: Target file.
        model: Returns `logits`, or `start_logits` and `end_logits`.
        batch: Example input with at least two texts of different lengths.

    Raises:
        HarnessError: Packages are missing, or the model cannot be exported as a graph.
    """
    if find_spec("onnx") is None or find_spec("onnxruntime") is None:
        message = f"ONNX export needs onnx and onnxruntime: {INSTALL}"
        raise HarnessError(message)
    with torch.no_grad():
        output = model(**batch)
    scores = [name for name in _SCORES if name in output]
    axes = {name: {0: "texts", 1: "tokens"} for name in batch}
    axes |= {
        name: {0: "texts", 1: "tokens"}
        if output[name].shape[1:2] == batch["input_ids"].shape[1:2] and (output[name].ndim > 2 or name != "logits")
        else {0: "texts"}
        for name in scores
    }
    graph = _Graph(
        model, list(batch), scores
    ).eval()  # a new module starts in training mode, and the export would restore that mode
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            # The older of torch's two exporters: it takes a fifth of the time (1 s instead of 5 s for 22.7 M parameters), needs one
            # package less, and gives the same scores within 1e-7.
            torch.onnx.export(
                graph,
                tuple(batch.values()),
                str(path),
                dynamo=False,
                input_names=list(batch),
                output_names=scores,
                dynamic_axes=axes,
                opset_version=_OPSET,
            )
    except Exception as error:  # noqa: BLE001 - torch raises many kinds of errors here
        path.unlink(missing_ok=True)
        message = f"the model cannot be exported as an ONNX graph: {' '.join(str(error).split())[:200]}"
        raise HarnessError(message) from None
