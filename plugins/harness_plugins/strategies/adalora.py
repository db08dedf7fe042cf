"""LoRA whose ranks go where they matter."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

import harness

if TYPE_CHECKING:
    import torch
    from torch import nn

_FEWEST_STEPS = 2


class AdaLoRA(harness.Strategy):
    """Train low-rank additions whose ranks are shared out between layers by importance while training.

    Additions begin at `start_rank` and are pruned, between a tenth and half of the steps, to `rank` on average.
    Source: Zhang et al., 2023 (AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning,
    https://arxiv.org/abs/2303.10512; its orthogonality penalty, equation 4), by PEFT.
    """

    name = "adalora"
    imports = ("peft",)
    # As LoRA's: its paper searches the same range for both.
    defaults = {"learning_rate": 5e-4}

    rank: PositiveInt = Field(8, description="rank of the additions on average, at the end")
    start_rank: PositiveInt = Field(12, description="rank of every addition at first")
    alpha: float = Field(16.0, gt=0, description="scale of the additions, divided by their rank at first")
    orthogonality: float = Field(0.5, ge=0, description="weight of the penalty that keeps directions apart")

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the model with the trained additions merged into its weights."""
        import peft
        import torch

        from harness.adapters import linear_layers, merged, trained_heads, transposed

        targets, steps = linear_layers(stage, [stage.body]), stage.steps()
        if steps < _FEWEST_STEPS:
            message = "strategy 'adalora': one optimizer step leaves no time to share out ranks: train longer"
            raise harness.HarnessError(message)
        config = peft.AdaLoraConfig(
            init_r=self.start_rank,
            target_r=self.rank,
            lora_alpha=self.alpha,
            tinit=steps // 10,
            tfinal=steps - steps // 2,
            deltaT=max(1, steps // 50),
            total_step=steps,
            target_modules=list(targets),
            fan_in_fan_out=transposed(targets),
            modules_to_save=trained_heads(stage),
        )
        adapted = peft.get_peft_model(stage.model, config)
        whole: Any = adapted.base_model
        additions = {name: parameter for name, parameter in adapted.named_parameters() if ".lora_" in name}

        def penalty() -> "torch.Tensor":
            down = [_distance(weight) for name, weight in additions.items() if ".lora_A." in name]
            up = [_distance(weight.T) for name, weight in additions.items() if ".lora_B." in name]
            return self.orthogonality * torch.stack(down + up).mean()

        def allocate(step: int) -> None:
            for parameter in additions.values():
                if parameter.requires_grad and parameter.grad is None:
                    # Of a layer that the task has no use for, such as a pooler; PEFT wants a gradient of each.
                    parameter.grad = torch.zeros_like(parameter)
            whole.update_and_allocate(step)

        stage.fit(adapted, penalty if self.orthogonality else None, allocate)
        if config.rank_pattern:
            # The last step moved what had been pruned before it; what is delivered leaves it out.
            whole.rankallocator.mask_using_rank_pattern(whole.model, config.rank_pattern)
        return merged(stage, adapted)


def _distance(directions: "torch.Tensor") -> "torch.Tensor":
    """Return how far directions `[r, width]` are from orthonormal, in Frobenius norm."""
    import torch

    products = directions @ directions.T
    distance: torch.Tensor = torch.linalg.norm(products - torch.eye(len(products), device=products.device))
    return distance


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Offer the strategy."""
    return [AdaLoRA]
