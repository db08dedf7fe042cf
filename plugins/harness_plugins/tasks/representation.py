"""How far a body's features have moved, on texts without labels."""

import numpy as np
from pydantic import Field

import harness


class Representation(harness.Task):
    """Watch any text by how alike its features are before and after tuning; no labels needed."""

    name = "representation"
    tunable = False
    headless = True
    watchable = True
    metrics = ("cka",)

    pooling: harness.Pooling = Field("mean", description="how a text's token features become one vector")

    def evaluate(self, view: harness.View, split: harness.Split = "test") -> harness.Predictions:
        """Return the features of a split as they are now, with those before tuning as targets, `[n, width]`."""
        now = np.asarray(view.features(split, self.pooling))
        before = now if view.before is None else view.before.outputs
        return harness.Predictions(now, before, view.ids(split))


@harness.hookimpl
def harness_tasks() -> list[type[harness.Task]]:
    """Offer the task."""
    return [Representation]
