"""BitFit: train only biases (Ben Zaken et al., 2022, https://arxiv.org/abs/2106.10199)."""

import harness


class BitFit(harness.Strategy):
    """Train the bias terms and the head; every weight matrix stays as it was."""

    name = "bitfit"
    defaults = {"learning_rate": 1e-3}

    def tune(self, stage):
        for name, parameter in stage.model.named_parameters():
            parameter.requires_grad = name.endswith("bias")
        stage.head.requires_grad_(True)
        return stage.fit(stage.model)


@harness.hookimpl
def harness_strategies():
    return [BitFit]
