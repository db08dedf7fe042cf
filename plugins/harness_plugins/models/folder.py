"""A model from a local folder."""

from pathlib import Path

from pydantic import Field

import harness


class Folder(harness.Model):
    """A model in a local folder, as save_pretrained writes it: `./my-model` or `folder:my-model`."""

    name = "folder"
    argument = "path"
    suffixes = ("/",)
    locating = frozenset({"path"})

    path: str = Field(description="the folder, with config.json, tokenizer files and *.safetensors")
    sha256: str | None = Field(None, description="what the weights must hash to; blank: anything")

    def locate(self) -> harness.ModelSource:
        """Return the folder, if it holds safetensors weights and they are the expected ones."""
        folder = Path(self.path)
        if not (folder / "config.json").is_file():
            message = f"model folder {self.path!r} has no config.json: is it a model saved by save_pretrained?"
            raise harness.HarnessError(message)
        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            message = f"model folder {self.path!r} has no *.safetensors: save it again with safe_serialization"
            raise harness.HarnessError(message)
        sha256 = harness.hash_files(weights)
        if self.sha256 is not None and not sha256.startswith(self.sha256):
            message = f"model folder {self.path!r} has sha256 {sha256[:16]}..., not {self.sha256[:16]}... as asked"
            raise harness.HarnessError(message)
        return harness.ModelSource(str(folder), None, sha256, None)

    def fingerprint(self) -> str:
        """Return a hash of weights, configuration, tokenizer and chat templates."""
        folder = Path(self.path)
        self.locate()
        kinds = (
            "*.safetensors",
            "*.json",
            "*.txt",
            "*.model",
            "*.tiktoken",
            "*.jinja",
            "additional_chat_templates/*.jinja",
        )
        return harness.hash_files(sorted(path for kind in kinds for path in folder.glob(kind)))


@harness.hookimpl
def harness_models() -> list[type[harness.Model]]:
    """Offer the model."""
    return [Folder]
