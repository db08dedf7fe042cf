"""Learning curves of stored runs: the validation score as a function of the cost of tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from harness.experiment.plan import Plan
from harness.records import Run
from harness.store import Store


class Point(NamedTuple):
    """A point in tuning at which validation was scored."""

    seconds: float
    """Of tuning, over all stages so far, as if features were not cached."""
    flops: float
    score: float
    """On validation, higher is better."""


Curve = Sequence[Point]


class Reached(NamedTuple):
    """The cost of tuning until a score was reached."""

    seconds: float
    """Mean over the seeds; a seed that has not reached it counts with its total, so the true mean is higher."""
    flops: float
    seeds: int
    """How many seeds have reached it."""
    of: int

    @property
    def censored(self) -> bool:
        """Return whether any seed has not reached it."""
        return self.seeds < self.of


def read_curve(store: Store, run: Run) -> Curve:
    """Return a finished run's curve of its last stage; empty if it has none or was stored before curves had costs."""
    last = len(run.stages) - 1
    return [
        Point(event["seconds"], event["flops"], event["validation"])
        for event in store.log(run)
        if event.get("validation") is not None and "seconds" in event and event.get("stage") == last
    ]


def read_curves(plan: Plan, store: Store) -> dict[str, list[Curve]]:
    """Return the curves of every arm's finished runs, one per seed; arms without a curve are left out."""
    found = {
        arm.label: [curve for run in arm.runs if store.sound(run) and (curve := read_curve(store, run))]
        for arm in plan.arms
    }
    return {label: curves for label, curves in found.items() if curves}


def target(curves: Sequence[Curve], share: float) -> float:
    """Return the target score: a share of the mean over seeds of an arm's best score.

    A score where lower is better is stored negated: its target is the value divided by the share.
    """
    best = float(np.mean([max(point.score for point in curve) for curve in curves]))
    return best * share if best >= 0 else best / share


def reach(curves: Sequence[Curve], score: float) -> Reached:
    """Return the cost of an arm's first point at or above a score; points are not interpolated."""
    firsts = [next((point for point in curve if point.score >= score), None) for curve in curves]
    counted = [first or curve[-1] for curve, first in zip(curves, firsts, strict=True)]
    return Reached(
        seconds=float(np.mean([point.seconds for point in counted])),
        flops=float(np.mean([point.flops for point in counted])),
        seeds=sum(first is not None for first in firsts),
        of=len(curves),
    )


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Return the mean of the seeds' curves, point by point, up to the shortest."""
    return [Point(*(float(value) for value in np.mean(points, axis=0))) for points in zip(*curves, strict=False)]


def bests(curves: Mapping[str, Sequence[Curve]]) -> dict[str, float]:
    """Return the mean over seeds of each arm's best score."""
    return {
        label: float(np.mean([max(point.score for point in curve) for curve in some])) for label, some in curves.items()
    }
