"""Low-rank adapters."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, PositiveInt, field_validator

import harness
from harness_plugins.strategies._stage import too_many_layers

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn
    from transformers import PretrainedConfig


class LoRA(harness.Strategy):
    """Train low-rank adapters on every linear layer of the body, and the head; the adapters are merged afterwards.

    Source: Hu et al., 2021 (LoRA, https://arxiv.org/abs/2106.09685), by PEFT. Adapters are added to all linear layers,
    not only to queries and values, because Dettmers et al., 2023 (QLoRA, section 4) found this necessary to match full
    fine-tuning.
    """

    name = "lora"
    default = True
    imports = ("peft",)
    # About ten times that of full fine-tuning; Schulman et al., 2025 (LoRA Without Regret) find this ratio for many
    # models.
    defaults = {"learning_rate": 5e-4}

    rank: PositiveInt = Field(8, description="rank of the adapters")
    alpha: float = Field(16.0, gt=0, description="scale of the adapters: they are multiplied by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the adapters")
    layers: PositiveInt | None = Field(
        None, description="number of blocks with adapters, counted from the output; default: the whole body"
    )

    target_modules: tuple[str, ...] | None = Field(
        None,
        json_schema_extra=harness.ADDED,
        description="names, or ends of names, of the linear layers with adapters, such as query,value; default: all",
    )

    variant: ClassVar[Mapping[str, Any]] = {}
    """Settings of PEFT's configuration that select a variant of LoRA."""

    @field_validator("target_modules", mode="before")
    @classmethod
    def _listed(cls, names: Any) -> Any:
        """Split names separated by commas."""
        return tuple(name.strip() for name in names.split(",") if name.strip()) if isinstance(names, str) else names

    def check(self, model: harness.Model, tasks: Sequence[harness.Task]) -> str | None:
        """Return why the model cannot be tuned this way."""
        del tasks
        width = model.published().get("hidden_size")
        if isinstance(width, int) and self.rank > width:
            return f"rank={self.rank} is more than the model's width of {width}"
        if reason := too_many_layers(model, self.layers):
            return reason
        if self.target_modules is None:
            return None
        names = _linear_names(harness.skeleton(model))
        lacking = [target for target in self.target_modules if not any(_ends(name, target) for name in names)]
        if not lacking:
            return None
        ends = sorted({name.rpartition(".")[2] for name in names})
        return f"target_modules: the model has no linear layer {lacking[0]!r}; available are {', '.join(ends)}"

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the model with the trained adapters merged into its weights."""
        from harness.adapters import merged

        return merged(stage, self._train(stage))

    def _train(self, stage: harness.Stage) -> "PeftModel":
        """Return the model with the trained, unmerged adapters."""
        import peft

        from harness.adapters import linear_layers, trained_heads, transposed
        from harness_plugins.strategies._fused_lora import fused

        model = stage.model
        targets = linear_layers(stage, [stage.body] if self.layers is None else list(stage.last_blocks(self.layers)))
        if self.target_modules is not None:
            wanted = self.target_modules
            targets = {name: layer for name, layer in targets.items() if any(_ends(name, end) for end in wanted)}
        config = peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=list(targets),
            fan_in_fan_out=transposed(targets),
            modules_to_save=trained_heads(stage),
            **self.variant,
        )
        adapted: PeftModel = peft.get_peft_model(model, config)
        with fused(adapted) if stage.config.fast else nullcontext():
            stage.fit(adapted)
        return adapted


class DoRA(LoRA):
    """LoRA that trains the magnitude and direction of each weight separately.

    Source: Liu et al., 2024 (DoRA: Weight-Decomposed Low-Rank Adaptation, https://arxiv.org/abs/2402.09353), by PEFT.
    """

    name = "dora"
    default = False
    variant = {"use_dora": True}


class RsLoRA(LoRA):
    """LoRA scaled by alpha / sqrt(rank), so that a higher rank learns as fast as a lower one.

    Source: Kalajdzievski, 2023 (A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA,
    https://arxiv.org/abs/2312.03732), by PEFT.
    """

    name = "rslora"
    default = False
    variant = {"use_rslora": True}


class PiSSA(LoRA):
    """LoRA initialised with the largest singular values and vectors of each weight instead of zero.

    Source: Meng et al., 2024 (PiSSA: Principal Singular Values and Singular Vectors Adaptation,
    https://arxiv.org/abs/2404.02948), by PEFT.
    """

    name = "pissa"
    default = False
    variant = {"init_lora_weights": "pissa"}


class QLoRA(LoRA):
    """LoRA on a base model with linear layers quantised to 4 bits.

    Uses bitsandbytes and needs a CUDA GPU: NF4 with double quantisation, computed in bfloat16. The adapters are not
    merged, because that would round them to 4 bits. Source: Dettmers et al., 2023 (QLoRA: Efficient Finetuning of
    Quantized LLMs, https://arxiv.org/abs/2305.14314; its learning rate for models of 7 and 13 billion weights).
    """

    name = "qlora"
    default = False
    shardable = False
    defaults = {"learning_rate": 2e-4}

    def missing(self) -> str | None:
        """Return what must be installed first."""
        from importlib.util import find_spec

        return None if find_spec("bitsandbytes") else "bitsandbytes: pip install bitsandbytes"

    def check(self, model: harness.Model, tasks: Sequence[harness.Task]) -> str | None:
        """Return why the model cannot be tuned this way."""
        if len(tasks) > 1:
            return "its adapters cannot be merged into the weights, so it supports one stage only"
        return super().check(model, tasks)

    def loading(self, auto_class: str, config: "PretrainedConfig") -> Mapping[str, Any]:
        """Return arguments of `from_pretrained` that load the body, but not a new head, in 4 bits.

        Raises:
            HarnessError: There is no CUDA GPU.
        """
        import torch
        import transformers

        if not _has_gpu():
            message = (
                "strategy 'qlora' needs a CUDA GPU, because bitsandbytes supports training with 4-bit weights only "
                "there"
            )
            raise harness.HarnessError(message)
        with torch.device("meta"):
            skeleton = getattr(transformers, auto_class).from_config(config)
        body = {id(module) for module in skeleton.base_model.modules()}
        # A pooler may be new, like a head.
        whole = [
            name
            for name, module in skeleton.named_modules()
            if name and (id(module) not in body or name.endswith("pooler"))
        ]
        quantized = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=whole,
        )
        return {"quantization_config": quantized}

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the model with the trained, unmerged adapters."""
        if not getattr(stage.model, "is_quantized", False):
            message = "strategy 'qlora': the base was not loaded in 4 bits"
            raise harness.HarnessError(message)
        adapted: nn.Module = self._train(stage)
        stage.ship(adapted)
        return adapted


def _linear_names(body: "nn.Module") -> list[str]:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    return [name for name, module in body.named_modules() if isinstance(module, nn.Linear | Conv1D)]


def _ends(name: str, end: str) -> bool:
    """Return whether a module's name equals or ends in another."""
    return f".{name}".endswith(f".{end}")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Register the strategies."""
    return [LoRA, DoRA, RsLoRA, PiSSA, QLoRA]
