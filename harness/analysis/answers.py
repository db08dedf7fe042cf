"""How arms answered single test items: confusion between classes, and the items on which arms differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.analysis.comparison import Compared
from harness.store import Store

_MOST_RUNS = 300
"""Number of runs whose predictions are read at most: the first seeds of each arm."""


class Answers(NamedTuple):
    """The classes that the runs of an arm predicted for the test items of a stage's dataset."""

    ids: NDArray[Any]
    """`[n]`; equal for all seeds, unless seeds test on other items: then those of all seeds, one after another."""
    targets: NDArray[np.int64]
    """`[n]`"""
    predicted: NDArray[np.int64]
    """`[seeds, n]`; `[1, n]` if seeds test on other items."""
    seeds: int


def read_answers(part: Compared, store: Store, position: int) -> dict[str, Answers]:
    """Return, by arm, the predictions of a stage's dataset after the last stage; arms without any are left out.

    Args:
        part: The arms.
        store: Where the runs are.
        position: Number of the stage.
    """
    seeds = max(1, _MOST_RUNS // len(part.plan.arms))
    found = {}
    for label, finished in part.runs.items():
        made = []
        for one in finished[:seeds]:
            last = len(one.run.stages)
            if any(
                (cell.moment, cell.problem) == (last, position) and not cell.undefined
                for cell in one.outcome.evaluations
            ):
                made.append(store.predictions(one.run, last, position))
        if not made or any(one.outputs.ndim != 2 for one in made):
            continue
        picked = [np.argmax(one.outputs, axis=1) for one in made]
        if all(np.array_equal(one.ids, made[0].ids) for one in made):
            ids, targets, predicted = made[0].ids, made[0].targets, np.stack(picked)
        else:
            ids, targets = (np.concatenate([getattr(one, name) for one in made]) for name in ("ids", "targets"))
            predicted = np.concatenate(picked)[None]
        found[label] = Answers(ids, targets.astype(np.int64), predicted, len(made))
    return found


def confusion(answers: Answers, classes: int) -> NDArray[np.int64]:
    """Return the number of answers by correct and predicted class, `[classes, classes]`, over all seeds."""
    cells = answers.targets[None, :] * classes + answers.predicted
    return np.bincount(cells.ravel(), minlength=classes * classes).reshape(classes, classes)


def differing(answers: Mapping[str, Answers], most: int) -> list[int]:
    """Return the positions of the items on which arms differ most in their share of right answers, the most first.

    Args:
        answers: By arm, for the same items.
        most: Number of items at most.
    """
    if len(answers) < 2:
        return []
    shares = np.stack([right(one) for one in answers.values()])
    apart = shares.max(0) - shares.min(0)
    order = np.argsort(-apart, kind="stable")[:most]
    return [int(at) for at in order if apart[at] > 0]


def right(answers: Answers) -> NDArray[np.float64]:
    """Return the share of seeds that answered each item correctly, `[n]`."""
    return np.asarray((answers.predicted == answers.targets[None, :]).mean(0), dtype=np.float64)


def usual(answers: Answers) -> NDArray[np.int64]:
    """Return the class that most seeds predict for each item, `[n]`; the lowest number in a tie."""
    classes = int(answers.predicted.max()) + 1
    counts = np.stack([(answers.predicted == number).sum(0) for number in range(classes)])
    return np.asarray(counts.argmax(0), dtype=np.int64)


def same_items(answers: Mapping[str, Answers], labels: Sequence[str]) -> dict[str, Answers]:
    """Return the arms among `labels` that were tested on the items of the first of them."""
    known = [label for label in labels if label in answers]
    if not known:
        return {}
    first = answers[known[0]].ids
    return {label: answers[label] for label in known if np.array_equal(answers[label].ids, first)}
