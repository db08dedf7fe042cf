"""Frozen values that pass between the stages of an experiment and onto disk.

    Run (what is asked) ──► Outcome or Failure (what happened) ──► scores, a table

A run's id is the hash of everything in it that can change its numbers, and of nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


TUNING = ("tune", "features")
"""The phases that are tuning itself: neither validation nor tests nor watching."""
ENGINE = 1
"""Version of what computes a run; raised when it computes other numbers from the same settings."""


ADDED: dict[str, JsonValue] = {"added": True}
"""Marks a setting that came later: where it has its default, a run's id leaves it out, so that stored runs keep theirs."""


def unsaid(settings: BaseModel) -> set[str]:
    """Return the settings that came later and have their default."""
    fields = type(settings).model_fields.items()
    return {
        name for name, info in fields if info.json_schema_extra == ADDED and getattr(settings, name) == info.default
    }


class Record(BaseModel):
    """A frozen value that knows all its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ComponentRef(Record):
    """A component as a run names it: enough to make it again, and to tell it from another."""

    name: str
    version: int
    params: dict[str, JsonValue] = {}
    location: dict[str, JsonValue] = {}
    """Parameters that only say where to find it (a path): kept, but not part of a run's id."""
    fingerprint: str | None = None
    """Hash of the weights or the data behind it; None where there are none."""


class TaskData(Record):
    """A dataset and the task that is made of it."""

    dataset: ComponentRef
    task: ComponentRef


FIRST_SPELLING: dict[str, str] = {"gradient_accumulation_steps": "accumulation", "warmup_ratio": "warmup"}
"""How training settings were spelled at first: read still, and what a run's id is made of, so that stored runs keep theirs."""


class TrainConfig(Record):
    """How the one training loop runs; every strategy that trains shares it."""

    learning_rate: float | None = Field(None, gt=0, description="peak learning rate; blank: the strategy's own")
    epochs: PositiveInt = Field(3, description="passes over the training split")
    batch_size: PositiveInt = Field(16, description="examples per optimizer step, over all processes")
    gradient_accumulation_steps: PositiveInt = Field(
        1, description="micro-batches a batch is cut into; more where memory runs out; the result does not change"
    )
    batch_tokens: PositiveInt | None = Field(
        None, description="tokens per optimizer step, padding included, in place of batch_size; blank: count examples"
    )
    eval_batch_tokens: PositiveInt = Field(2048, description="tokens per forward pass where nothing is trained")
    max_length: PositiveInt = Field(128, description="tokens a text may have; a longer one is cut and counted")
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="learning rate after warm-up")
    warmup_ratio: float = Field(0.1, ge=0, le=1, description="share of the optimizer steps that warm up")
    weight_decay: NonNegativeFloat = Field(0.01, description="AdamW's decay of weight matrices")
    max_grad_norm: float = Field(1.0, gt=0, description="norm the gradient is clipped to")
    attention_dropout: float | None = Field(
        0.0, ge=0, lt=1, description="0 keeps the fast attention kernel on a CPU; blank: the model's own"
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="arithmetic of the forward pass")
    patience: PositiveInt | None = Field(
        None, description="epochs without a better validation score before stopping; blank: never stop early"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations to save memory")
    compile: bool = Field(False, description="torch.compile the model")
    class_weights: Literal["balanced"] | None = Field(
        None,
        json_schema_extra=ADDED,
        description="balanced: every class counts alike, whatever its share; blank: every text does",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, json_schema_extra=ADDED, description="share of the target that is spread over all classes"
    )
    select_by: str | None = Field(
        None,
        json_schema_extra=ADDED,
        description="metric that settings, heads and early stopping are chosen by, on validation; blank: the first that is shown",
    )
    head_learning_rate: float | None = Field(
        None, gt=0, json_schema_extra=ADDED, description="peak learning rate of the new head; blank: that of the rest"
    )
    fast: bool = Field(
        default=True,
        json_schema_extra=ADDED,
        description="compute the same in less time, where a self-check agrees with the plain way; on a CPU",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_first_spelling(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        new = {first: name for name, first in FIRST_SPELLING.items()}
        return {new.get(key, key): value for key, value in given.items()}


class Run(Record):
    """Model x stages x strategy x seed, every default resolved: what is asked of the engine."""

    model: ComponentRef
    stages: tuple[TaskData, ...] = Field(min_length=1)
    watch: tuple[TaskData, ...] = ()
    strategy: ComponentRef
    train: TrainConfig
    seed: NonNegativeInt
    engine: PositiveInt = ENGINE
    repeat: NonNegativeInt = 0
    """Which of several runs of the same seed, made to see how much a run differs from itself."""
    trial: bool = False
    """Whether it serves to choose settings: scored on validation alone, never on test."""
    all_data: bool = False
    """Whether it is tuned on all splits, to be delivered: its scores are of texts it has seen, and stand in no table."""

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that change with anything that can change the numbers."""
        # Made anew each time: a cached id would survive `model_copy(update={"seed": ...})`. What seeds share is read once.
        parts = [[_key(part) for part in problems] for problems in (self.stages, self.watch)]
        # What an ordinary run has not is left out.
        special = [{"repeat": self.repeat}] * (self.repeat > 0) + [{"trial": True}] * self.trial
        special += [{"all_data": True}] * self.all_data
        return digest(
            [_key(self.model), *parts, _key(self.strategy), _key(self.train), self.seed, self.engine, *special]
        )[:12]

    @property
    def task_data(self) -> tuple[TaskData, ...]:
        """Everything that is scored: the stages, then what is watched. Axis D of the score matrix."""
        return self.stages + self.watch


class Phase(Record):
    """What one phase of a run cost, summed over processes except for wall time and peaks."""

    wall_seconds: NonNegativeFloat = 0.0
    """Of the first process, so that a run's phases sum to its wall time."""
    device_seconds: NonNegativeFloat | None = None
    """Wall time summed over the processes, each of which holds a device; None in what was stored before it was kept."""
    cpu_seconds: NonNegativeFloat = 0.0
    peak_memory_bytes: NonNegativeInt | None = None
    """Peak resident memory of the process (the largest process, if several); None where the system does not tell."""
    peak_device_bytes: NonNegativeInt | None = None
    """Peak memory allocated on the accelerator; None without one."""
    peak_reserved_bytes: NonNegativeInt | None = None
    """Peak memory that the library held of the accelerator, used or not; None without one."""
    flops: NonNegativeInt = 0
    energy_joules: NonNegativeFloat | None = None
    """None where it is not told; see `Outcome.energy`."""


class Shared(Record):
    """The cost of something an earlier run computed and this one used."""

    seconds: NonNegativeFloat = 0.0
    flops: NonNegativeInt = 0
    energy_joules: NonNegativeFloat | None = None
    """None where it was not told, or there is nothing."""
    peak_memory_bytes: NonNegativeInt | None = None
    """As of a phase; None where it was not told, or was stored before it was kept."""
    peak_device_bytes: NonNegativeInt | None = None
    peak_reserved_bytes: NonNegativeInt | None = None

    def __add__(self, other: Shared) -> Shared:
        """Return the cost of both, one after the other."""
        energies = [part.energy_joules for part in (self, other) if part.seconds]
        known = [energy for energy in energies if energy is not None]
        return Shared(
            seconds=self.seconds + other.seconds,
            flops=self.flops + other.flops,
            energy_joules=sum(known) if known and len(known) == len(energies) else None,
            peak_memory_bytes=largest((self.peak_memory_bytes, other.peak_memory_bytes)),
            peak_device_bytes=largest((self.peak_device_bytes, other.peak_device_bytes)),
            peak_reserved_bytes=largest((self.peak_reserved_bytes, other.peak_reserved_bytes)),
        )


class Speed(Record):
    """How fast a model answers, from token ids to predictions in the host's memory."""

    latency_p50_ms: NonNegativeFloat
    """Median time of an item by itself."""
    latency_p95_ms: NonNegativeFloat | None
    """95th percentile; None where too few items were answered to tell it."""
    latency_items: PositiveInt
    """How many items these two are of."""
    throughput: NonNegativeFloat
    """Items per second in batches of the size that scoring uses."""
    batch_size: NonNegativeFloat
    """Items per such batch, on average."""


class Inference(Record):
    """How fast the model of the last stage answers."""

    whole: Speed | None = None
    """With the adapters merged that can be; of a model without such, as it is."""
    apart: Speed | None = None
    """With those adapters beside its weights; None where there are none."""
    undefined: str | None = None
    """Why `whole` is missing."""


class Evaluation(Record):
    """One cell of the score matrix: a problem scored at a moment (0: before tuning, i: after stage i)."""

    moment: NonNegativeInt
    problem: NonNegativeInt
    items: PositiveInt | None = None
    undefined: str | None = None
    """Why there are no predictions; None where there are."""


class SplitNote(Record):
    """What a split held in the end."""

    items: NonNegativeInt
    truncated: NonNegativeInt = 0
    windows: NonNegativeInt | None = None
    """How many pieces the items were read in; None where each was read in one."""


class Leak(Record):
    """Texts of a dataset's test split that also stand in what a model is tuned on, or chosen by."""

    split: Split
    """Where they stand: train, or the dataset's own validation."""
    stage: NonNegativeInt | None = None
    """Position of the stage whose split that is; None for the dataset's own."""
    exact: NonNegativeInt
    """How many are equal but for case and spacing."""
    near: NonNegativeInt
    """How many more are equal but for punctuation and Unicode form as well."""


class DataNote(Record):
    """What was done to a dataset on its way into the run, for the table's note."""

    dataset: str
    splits: dict[str, SplitNote]
    classes: NonNegativeInt | None = None
    counts: dict[str, dict[str, NonNegativeInt]] | None = None
    """For each split how many rows, or words, each class has; None where there are no classes, and in what was stored before."""
    left_out: dict[str, NonNegativeInt] = {}
    """Rows left out as the data was read, by reason."""
    warnings: tuple[str, ...] = ()
    """What of the data may be a mistake."""
    moved: NonNegativeInt = 0
    """Rows left out because their text also stands in a split that must stay unseen."""
    leaks: tuple[Leak, ...] | None = None
    """What was found of its test texts elsewhere; None where nobody looked."""
    licence: str | None = None
    notes: tuple[str, ...] = ()
    """What the dataset says was done as it was read."""


class SplitSummary(Record):
    """What a split holds."""

    rows: NonNegativeInt
    classes: dict[str, NonNegativeInt] | None = None
    """How many rows, or words where each has a tag, are of each class; None where there are no classes."""


class ColumnsSummary(Record):
    """What a dataset's columns are used for."""

    used: dict[str, tuple[str, ...]] = {}
    """By role, the data's own names."""
    unused: tuple[str, ...] = ()


class DataSummary(Record):
    """What was understood of a dataset, before anything is computed."""

    dataset: str
    task: str
    why: str = ""
    """What of the data decides the task, as a clause."""
    rows: NonNegativeInt
    """That are used, in all splits."""
    left_out: dict[str, NonNegativeInt]
    """Rows that are not, by reason."""
    columns: ColumnsSummary
    classes: dict[str, NonNegativeInt] | None
    """How many rows, or words, are of each class, in all splits."""
    splits: dict[str, SplitSummary]
    example: str
    """The first row of train as the model will see it."""
    truncated: NonNegativeFloat
    """Of train's texts, in per cent: those that are cut; of a sample where there are many."""
    unknown_tokens: NonNegativeFloat
    """Of the tokens of the same texts, in per cent: those that the tokenizer does not know."""
    notes: tuple[str, ...] = ()
    """How the data was read, where that is not plain."""
    warnings: tuple[str, ...] = ()
    """What may be a mistake."""


class Outcome(Record):
    """What happened in a run that finished, apart from its predictions."""

    run_id: str
    started: datetime
    wall_seconds: NonNegativeFloat
    phases: dict[str, Phase]
    shared: Shared = Shared()
    """What the features that tuning only read from the cache took to extract: with it, the run's cost is the cold one."""
    parameters_total: NonNegativeInt
    parameters_trained: NonNegativeInt
    ship_bytes: NonNegativeInt
    steps: NonNegativeInt
    examples: NonNegativeInt
    evaluations: tuple[Evaluation, ...]
    data: tuple[DataNote, ...]
    device: str
    processes: PositiveInt
    versions: dict[str, str]
    plugins: dict[str, str]
    notes: tuple[str, ...] = ()
    validation: float | None = None
    """Of a trial: the score on the validation split at its end, higher is better; the mean over stages if several."""
    energy: str | None = None
    """What the phases' energy was measured of, or why it was not; None in what was stored before it was measured."""
    inference: Inference | None = None
    """None in what was stored before it was measured."""
    predictions_sha256: str | None = None
    """Of `predictions.npz`; None in what was stored before it was kept."""
    log_sha256: str | None = None
    """Of `log.jsonl`."""


class Failure(Record):
    """Why a run did not finish; it is tried again next time."""

    run_id: str
    status: Literal["failed", "out of memory", "lost", "cancelled", "pruned"]
    """`lost`: its process or machine went away without a word."""
    reason: str
    trace: str = ""


class Job(Record):
    """What an executor is asked to compute: a run, and what is kept of it. Where it is computed is the executor's affair."""

    run: Run
    results: Path
    """Absolute path of the results folder."""
    keep_model: bool = False
    """Whether the run's folder is to hold its model."""
    deliver: Path | None = None
    """Where the model is written instead; nothing may be there yet."""
    without: tuple[str, ...] = ()
    """Plugins that are left out."""


class Place(Record):
    """Where a process computes a job: its share of the run, and the run's share of the machine."""

    processes: PositiveInt = 1
    """Processes that share the run."""
    rank: NonNegativeInt = 0
    """Which of them this is."""
    port: NonNegativeInt = 0
    """TCP port on this machine where they meet; 0 if there is one process."""
    side_by_side: PositiveInt = 1
    """Runs at a time on this machine; each takes its share of the cores, or an accelerator of its own."""
    slot: NonNegativeInt = 0
    """Which of them this run is."""
    cpu: bool = False
    """Use the CPU only."""


class Trial(Record):
    """One attempt to find better settings for an arm."""

    values: dict[str, JsonValue]
    score: float | None
    """On validation, higher is better; None where it has none."""
    status: Literal["done", "pruned", "failed"]
    seconds: NonNegativeFloat
    """Of wall time, summed over processes."""


class SearchResult(Record):
    """How an arm's settings were chosen."""

    trials: tuple[Trial, ...]
    chosen: dict[str, JsonValue]
    edges: tuple[str, ...] = ()
    """Settings whose chosen value lies at an end of what was searched."""
    exhausted: bool = False
    """Whether there was nothing more to try before the budget was spent."""


Quantity = Literal[
    "score", "difference", "parameters", "operations", "bytes", "seconds", "energy", "money", "latency", "throughput"
]
"""What kind of number a column has: `energy` in joules, `latency` in milliseconds, `throughput` in items per second."""


class Column(Record):
    """A column of a table."""

    key: str
    group: str
    title: str
    unit: str = ""
    """Of a score or a difference of scores; the other quantities say theirs."""
    quantity: Quantity = "score"
    better: Literal["higher", "lower"] | None = None
    """Which direction is good; None where neither is."""


Role = Annotated[
    Literal["baseline", "reference", "contender"], BeforeValidator(lambda role: "baseline" if role == "floor" else role)
]
"""What an arm is in a comparison; `floor` is how the baseline was spelled at first."""


class Cell(Record):
    """One value of a table, as number and as text."""

    text: str
    """The value and its interval in the usual digits; empty where there is none."""
    detail: str = ""
    """What belongs beside it, likewise."""
    value: float | None = None
    """None where the value is not defined: never a number that stands for one."""
    beside: dict[str, float] = {}
    """What belongs beside it by name: `share`, `before` and `after`, `warm`, `reserved`, `watt_hours`, `p95`, `apart`."""
    half_width: float | None = None
    """Half of the 95 % interval; None where there is no interval."""
    best: bool = False
    """Of a score or of what is forgotten: that no arm is shown to be better; else the lowest or highest."""
    verdict: str | None = None
    """Against the reference: better, worse, no difference shown, equivalent; or why there is none."""
    difference: float | None = None
    """From the reference."""
    difference_half_width: float | None = None
    p: float | None = None
    """Of the difference, among all that are compared (Holm)."""
    rank: int | None = None
    """One more than the number of arms that are shown to be better."""
    dimmed: bool = False
    """Whether the difference is no larger than that between two runs which should not differ."""
    note: int | None = None
    """Number of the footnote that says why it is blank or special."""

    @property
    def in_words(self) -> str:
        """The verdict as it is read, such as `worse by 0.013 ± 0.007`; empty where there is none."""
        if self.verdict not in {"better", "worse"} or self.difference is None:
            return self.verdict or ""
        about = "" if self.difference_half_width is None else f" ± {self.difference_half_width:.3f}"
        return f"{self.verdict} by {abs(self.difference):.3f}{about}"


class Row(Record):
    """One arm."""

    label: str
    role: Role
    cells: tuple[Cell, ...]
    """One for each column, in order."""
    runs: tuple[str, ...]
    """Ids of the finished runs behind it."""


class Table(Record):
    """A comparison, ready to be read."""

    title: str
    question: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    footnotes: tuple[str, ...]
    about: tuple[str, ...]
    """Model, data, device, versions: what a reader must know to trust or repeat it, a line each."""
    others: tuple[Table, ...] = ()
    """Arms that cannot be compared with these, each group in a table of its own."""


@dataclass(frozen=True)
class Predictions:
    """What a model said of a split's items, and what would have been right. Row i of all three is one item."""

    outputs: NDArray[Any]
    """`[n, ...]`: class scores `[n, classes]`, features `[n, width]`, ..., as the task defines."""
    targets: NDArray[Any]
    """`[n, ...]`"""
    ids: NDArray[Any]
    """`[n]`: the items' unique ids."""


def largest(values: Iterable[int | None]) -> int | None:
    """Return the largest value that is known; None where none is."""
    return max((value for value in values if value is not None), default=None)


def digest(value: object) -> str:
    """Return the sha256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _key(part: Record) -> str:
    """Return a hash of all a record says but where things lie."""
    held, key = _keys.get(id(part), (None, ""))
    if held is not part:
        if len(_keys) >= _MOST_KEYS:
            _keys.clear()
        said = part.model_dump(mode="json", exclude=unsaid(part))
        if isinstance(part, TrainConfig):
            said = {FIRST_SPELLING.get(name, name): value for name, value in said.items()}
        key = digest(_without_locations(said))
        # Held, so that its identity is not given to another; frozen, so that its key stays true.
        _keys[id(part)] = (part, key)
    return key


_MOST_KEYS = 1000
_keys: dict[int, tuple[Record, str]] = {}


def _without_locations(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_locations(item) for key, item in value.items() if key != "location"}
    if isinstance(value, list):
        return [_without_locations(item) for item in value]
    return value
