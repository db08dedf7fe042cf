"""Classes with an order, such as stars, each told by one number: what a task from outside the project looks like."""

import harness


class Ordinal(harness.Task):
    """Say which of several ordered classes a text belongs to, by a score and a threshold between each two classes.

    Source: McCullagh, 1980 (Regression Models for Ordinal Data, section 2, proportional odds); thresholds are fixed.
    """

    name = "ordinal"
    metrics = ("accuracy", "class-distance")
    answers = "number"

    def build(self, load, facts):
        del facts
        return load("AutoModelForSequenceClassification", num_labels=1)

    def check(self, facts, columns):
        return None if facts.classes and "label" in columns else "needs classes in their order"

    def loss(self, model, batch):
        from torch.nn.functional import cross_entropy

        return cross_entropy(self.predict(model, batch), batch["labels"], reduction="sum")

    def predict(self, model, batch):
        import torch

        inputs = {name: tensor for name, tensor in batch.items() if name != "labels"}
        # Class k is as likely as the score is near to k.
        score = model(**inputs).logits.float()
        return -(score - torch.arange(self.most, device=score.device)).square()

    most: int = 5


class ClassDistance(harness.Metric):
    """How many classes an answer is off, on average."""

    name = "class-distance"
    title = "off by"
    unit = "classes"
    better = "lower"

    def score(self, outputs, targets):
        if not len(targets):
            raise harness.UndefinedError("there are no items")
        return float(abs(outputs.argmax(1) - targets).mean())


@harness.hookimpl
def harness_tasks():
    return [Ordinal]


@harness.hookimpl
def harness_metrics():
    return [ClassDistance]
