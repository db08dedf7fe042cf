"""A model in a local folder."""

import json
from pathlib import Path
from typing import Any

from pydantic import Field

import harness

_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken", "tekken.json", "*.spm")
"""Tokenizer files; a tokenizer has at least one of them."""


class Folder(harness.Model):
    """A model in a local folder written by save_pretrained: `./my-model` or `folder:my-model`."""

    name = "folder"
    version = 2
    argument = "path"
    suffixes = ("/",)
    locating = frozenset({"path"})

    path: str = Field(description="folder with config.json, tokenizer files and *.safetensors")
    sha256: str | None = Field(
        None, description="expected SHA-256 of the weights, or its beginning; default: not checked"
    )

    def locate(self) -> harness.ModelSource:
        """Return the folder if it holds a complete model in safetensors, a tokenizer and the expected weights."""
        folder = Path(self.path)
        if not (folder / "config.json").is_file():
            hint = "give a folder written by save_pretrained"
            if (folder / "adapter_config.json").is_file():
                hint = (
                    "it is an adapter, not a model; merge it into its base model (PEFT's merge_and_unload, then "
                    "save_pretrained), "
                    f"or use the base model{_base_of(folder)}"
                )
            elif any(folder.glob("*.gguf")):
                hint = "GGUF files are not supported; save the model with save_pretrained"
            message = f"model folder {self.path!r} has no config.json: {hint}"
            raise harness.HarnessError(message)
        sha256 = harness.hash_files(self._weights(folder))
        if self.sha256 is not None and not sha256.startswith(self.sha256):
            message = f"model folder {self.path!r} has sha256 {sha256[:16]}..., expected {self.sha256[:16]}..."
            raise harness.HarnessError(message)
        quantised = self._config(folder).get("quantization_config")
        if quantised:
            method = (
                str(quantised.get("quant_method", "quantised")).upper() if isinstance(quantised, dict) else "quantised"
            )
            message = (
                f"model folder {self.path!r} holds {method} weights, which cannot be tuned; use the unquantised model"
            )
            raise harness.HarnessError(message)
        if not any(path.is_file() for name in _TOKENIZERS for path in folder.glob(name)):
            message = (
                f"model folder {self.path!r} has no tokenizer, so every word would be unknown; save one there with "
                "tokenizer.save_pretrained(folder)"
            )
            raise harness.HarnessError(message)
        return harness.ModelSource(str(folder), None, sha256, None)

    def fingerprint(self) -> str:
        """Return a hash of the loaded weights, the configuration, the tokenizer and the chat templates."""
        folder = Path(self.path)
        self.locate()
        kinds = (
            "*.json",
            "*.txt",
            "*.model",
            "*.tiktoken",
            "*.spm",
            "*.jinja",
            "additional_chat_templates/*.jinja",
        )
        return harness.hash_files(
            sorted({*self._weights(folder), *(path for kind in kinds for path in folder.glob(kind))})
        )

    def _weights(self, folder: Path) -> list[Path]:
        """Return the weight files: the single file, or those listed in the index.

        Raises:
            HarnessError: There are none, or the index lists something that is not a file in the folder.
        """
        whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
        if whole.is_file():
            return [whole]
        if not index.is_file():
            found = sorted(path.name for path in folder.iterdir())
            others = [
                name
                for name in found
                if name.endswith((".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf", ".safetensors"))
            ]
            hint = f" but {others[0]}" if others else ""
            message = (
                f"model folder {self.path!r} has no model.safetensors{hint}; load the model with transformers and "
                "save it with "
                "save_pretrained, which writes safetensors"
            )
            raise harness.HarnessError(message)
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            message = f"model folder {self.path!r}: model.safetensors.index.json is not a valid weight index"
            raise harness.HarnessError(message) from None
        for name in names:
            if not (isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name):
                message = (
                    f"model folder {self.path!r}: the index lists {name!r}, which is not a *.safetensors file in the "
                    "folder"
                )
                raise harness.HarnessError(message)
            if not (folder / name).is_file():
                message = (
                    f"model folder {self.path!r}: {name} is missing but listed in the index; download the files again"
                )
                raise harness.HarnessError(message)
        return [folder / name for name in names]

    def _config(self, folder: Path) -> dict[str, Any]:
        try:
            found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            message = f"model folder {self.path!r}: config.json cannot be read: {error}"
            raise harness.HarnessError(message) from None
        return found if isinstance(found, dict) else {}


def _base_of(folder: Path) -> str:
    """Return the base model named by an adapter, in parentheses; empty if it names none."""
    try:
        base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        return ""
    return f" ({base})" if base else ""


@harness.hookimpl
def harness_models() -> list[type[harness.Model]]:
    """Register the model."""
    return [Folder]
