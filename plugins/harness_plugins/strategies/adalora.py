"""LoRA with ranks allocated by importance."""

from typing import TYPE_CHECKING, Any

from pydantic import Field, PositiveInt

import harness

if TYPE_CHECKING:
    import torch
    from torch import nn

_FEWEST_STEPS = 2


class AdaLoRA(harness.Strategy):
    """Train low-rank adapters whose ranks are allocated to layers by importance during training.

    Adapters start at `start_rank` and are pruned to `rank` on average, between a tenth and half of the steps.
    Source: Zhang et al., 2023 (AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning,
    https://arxiv.org/abs/2303.10512; its orthogonality penalty, equation 4), by PEFT.
    """

    name = "adalora"
    imports = ("peft",)
    shardable = False
    # Same as LoRA's: the paper searches the same range for both.
    defaults = {"epochs": 10, "learning_rate": 5e-4}

    rank: PositiveInt = Field(8, description="average rank of the adapters at the end")
    start_rank: PositiveInt = Field(12, description="rank of every adapter at the start")
    alpha: float = Field(16.0, gt=0, description="scale of the adapters, divided by their initial rank")
    orthogonality: float = Field(0.5, ge=0, description="weight of the orthogonality penalty")

    def tune(self, stage: harness.Stage) -> "nn.Module":
        """Return the model with the trained adapters merged into its weights."""
        import peft
        import torch

        from harness.adapters import linear_layers, merged, trained_heads, transposed

        targets, steps = linear_layers(stage, [stage.body]), stage.steps()
        if steps < _FEWEST_STEPS:
            message = "strategy 'adalora': needs at least two optimizer steps to allocate ranks; train longer"
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
                    # Layers that the task does not use, such as a pooler, get no gradient, but PEFT needs one.
                    parameter.grad = torch.zeros_like(parameter)
            whole.update_and_allocate(step)

        stage.fit(adapted, penalty if self.orthogonality else None, allocate)
        if config.rank_pattern:
            # The last step changed pruned directions; mask them again in the final model.
            whole.rankallocator.mask_using_rank_pattern(whole.model, config.rank_pattern)
        return merged(stage, adapted)


def _distance(directions: "torch.Tensor") -> "torch.Tensor":
    """Return the distance of directions `[r, width]` from orthonormality, in Frobenius norm."""
    import torch

    products = directions @ directions.T
    distance: torch.Tensor = torch.linalg.norm(products - torch.eye(len(products), device=products.device))
    return distance


@harness.hookimpl
def harness_strategies() -> list[type[harness.Strategy]]:
    """Register the strategy."""
    return [AdaLoRA]
