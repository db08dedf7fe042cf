"""The comparability guard: arms whose scores cannot be compared are put in separate parts.

Costs that were measured on different machines stay in one table, because counted costs can still be compared. The
measured ones get a footnote, and none is marked as best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.analysis.comparability import Difference, Effect, Finished, compare_outcomes, compare_settings, listed
from harness.experiment.plan import Arm, Plan
from harness.reports import Column

COUNTED = frozenset({"parameters_trained", "flops", "ship_bytes"})
"""Keys of the cost columns that do not depend on the machine; the others are measured on it."""
_MEASURED = ("cost", "inference")
"""Groups of the columns that are measured on a machine."""


@dataclass
class Part:
    """Arms whose scores can be compared."""

    leader: Arm
    """The reference, or the first arm."""
    arms: list[Arm] = field(default_factory=list)
    base: tuple[str, Finished] | None = None
    """The run with which the other runs' outcomes are compared, with its arm's label; None if no run has finished."""
    apart: list[Difference] = field(default_factory=list)
    """Why these arms cannot be compared with the first part; empty for the first."""
    costs: dict[str, list[Difference]] = field(default_factory=dict)
    """By label, why an arm's measured costs cannot be compared with the base."""
    mixed: dict[str, list[Difference]] = field(default_factory=dict)
    """By label, the differences that make an arm's own runs not comparable."""

    def measured_elsewhere(self, label: str, column: Column) -> str | None:
        """Return why an arm's value in a column cannot be compared with the base's; None if it can."""
        if self.base is None or label not in self.costs or not self.is_measured(column):
            return None
        base = self.base[0]
        there = "other runs of it" if base == label else base
        told = listed(f"{found.field} {found.second}, {there} with {found.first}" for found in self.costs[label])
        return f"{label} was measured with {told}: not comparable"

    def is_measured(self, column: Column) -> bool:
        """Return whether a column is measured on a machine and the arms ran on different kinds of machines."""
        return bool(self.costs) and column.group in _MEASURED and column.key not in COUNTED

    def unequal_budgets(self) -> list[tuple[str, str, Difference]]:
        """Return the arms that learn with other epochs or batches than the first one.

        Each as the first one's label, the other's label, and the difference.
        """
        learning = sorted((arm for arm in self.arms if arm.role != "baseline"), key=lambda arm: arm is not self.leader)
        return [
            (learning[0].label, arm.label, found)
            for arm in learning[1:]
            for found in _hindering(compare_settings(learning[0].runs[0], arm.runs[0]), "budget")
        ]

    def plan(self, plan: Plan) -> Plan:
        """Return a plan reduced to these arms."""
        labels = [arm.label for arm in self.arms]
        reference = plan.reference if plan.reference in labels else None
        return plan.model_copy(update={"arms": tuple(self.arms), "reference": reference})


def divide(plan: Plan, finished: Mapping[str, Sequence[Finished]]) -> list[Part]:
    """Return the parts of a plan within which scores can be compared; the part of the reference comes first.

    Args:
        plan: The plan of the comparison.
        finished: By an arm's label, its finished runs.
    """
    leader = next((arm for arm in plan.arms if arm.label == plan.reference), plan.arms[0])
    parts: list[Part] = []
    happened: dict[str, list[Difference]] = {}
    for arm in sorted(plan.arms, key=lambda arm: arm is not leader):
        runs = finished[arm.label]
        told = [_happened(part, runs) for part in parts]
        apart = [
            _hindering([*compare_settings(part.leader.runs[0], arm.runs[0]), *differences], "scores", "forgetting")
            for part, differences in zip(parts, told, strict=True)
        ]
        at = next((at for at, found in enumerate(apart) if not found), len(parts))
        if at == len(parts):
            parts.append(Part(arm, apart=apart[0] if apart else []))
            told.append([])
        part = parts[at]
        part.arms.append(arm)
        if part.base is None and runs:
            part.base = arm.label, runs[0]
            told[at] = _happened(part, runs)
        happened[arm.label] = told[at]
    for part in parts:
        part.arms.sort(key=plan.arms.index)
        for arm in part.arms:
            if found := _hindering(happened[arm.label], "costs"):
                part.costs[arm.label] = found
            # Other arms that differ like this are in separate parts, so this is the arm of the base.
            if found := _hindering(happened[arm.label], "scores", "forgetting"):
                part.mixed[arm.label] = found
    return parts


def _happened(part: Part, runs: Sequence[Finished]) -> list[Difference]:
    """Return the differences between the outcomes of the runs and that of the base."""
    found: list[Difference] = []
    if part.base is not None:
        for finished in runs:
            found += [new for new in compare_outcomes(part.base[1], finished) if new not in found]
    return found


def _hindering(differences: Sequence[Difference], *effects: Effect) -> list[Difference]:
    return [found for found in differences if set(effects) & set(found.hinders)]
