"""What reporters get: the table of a comparison, and what a report is made of beyond its table."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, model_validator

from harness.records import DataNote, Record

Quantity = Literal[
    "score", "difference", "parameters", "operations", "bytes", "seconds", "energy", "money", "latency", "throughput"
]
"""Kind of number in a column: `energy` in joules, `latency` in milliseconds, `throughput` in items per second."""


UNITS: dict[Quantity, str] = {
    "operations": "FLOP",
    "bytes": "B",
    "seconds": "s",
    "energy": "J",
    "latency": "ms",
    "throughput": "items/s",
}
"""The unit of each quantity's numbers, if it has one; that of a score or difference is the column's own."""


def visible(text: str) -> str:
    """Return a text on one line, with control characters, which terminals act upon, as symbols."""
    return "".join(
        " "
        if sign in "\n\r\t"
        else chr(0x2400 + ord(sign))
        if ord(sign) < 32
        else "\N{SYMBOL FOR DELETE}"
        if sign == "\x7f"
        else sign
        for sign in text
    )


Text = Annotated[str, AfterValidator(visible)]
"""A text that is shown: one line without control characters."""


class Column(Record):
    """A column of a table."""

    key: str
    group: Text
    title: Text
    unit: Text = ""
    """Unit of a score or a difference of scores; for other quantities, see `quantity`."""
    quantity: Quantity = "score"
    better: Literal["higher", "lower"] | None = None
    """Which direction is better; None if neither is."""
    main: bool = False
    """Whether it carries the decision: first scores, forgetting, and the costs that people ask for first."""


Role = Annotated[
    Literal["baseline", "reference", "contender"], BeforeValidator(lambda role: "baseline" if role == "floor" else role)
]
"""Role of an arm in a comparison; `floor` is the former name of `baseline`."""


class Cell(Record):
    """One value of a table, as a number and as text."""

    text: str
    """The value and its interval with the default digits; empty if there is no value."""
    detail: str = ""
    """The details shown next to it, as text."""
    value: float | None = None
    """None if the value is undefined; never a placeholder number."""
    beside: dict[str, float] = {}
    """Details shown next to it: `share`, `before` and `after`, `warm`, `reserved`, `watt_hours`, `p95`, `apart`."""
    low: float | None = None
    """Lower end of the 95 % interval; None if there is no interval."""
    high: float | None = None
    half_width: float | None = None
    """Half of the width of the interval, which need not be symmetric."""
    best: bool = False
    """For scores and forgetting: whether it could be the best; otherwise whether it is lowest or highest."""
    verdict: str | None = None
    """Compared with the reference: better, worse, no difference shown, equivalent; or why there is no verdict."""
    difference: float | None = None
    """Difference from the reference."""
    difference_half_width: float | None = None
    p: float | None = None
    """p-value of the difference, adjusted for all comparisons in the table."""
    dimmed: bool = False
    """Whether the difference is below the noise between runs that should be equal."""
    note: int | None = None
    """Number of the footnote that explains why it is blank or special."""

    @model_validator(mode="before")
    @classmethod
    def _without_rank(cls, given: Any) -> Any:
        """Read tables that were saved when cells had a rank."""
        return {name: value for name, value in given.items() if name != "rank"} if isinstance(given, dict) else given

    @property
    def in_words(self) -> str:
        """The verdict as text, such as `worse by 0.013 ± 0.007`; empty if there is none."""
        if self.verdict not in {"better", "worse"} or self.difference is None:
            return self.verdict or ""
        about = "" if self.difference_half_width is None else f" ± {self.difference_half_width:.3f}"
        return f"{self.verdict} by {abs(self.difference):.3f}{about}"


class Row(Record):
    """One arm."""

    label: Text
    role: Role
    cells: tuple[Cell, ...]
    """One for each column, in order."""
    runs: tuple[str, ...]
    """Ids of its finished runs."""


class Table(Record):
    """The table of a comparison."""

    title: Text
    question: Text
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[Text, ...]
    about: tuple[Text, ...]
    """Notes that a reader needs to trust or reproduce it, one line each: model, data, device, versions."""
    answer: tuple[Text, ...] = ()
    """The recommendation without constraints, in sentences; empty if there is none."""
    essentials: tuple[Text, ...] = ()
    """What must be known beside the numbers, in few lines; empty if all notes are to be shown instead."""
    brief: bool = False
    """Whether columns that do not fit can be left out, from the last."""
    hidden: tuple[str, ...] = ()
    """Titles of columns that were left out."""
    others: tuple[Table, ...] = ()
    """Tables of arms that cannot be compared with these, one per group."""


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
