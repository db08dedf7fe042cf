"""Which language-model head a model was published with."""

from collections.abc import Mapping, Sequence

import harness

_HEADS: Mapping[str, str | None] = {
    # What tells real tokens from replaced ones writes none.
    "ElectraForPreTraining": None,
    "FunnelForPreTraining": None,
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForPreTraining": "AutoModelForMaskedLM",
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
}
"""For what is in the name of a published class, the class of transformers that loads it; None for what only looks like one."""


def language_model_head(architectures: Sequence[str] | None) -> str | None:
    """Return the class of transformers that loads the published head, masked or causal; None if there is none.

    Args:
        architectures: What `config.json` says the model was published as.
    """
    published = " ".join(architectures or ())
    return next((loader for part, loader in _HEADS.items() if part in published), None)


def published_as(model: harness.Model) -> Sequence[str]:
    """Return what a model's `config.json` says it was published as."""
    return model.published().get("architectures") or ()


def without(head: str, architectures: Sequence[str] | None) -> str:
    """Return the clause that says that a model lacks a head."""
    return f"the model was published without a {head} head (as {' '.join(architectures or ()) or 'a bare body'})"
