"""Default settings of PEFT's methods, as data; a test checks them against the installed PEFT.

Learning rates come from PEFT's own comparison on MetaMathQA (Llama-3.2-3B, AdamW;
https://github.com/huggingface/peft/tree/main/method_comparison) if it searched for one, with the experiment's name;
else from `lora` for methods that change the weights by a product of small matrices; else from the paper. None was
searched for on your data.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

_AS_LORA = "as lora: a low-rank change of the weights"
_COMPARISON = "PEFT's method_comparison, MetaMathQA, "


_TASK_TYPES = {
    "ForSequenceClassification": "SEQ_CLS",
    "ForTokenClassification": "TOKEN_CLS",
    "ForQuestionAnswering": "QUESTION_ANS",
    "ForCausalLM": "CAUSAL_LM",
    "LMHeadModel": "CAUSAL_LM",
}


def word_for(model_class: str) -> str | None:
    """Return PEFT's task type for a model class; None if there is none."""
    return next((word for ending, word in _TASK_TYPES.items() if model_class.endswith(ending)), None)


class Method(NamedTuple):
    """One of PEFT's methods."""

    summary: str
    learning_rate: float = 5e-4
    source: str = _AS_LORA
    """The source of the learning rate."""
    targets: Literal["linear", "norms", "architecture", "embeddings", "cache"] = "linear"
    """What it changes: linear layers, norms, layers that PEFT selects by architecture, or prepended embeddings or keys
    and values."""
    settings: Mapping[str, Any] = {}
    """Settings whose default differs from PEFT's."""
    bounds: Mapping[str, Literal["divides", "product", "smallest", "rank"]] = {}
    """Settings whose default is lowered to fit the layers: to divide all widths, to at most the number of elements of
    the smallest layer, to at most the smallest width, or to a rank that saves elements."""
    merges: bool = True
    """Whether the adapter can be merged into the weights."""
    only_linear: bool = False
    """Whether it does not support the layers that GPT-2 has instead of torch's linear ones (transformers' `Conv1D`)."""
    unfit: str | None = None
    """Why it is not supported here."""


METHODS: Mapping[str, Method] = {
    "adalora": Method(
        "LoRA with ranks allocated by importance during training (Zhang et al., 2023)",
        settings={"init_r": 12, "target_r": 8},
        unfit="its ranks are allocated by the training loop; use the strategy adalora",
    ),
    "adamss": Method("low-rank additions in clusters of each weight's singular subspaces", only_linear=True),
    "adaption_prompt": Method(
        "LLaMA-Adapter: prompts with a gate in the upper attention layers (Zhang et al., 2023)",
        unfit="PEFT supports it only for Llama-like language models, without a new head",
    ),
    "beft": Method(
        "trains biases added to the value projections (https://arxiv.org/abs/2509.15974)",
        5e-3,
        "vectors, as ia3 in " + _COMPARISON + "ia3 lr0.005",
        merges=False,
        targets="architecture",
        only_linear=True,
    ),
    "boft": Method(
        "orthogonal rotation of the weights in butterfly form (Liu et al., 2024)",
        bounds={"boft_block_size": "divides"},
        settings={"boft_block_size": 4},
        only_linear=True,
    ),
    "c3a": Method(
        "circular convolution of the activations (Chen et al., 2024)",
        3e-1,
        _COMPARISON + "c3a default",
        bounds={"block_size": "divides"},
        only_linear=True,
    ),
    "cartridge": Method(
        "a trained key-value cache prepended to the text (Eyuboglu et al., 2025)",
        1e-3,
        "as prefix_tuning",
        targets="cache",
        settings={"num_virtual_tokens": 20, "num_frozen_tokens": 0},
        merges=False,
    ),
    "cpt": Method(
        "context-aware prompt tuning (Blau et al., 2024)",
        targets="embeddings",
        merges=False,
        unfit="it needs a prompt of examples, token by token, and a language-model task",
    ),
    "deft": Method("replaces a trained subspace of each weight"),
    "delora": Method("LoRA with strength and direction trained separately (Bini et al., 2025)", only_linear=True),
    "fourierft": Method(
        "trains a few Fourier coefficients of each weight's change (Gao et al., 2024)",
        1e-2,
        "vectors: between vera's and c3a's",
        bounds={"n_frequency": "product"},
    ),
    "frod": Method(
        "sparse full-rank changes in a basis shared between layers",
        1e-3,
        _COMPARISON + "frod sparse0.02-lr_0.001",
        settings={"progressbar": False},
    ),
    "glora": Method("generalized LoRA: paths for weights, features and biases (Chavan et al., 2023)", only_linear=True),
    "gralora": Method(
        "LoRA in a grid of blocks (Jung et al., 2025)", bounds={"gralora_k": "divides"}, settings={"gralora_k": 2}
    ),
    "hira": Method(
        "Hadamard product of the weight and a low-rank matrix (Huang et al., 2025)",
        4.5e-3,
        _COMPARISON + "hira rank32-lr4.5e-3",
    ),
    "hra": Method("a chain of Householder reflections of the weights (Yuan et al., 2024)", only_linear=True),
    "ia3": Method(
        "scales keys, values and the feed-forward layer by trained vectors (Liu et al., 2022)",
        5e-3,
        _COMPARISON + "ia3 all-attn-5k-lr0.005",
        targets="architecture",
    ),
    "lily": Method(
        "low-rank matrices shared between layers (https://arxiv.org/abs/2407.09946)", merges=False, only_linear=True
    ),
    "ln_tuning": Method(
        "trains the norms' scales and shifts (Zhao et al., 2023)", 1e-3, "vectors: lower than ia3's", targets="norms"
    ),
    "loha": Method("Hadamard product of two low-rank matrices (Hyeon-Woo et al., 2021)", only_linear=True),
    "lokr": Method(
        "Kronecker product of small matrices (Edalati et al., 2022)",
        3e-3,
        _COMPARISON + "lokr rank32-factor4-lr0.003",
        only_linear=True,
    ),
    "lora": Method("low-rank additions to the weights (Hu et al., 2021)"),
    "miss": Method(
        "one small matrix per layer, repeated over blocks of it (https://arxiv.org/abs/2409.15371)",
        bounds={"r": "divides"},
        only_linear=True,
    ),
    "multitask_prompt_tuning": Method(
        "a prompt for many tasks, each with a low-rank part (Wang et al., 2023)",
        targets="embeddings",
        merges=False,
        unfit="it trains on several tasks at the same time, with a task number for each text",
    ),
    "oft": Method(
        "orthogonal rotation of the weights, block by block (Qiu et al., 2023)",
        bounds={"oft_block_size": "divides"},
        only_linear=True,
    ),
    "osf": Method(
        "trains only directions orthogonal to what the weights use most (Nayak et al., 2025)",
        5e-5,
        _COMPARISON + "osf rank128",
    ),
    "p_tuning": Method(
        "a prompt made by a small trained encoder (Liu et al., 2021)",
        1e-3,
        "as prompt_tuning",
        targets="embeddings",
        settings={"num_virtual_tokens": 20},
        merges=False,
    ),
    "peanut": Method(
        "changes the weights by a small network applied to them (https://arxiv.org/abs/2410.01870)", only_linear=True
    ),
    "poly": Method(
        "a mixture of LoRAs routed by task (Ponti et al., 2022)",
        merges=False,
        unfit="it trains on several tasks at the same time, with a task number for each text",
    ),
    "prefix_tuning": Method(
        "trained keys and values prepended to those of the text in every layer (Li and Liang, 2021)",
        1e-3,
        _COMPARISON + "prefixtuning lr_0.001",
        targets="cache",
        settings={"num_virtual_tokens": 20},
        merges=False,
    ),
    "prompt_tuning": Method(
        "trained embeddings prepended to the text (Lester et al., 2021)",
        1e-3,
        _COMPARISON + "prompt_tuning lr_0.001",
        targets="embeddings",
        settings={"num_virtual_tokens": 20},
        merges=False,
    ),
    "psoft": Method(
        "orthogonal rotation within the principal subspace of the weights", bounds={"r": "smallest"}, only_linear=True
    ),
    "pvera": Method(
        "VeRA with a trained distribution instead of fixed values (https://arxiv.org/abs/2512.07703)", 5e-3, "as vera"
    ),
    "randlora": Method("full-rank change by a sum of random low-rank bases (Albert et al., 2025)"),
    "road": Method(
        "rotates pairs of activations (Liao and Monz, 2024)",
        1e-3,
        "vectors: lower than ia3's",
        bounds={"group_size": "divides"},
        only_linear=True,
    ),
    "shadow": Method(
        "a small network next to the model",
        merges=False,
        unfit="PEFT's implementation does not run under this version's models (ShadowCarrier)",
    ),
    "shira": Method(
        "trains a random 2% of the weights (Bhardwaj et al., 2024)", bounds={"r": "rank"}, only_linear=True
    ),
    "supertuning": Method(
        "trains only the largest individual weights (arXiv:2607.09287)", 5e-3, "vectors, as ia3", only_linear=True
    ),
    "tinylora": Method(
        "a few numbers around each weight's singular vectors (https://arxiv.org/abs/2602.04118)",
        5e-3,
        "vectors, as ia3",
    ),
    "trainable_tokens": Method(
        "trains the embeddings of chosen tokens",
        unfit="it needs the ids of the tokens to train, and changes nothing else",
    ),
    "unilora": Method(
        "all of LoRA's matrices from one trained vector (https://arxiv.org/abs/2506.00799)", 5e-3, "vectors, as ia3"
    ),
    "vblora": Method(
        "LoRA's matrices composed from a bank of vectors (Li et al., 2024)",
        1e-3,
        "its documentation in PEFT, for the bank of vectors",
        bounds={"vector_length": "divides"},
    ),
    "vera": Method("trained vectors around frozen random matrices (Kopiczko et al., 2024)", 5e-3, "vectors, as ia3"),
    "waveft": Method(
        "trains a few wavelet coefficients of each weight's change",
        1e-2,
        "as fourierft",
        bounds={"n_frequency": "product"},
    ),
    "xlora": Method(
        "a gate over LoRAs that were trained before (Buehler and Buehler, 2024)",
        merges=False,
        unfit="it combines adapters that are already trained, and trains none",
    ),
}
"""The methods by PEFT's name in lower case."""
