"""The comparability guard: arms whose scores answer other questions are parts of their own.

Costs that were measured on different machines stay side by side, because what is counted can be compared still; they are
marked, and none of them is the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.analysis.comparability import Difference, Effect, Finished, compare_outcomes, compare_settings, listed
from harness.experiment.plan import Arm, Plan
from harness.records import Column

COUNTED = frozenset({"parameters_trained", "flops", "ship_bytes"})
"""Keys of the cost columns that are the same wherever a run happens; the others are measured there."""
_MEASURED = ("cost", "inference")
"""Groups of the columns that tell what a machine did."""


@dataclass
class Part:
    """Arms whose scores can be compared."""

    leader: Arm
    """The reference, or whichever comes first."""
    arms: list[Arm] = field(default_factory=list)
    base: tuple[str, Finished] | None = None
    """The run that what happened in the others is held against, with its arm's label; None where none has finished."""
    apart: list[Difference] = field(default_factory=list)
    """Why they stand apart from the first part; empty for the first."""
    costs: dict[str, list[Difference]] = field(default_factory=dict)
    """By label, why what was measured of an arm cannot be held against the base."""
    mixed: dict[str, list[Difference]] = field(default_factory=dict)
    """By label, in what an arm's own runs answer different questions."""

    def measured_elsewhere(self, label: str, column: Column) -> str | None:
        """Return why an arm's value in a column cannot be held against the base's; None if it can."""
        if self.base is None or label not in self.costs or not self.is_measured(column):
            return None
        base = self.base[0]
        there = "other runs of it" if base == label else base
        told = listed(f"{found.field} {found.second}, {there} with {found.first}" for found in self.costs[label])
        return f"{label} was measured with {told}: not to be compared"

    def is_measured(self, column: Column) -> bool:
        """Return whether a column tells what a machine did, where the arms were not all computed on the same kind."""
        return bool(self.costs) and column.group in _MEASURED and column.key not in COUNTED

    def unequal_budgets(self) -> list[tuple[str, str, Difference]]:
        """Return which arms that learn were not given the passes over the data, or the batches, that the first was.

        Each as the first one's label, the other's, and in what they differ.
        """
        learning = sorted((arm for arm in self.arms if arm.role != "baseline"), key=lambda arm: arm is not self.leader)
        return [
            (learning[0].label, arm.label, found)
            for arm in learning[1:]
            for found in _hindering(compare_settings(learning[0].runs[0], arm.runs[0]), "budget")
        ]

    def plan(self, plan: Plan) -> Plan:
        """Return what of a plan is about these arms."""
        labels = [arm.label for arm in self.arms]
        reference = plan.reference if plan.reference in labels else None
        return plan.model_copy(update={"arms": tuple(self.arms), "reference": reference})


def divide(plan: Plan, finished: Mapping[str, Sequence[Finished]]) -> list[Part]:
    """Return the parts of a plan within which scores can be compared; the reference's is the first.

    Args:
        plan: What was asked.
        finished: By an arm's label, its finished runs.
    """
    leader = next((arm for arm in plan.arms if arm.label == plan.reference), plan.arms[0])
    parts: list[Part] = []
    for arm in sorted(plan.arms, key=lambda arm: arm is not leader):
        runs = finished[arm.label]
        apart = [_hindering(_differences(part, arm, runs), "scores", "forgetting") for part in parts]
        part = next((part for part, found in zip(parts, apart, strict=True) if not found), None)
        if part is None:
            part = Part(arm, apart=apart[0] if apart else [])
            parts.append(part)
        part.arms.append(arm)
        if part.base is None and runs:
            part.base = arm.label, runs[0]
    for part in parts:
        part.arms.sort(key=plan.arms.index)
        for arm in part.arms:
            happened = _happened(part, finished[arm.label])
            if found := _hindering(happened, "costs"):
                part.costs[arm.label] = found
            # Arms that differ so from the base stand apart, so this is the one the base is of.
            if found := _hindering(happened, "scores", "forgetting"):
                part.mixed[arm.label] = found
    return parts


def _differences(part: Part, arm: Arm, runs: Sequence[Finished]) -> list[Difference]:
    return [*compare_settings(part.leader.runs[0], arm.runs[0]), *_happened(part, runs)]


def _happened(part: Part, runs: Sequence[Finished]) -> list[Difference]:
    """Return in what any of the runs differs from the base by where and on what it happened."""
    found: list[Difference] = []
    if part.base is not None:
        for finished in runs:
            found += [new for new in compare_outcomes(part.base[1], finished) if new not in found]
    return found


def _hindering(differences: Sequence[Difference], *effects: Effect) -> list[Difference]:
    return [found for found in differences if set(effects) & set(found.hinders)]
