"""Low-rank adapters."""

from typing import TYPE_CHECKING, cast

from pydantic import Field, PositiveInt

import harness

if TYPE_CHECKING:
    from torch import nn


class LoRA(harness.Strategy):
    """Train low-rank additions to every linear layer of the body, and the head; merged into the weights afterwards.

    Source: Hu et al., 2021 (LoRA, https://arxiv.org/abs/2106.09685), by PEFT. On all linear layers rather than on queries
    and values only, as Dettmers et al., 2023 (QLoRA, section 4) found necessary to match full tuning.
    """

    name = "lora"
    default = True
    imports = ("peft",)
    # About ten times full tuning's: Schulman et al., 2025 (LoRA Without Regret) find that ratio over many models.
    defaults = {"learning_rate": 5e-4}

    rank: PositiveInt = Field(8, description="rank of the additions")
    alpha: float = Field(16.0, gt=0, description="the additions are scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the additions")
    layers: PositiveInt | None = Field(
        None, description="blocks that get additions, counted from the output; blank: the whole body"
    )

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the model with the trained additions merged into its weights."""
        import peft
        from torch import nn
        from transformers.pytorch_utils import Conv1D

        from harness_plugins.strategies._fused_lora import fused

        model = stage.model
        parts = [stage.body] if self.layers is None else stage.last_blocks(self.layers)
        inside = {id(module) for part in parts for module in part.modules()}
        targets = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, nn.Linear | Conv1D) and id(module) in inside
        }
        head = [name for name, _ in model.named_children() if name != model.base_model_prefix]
        config = peft.LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=list(targets),
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in targets.values()),
            modules_to_save=[name for name in head if any(True for _ in model.get_submodule(name).parameters())],
        )
        adapted = peft.get_peft_model(model, config)
        with fused(adapted):
            stage.fit(adapted)
        stage.ship(adapted)
        return cast("nn.Module", adapted.merge_and_unload())


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Offer the strategy."""
    return [LoRA]
