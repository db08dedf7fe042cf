"""Determines the language-model head that a model was published with."""

from collections.abc import Mapping, Sequence

import harness

_HEADS: Mapping[str, str | None] = {
    # Discriminators of replaced tokens do not predict tokens.
    "ElectraForPreTraining": None,
    "FunnelForPreTraining": None,
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForPreTraining": "AutoModelForMaskedLM",
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
}
"""Maps parts of published class names to the transformers class that loads the head; None if there is no such head."""


def language_model_head(architectures: Sequence[str] | None) -> str | None:
    """Return the transformers class that loads the published head, masked or causal; None if there is none.

    Args:
        architectures: The model's architectures in `config.json`.
    """
    published = " ".join(architectures or ())
    return next((loader for part, loader in _HEADS.items() if part in published), None)


def published_as(model: harness.Model) -> Sequence[str]:
    """Return the architectures in a model's `config.json`."""
    return model.published().get("architectures") or ()


def without(head: str, architectures: Sequence[str] | None) -> str:
    """Return the message that a model lacks a head, as a clause."""
    return (
        f"the model was published without a {head} head (as {' '.join(architectures or ()) or 'a body without a head'})"
    )
