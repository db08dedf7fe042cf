"""Train only the word embeddings (and the head): what a plugin outside the project looks like."""

import harness


class Embeddings(harness.Strategy):
    """Train the word embeddings and the head; every block stays as it was."""

    name = "embeddings"
    defaults = {"learning_rate": 1e-3}

    def tune(self, stage):
        stage.model.requires_grad_(False)
        stage.model.get_input_embeddings().requires_grad_(True)
        stage.head.requires_grad_(True)
        return stage.fit(stage.model)


@harness.hookimpl
def harness_strategies():
    return [Embeddings]
