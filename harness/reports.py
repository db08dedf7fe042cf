"""What a report of a comparison is made of, beyond its table: for reporters that show more than one table."""

from __future__ import annotations

from harness.records import DataNote, Record, Role, Table


class ArmReport(Record):
    """What is known about an arm beside its cells in the table."""

    label: str
    role: Role
    learned: bool | None = None
    """Whether it is better than the baseline; None if nothing is known about its score."""
    front: float | None = None
    """Probability of lying on the Pareto front of score, forgetting and cost; None if it is left out of it."""
    chosen: bool = False
    """Whether it is recommended without constraints."""
    why: str = ""
    """Why it is recommended or not, as a clause."""
    settings: dict[str, str] = {}
    """Its settings, as text."""
    failures: tuple[str, ...] = ()
    """Seeds that have no result, with the reason."""


class CurveReport(Record):
    """The validation scores of a run's last stage."""

    arm: str
    seed: int
    seconds: tuple[float, ...]
    """Tuning time at each point, in seconds."""
    scores: tuple[float, ...]


class AnswerReport(Record):
    """How the arms answered one test item."""

    text: str | None
    """The text; None if it is not shown or not known."""
    target: str
    answers: dict[str, str]
    """By arm, the class predicted by most seeds."""
    right: dict[str, float]
    """By arm, the share of seeds that were right."""


class ClassReport(Record):
    """How the arms answered the test items of a dataset with classes, over all seeds."""

    dataset: str
    classes: tuple[str, ...]
    seeds: dict[str, int]
    """By arm, the number of seeds that are counted."""
    confusion: dict[str, tuple[tuple[int, ...], ...]]
    """By arm, the number of answers by correct class (rows) and predicted class (columns)."""
    differing: tuple[AnswerReport, ...] = ()
    """The items on which arms differ most."""


class DatasetReport(Record):
    """A dataset as it was used."""

    name: str
    use: str
    """`tuned on` or `watched`."""
    task: str
    note: DataNote


class Report(Record):
    """A comparison as a whole."""

    table: Table
    matrix: Table | None = None
    """The score of every dataset after every stage, if there are several stages."""
    reasons: tuple[str, ...] = ()
    """The recommendation without constraints, in sentences."""
    changes: tuple[str, ...] = ()
    """What would change it, in sentences."""
    front: tuple[str, ...] = ()
    """The criteria of the Pareto front, in words."""
    arms: tuple[ArmReport, ...] = ()
    datasets: tuple[DatasetReport, ...] = ()
    curves: tuple[CurveReport, ...] = ()
    curve_title: str = ""
    """What the curves show, such as `validation accuracy`."""
    classes: tuple[ClassReport, ...] = ()
    experiment: str = ""
    """The experiment as a file (JSON) that repeats it."""
    command: str = ""
    """The command that repeats it with that file."""
