"""Recommend an arm of a comparison, given limits on its score, forgetting and cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from harness import quantities as q
from harness.analysis.comparison import Analysis, Compared
from harness.catalog import Catalog
from harness.contracts import Metric
from harness.decide.advice import Recommendation, advise
from harness.decide.choice import CONFIDENCE, SCORE
from harness.decide.criteria import (
    FORGETTING,
    Bound,
    Source,
    candidate,
    is_sampled,
    limit_on,
    read_bounds,
    resamples,
    sources,
)
from harness.errors import HarnessError, unknown

PREFERENCES = ("cost", "score", "forgetting", "time", "memory", "size")
"""The criteria that can decide among the eligible arms."""


class Wanted(NamedTuple):
    """The constraints on an arm, as a user types them; None where there is none."""

    min_score: str | None = None
    """`0.85`, or `0.98x` for a multiple of the reference's score."""
    max_forgetting: tuple[str, ...] = ()
    """Each is `0.02` for all datasets, or `DATASET=0.02`."""
    max_memory: str | None = None
    max_time: str | None = None
    max_size: str | None = None
    max_cost: str | None = None
    """Needs a price."""
    prefer: str = "cost"
    """The criterion that decides among the eligible arms; without a price, `cost` means time."""
    confidence: float = CONFIDENCE
    """Probability with which all constraints must be met."""
    baseline: str | None = None
    """Score without learning, if no baseline was run."""

    def check(self, price: float | None) -> list[Bound]:
        """Return the limits; called before anything is analysed.

        Args:
            price: Price of the device per hour; None if it is not known.

        Raises:
            HarnessError: A limit, the preference or the baseline cannot be read, or a price is missing.
        """
        bounds = read_bounds(
            min_score=self.min_score, max_forgetting=self.max_forgetting, max_memory=self.max_memory,
            max_time=self.max_time, max_size=self.max_size, max_cost=self.max_cost,
        )  # fmt: skip
        if self.max_cost is not None and price is None:
            message = f"--max-cost {self.max_cost} needs a price: add --price 2.50/h"
            raise HarnessError(message)
        if self.prefer not in PREFERENCES:
            raise unknown("preference", self.prefer, PREFERENCES)
        self.least()
        return bounds

    def least(self) -> float | None:
        """Return the given score without learning, as a number."""
        return None if self.baseline is None else q.parse_number(self.baseline, "--baseline")


class Decision(NamedTuple):
    """A recommendation and the data it is based on."""

    recommendation: Recommendation
    sources: tuple[Source, ...]
    compared: Compared


def recommend(analysis: Analysis, wanted: Wanted, catalog: Catalog) -> Decision:
    """Return the recommended arm.

    Args:
        analysis: The numbers of the comparison.
        wanted: The constraints on an arm.
        catalog: Where the metrics come from; a metric may define its chance level.

    Raises:
        HarnessError: A constraint cannot be parsed or was not measured, or no run has finished.
    """
    bounds, least = wanted.check(analysis.price), wanted.least()
    compared = analysis.parts[0]
    plan = compared.plan
    if not compared.everything:
        message = f"no run of {plan.name!r} has finished: run harness compare with the same arguments first"
        raise HarnessError(message)
    decides = "time" if wanted.prefer == "cost" and analysis.price is None else wanted.prefer
    found = sources(plan, [one.measure.column for one in compared.measured], bounds, decides)
    advice = advise(
        [candidate(arm, compared, found) for arm in plan.arms],
        [source.criterion for source in found],
        [limit_on(bound, found) for bound in bounds],
        reference=plan.reference,
        prefer=decides,
        confidence=wanted.confidence,
        baseline=catalog.find(Metric, plan.stage_metrics[0][0]).chance if least is None else least,
        margin=plan.margin,
    )
    notes = (*advice.notes, *_notes(analysis, compared, _fixed(found, compared)))
    return Decision(advice.model_copy(update={"notes": notes}), tuple(found), compared)


def _fixed(found: Sequence[Source], compared: Compared) -> list[str]:
    """Return the titles of the scores and forgetting whose uncertainty is not known."""
    sampled = {one.measure.column.key for one in compared.measured if is_sampled(one)}
    return [
        source.criterion.title
        for source in found
        if source.criterion.key == SCORE or source.criterion.key.startswith(f"{FORGETTING}.")
        if not sampled.issuperset(source.columns)
    ]


def _notes(analysis: Analysis, compared: Compared, fixed: Sequence[str]) -> Iterable[str]:
    """Yield notes on how the numbers were computed."""
    seeds, size = len(compared.plan.arms[0].runs), resamples(compared)
    costs = f"{', '.join([*fixed, 'costs'])} are used as measured"
    if seeds == 1:
        yield f"1 seed: no probability; another seed may change the choice; {costs}"
    else:
        yield (
            f"probabilities are over {seeds} seeds and over test items, with the tails of the table's intervals "
            f"({size:,} draws); {costs}"
        )
    for arm in compared.plan.arms:
        done = len(compared.runs[arm.label])
        if done < len(arm.runs):
            yield f"{arm.label}: {done} of {len(arm.runs)} seeds have finished; run harness compare to compute the rest"
    for label, told in compared.early.items():
        yield f"{label}: {told}"
    if compared.unsettled:
        yield compared.unsettled
    if left_out := [arm.label for other in analysis.parts[1:] for arm in other.plan.arms]:
        yield f"left out because they cannot be compared with the others (see harness why): {', '.join(left_out)}"
