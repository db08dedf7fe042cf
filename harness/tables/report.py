"""Build the parts of a report beyond its table: datasets, curves, and answers by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from harness.analysis.answers import Answers, confusion, differing, read_answers, right, same_items, usual
from harness.analysis.comparison import Analysis, Compared
from harness.analysis.curve import read_curve
from harness.analysis.names import called
from harness.catalog import Catalog
from harness.contracts import Metric, Task
from harness.experiment.plan import Arm
from harness.records import TaskData
from harness.reports import AnswerReport, ArmReport, ClassReport, CurveReport, DatasetReport
from harness.store import Store
from harness.tables.writing import blank, setting

_MOST_CURVES = 300
"""Number of runs whose curves are read at most: the first seeds of each arm."""
_MOST_ITEMS = 30
_MOST_CLASSES = 200
_LONGEST = 600
"""Characters of a text that are shown."""


class Texts(NamedTuple):
    """What is known about a dataset's rows."""

    classes: tuple[str, ...]
    texts: Mapping[int, str]
    """By item id; empty if texts are not to be shown."""


def arm_reports(analysis: Analysis) -> list[ArmReport]:
    """Return what is known about each arm of a comparison, but for the recommendation."""
    return [
        ArmReport(
            label=arm.label,
            role="reference"
            if arm.label == analysis.plan.reference
            else "baseline"
            if arm.role == "baseline"
            else "contender",
            settings=_settings(arm),
            failures=_failures(part, arm),
        )
        for part in analysis.parts
        for arm in part.plan.arms
    ]


def dataset_reports(part: Compared) -> list[DatasetReport]:
    """Return the datasets of finished runs; none if no run has finished."""
    finished = part.everything
    if not finished:
        return []
    run = part.plan.arms[0].runs[0]
    return [
        DatasetReport(
            name=called(problem.dataset),
            use="watched" if problem in run.watch else "tuned on",
            task=problem.task.name,
            note=max((item.outcome.data[position] for item in finished), key=lambda note: len(note.splits)),
        )
        for position, problem in enumerate(run.task_data)
    ]


def curve_reports(part: Compared, store: Store, catalog: Catalog) -> tuple[str, list[CurveReport]]:
    """Return what the curves show, and the curves of arms that are validated by it."""
    stages = part.plan.arms[0].runs[0].stages
    default = catalog.restore(Task, stages[-1].task).metrics[0]
    by = {arm.label: arm.runs[0].train.select_by or default for arm in part.plan.arms if arm.role != "baseline"}
    shown = by.get(part.plan.reference or "", next(iter(by.values()), default))
    metric = catalog.find(Metric, shown)
    sign = 1.0 if metric.better == "higher" else -1.0
    seeds = max(1, _MOST_CURVES // len(part.plan.arms))
    found = []
    for label in (label for label, name in by.items() if name == shown):
        for one in part.runs[label][:seeds]:
            if points := read_curve(store, one.run):
                seconds, scores = zip(*((point.seconds, sign * point.score) for point in points), strict=True)
                found.append(CurveReport(arm=label, seed=one.run.seed, seconds=seconds, scores=scores))
    on = f" on {called(stages[-1].dataset)}" if len(stages) > 1 else ""
    return f"validation {metric.title}{on}", found


def class_reports(
    part: Compared, store: Store, catalog: Catalog, texts: Callable[[TaskData], Texts | None]
) -> list[ClassReport]:
    """Return how the arms answered the test items of each stage that has classes.

    Args:
        part: The arms.
        store: Where the runs are.
        catalog: Where the tasks come from.
        texts: Returns the classes and texts of a dataset; None if they are not known.
    """
    found = []
    for position, problem in enumerate(part.plan.arms[0].runs[0].stages):
        if catalog.restore(Task, problem.task).answers != "class":
            continue
        answers = read_answers(part, store, position)
        if not answers:
            continue
        known = texts(problem)
        count = 1 + max(int(max(one.targets.max(), one.predicted.max())) for one in answers.values())
        classes = known.classes if known and len(known.classes) >= count else tuple(f"class {n}" for n in range(count))
        if len(classes) > _MOST_CLASSES:
            continue
        found.append(
            ClassReport(
                dataset=called(problem.dataset),
                classes=classes,
                seeds={label: one.seeds for label, one in answers.items()},
                confusion={
                    label: tuple(tuple(int(cell) for cell in row) for row in confusion(one, len(classes)))
                    for label, one in answers.items()
                },
                differing=tuple(_differing(part, answers, classes, known)),
            )
        )
    return found


def _differing(
    part: Compared, answers: Mapping[str, Answers], classes: Sequence[str], known: Texts | None
) -> Sequence[AnswerReport]:
    """Return the items on which the arms that learn differ most."""
    compared = same_items(answers, [arm.label for arm in part.plan.arms if arm.role != "baseline"])
    positions = differing(compared, _MOST_ITEMS)
    picked = {label: usual(one) for label, one in compared.items()}
    shares = {label: right(one) for label, one in compared.items()}
    first = next(iter(compared.values()), None)
    texts = known.texts if known else {}
    return [
        AnswerReport(
            text=None if (text := texts.get(int(first.ids[at]))) is None else text[:_LONGEST],
            target=classes[first.targets[at]],
            answers={label: classes[picked[label][at]] for label in compared},
            right={label: round(float(shares[label][at]), 4) for label in compared},
        )
        for at in positions
        if first is not None
    ]


def _settings(arm: Arm) -> dict[str, str]:
    run = arm.runs[0]
    shown = {"strategy": run.strategy.name}
    shown |= {key: blank(value) for key, value in run.strategy.params.items() if value is not None}
    if arm.role != "baseline" and run.train.learning_rate is not None:
        shown["learning_rate"] = setting(run.train.learning_rate)
    return shown


def _failures(part: Compared, arm: Arm) -> tuple[str, ...]:
    """Return the reasons why an arm has fewer results than seeds."""
    if len(part.runs[arm.label]) == len(arm.runs):
        return ()
    told = (reason for measured in part.measured for reason in measured.figures[arm.label].reasons)
    return tuple(dict.fromkeys(reason for reason in told if reason.startswith(f"{arm.label}:")))
