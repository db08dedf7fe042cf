"""The comparability guard of a table: arms whose scores answer other questions get a table of their own.

Costs that were measured on different machines stay side by side, because what is counted can be compared still; they are
marked, and none of them is the best.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.experiment.plan import Arm, Plan
from harness.records import Cell, Row, Table
from harness.results.comparability import Difference, Effect, Finished, compare_outcomes, compare_settings, listed
from harness.results.writing import blank

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


def guard(table: Table, part: Part, parts: Sequence[Part]) -> Table:
    """Return the table of a part with what cannot be compared in it marked, and with why it stands apart."""
    table = _with_marked_costs(table, part)
    warnings = [
        f"the runs of {label} differ among themselves in {listed(found.field for found in differences)}: its mean is over unlike tests"
        for label, differences in part.mixed.items()
    ]
    table = table.model_copy(update={"about": (*warnings, *_unequal_budgets(part), *table.about)})
    if part is parts[0]:
        return table
    reasons = listed(f"{found.field} is {found.second}, there {found.first}" for found in part.apart)
    ids = [other.base[1].run.id for other in (parts[0], part) if other.base]
    more = f"; harness why {' '.join(ids)} tells everything in which they differ" if len(ids) == 2 else ""
    return table.model_copy(
        update={
            "title": f"{table.title}: {', '.join(arm.label for arm in part.arms)}",
            "question": f"Cannot be compared with the first table: {reasons}{more}.",
        }
    )


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


def _unequal_budgets(part: Part) -> Iterable[str]:
    """Yield a warning where arms that learn were not given the same passes over the data, or the same batches."""
    learning = sorted((arm for arm in part.arms if arm.role != "floor"), key=lambda arm: arm is not part.leader)
    told = [
        f"{arm.label} has {found.field} {blank(found.second)}, {learning[0].label} {blank(found.first)}"
        for arm in learning[1:]
        for found in _hindering(compare_settings(learning[0].runs[0], arm.runs[0]), "budget")
    ]
    if told:
        yield f"unequal budgets, so that what one arm scores more may be owed to its own: {'; '.join(told)}"


def _with_marked_costs(table: Table, part: Part) -> Table:
    """Return the table with a footnote on what was measured elsewhere than the base; then nothing measured is the best."""
    if part.base is None or not part.costs:
        return table
    measured = [column.group in _MEASURED and column.key not in COUNTED for column in table.columns]
    footnotes = list(table.footnotes)

    def marked(row: Row, cell: Cell) -> Cell:
        if cell.value is None or row.label not in part.costs:
            return cell.model_copy(update={"best": False})
        told = [footnotes[cell.note - 1]] if cell.note is not None else []
        text = "; ".join([*told, _measured_elsewhere(row.label, part)])
        if text not in footnotes:
            footnotes.append(text)
        return cell.model_copy(update={"best": False, "note": footnotes.index(text) + 1})

    rows = tuple(
        row.model_copy(
            update={
                "cells": tuple(
                    marked(row, cell) if here else cell for cell, here in zip(row.cells, measured, strict=True)
                )
            }
        )
        for row in table.rows
    )
    return table.model_copy(update={"rows": rows, "footnotes": tuple(footnotes)})


def _measured_elsewhere(label: str, part: Part) -> str:
    base = part.base[0] if part.base else ""
    there = "other runs of it" if base == label else base
    told = listed(f"{found.field} {found.second}, {there} with {found.first}" for found in part.costs[label])
    return f"{label} was measured with {told}: not to be compared"
