"""How much the body's features change, on unlabelled texts."""

import numpy as np
from pydantic import Field

import harness


class Representation(harness.Task):
    """Watch unlabelled text by the similarity of its features before and after tuning."""

    name = "representation"
    tunable = False
    headless = True
    watchable = True
    metrics = ("cka",)

    pooling: harness.Pooling = Field("mean", description="pooling of a text's token features into one vector")

    def evaluate(self, view: harness.View, split: harness.Split = "test") -> harness.Predictions:
        """Return the current features of a split, with the features before tuning as targets, `[n, width]`."""
        now = np.asarray(view.features(split, self.pooling))
        before = now if view.before is None else view.before.outputs
        return harness.Predictions(now, before, view.ids(split))


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Register the task."""
    return [Representation]
