"""Frozen records that are passed between the stages of an experiment and stored on disk.

    Run (the request) ──► Outcome or Failure (the result) ──► scores, a table (reports.py)

A run's id is the hash of everything in it that can change its numbers, and of nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    BaseModel,
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
LogLevel = Literal["debug", "info", "warning", "error"]


TUNING = ("tune", "features")
"""The phases that count as tuning: not validation, tests or watching."""
ENGINE = 1
"""Version of the engine; raised when it computes other numbers from the same settings."""


ADDED: dict[str, JsonValue] = {"added": True}
"""Marks a setting added in a later version: its default is left out of a run's id, so stored runs keep their ids."""


def added(former: JsonValue) -> dict[str, JsonValue]:
    """Return the mark of a setting added in a later version whose default is not what was done before.

    Args:
        former: The value that does what was done before: runs with it keep the ids of stored runs.
    """
    return {**ADDED, "former": former}


def formers(settings: type[BaseModel]) -> dict[str, Any]:
    """Return, for each setting that was added in a later version, the value that does what was done before."""
    marked = {
        name: (info.json_schema_extra, info.default)
        for name, info in settings.model_fields.items()
        if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("added")
    }
    return {name: extra.get("former", default) for name, (extra, default) in marked.items()}


def unsaid(settings: BaseModel) -> set[str]:
    """Return the settings that were added in a later version and do what was done before."""
    return {name for name, former in formers(type(settings)).items() if getattr(settings, name) == former}


class Record(BaseModel):
    """A frozen value that forbids unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ComponentRef(Record):
    """A reference to a component in a run: enough to recreate it and to distinguish it from others."""

    name: str
    version: int
    params: dict[str, JsonValue] = {}
    location: dict[str, JsonValue] = {}
    """Parameters that only say where to find it (a path): stored, but not part of a run's id."""
    fingerprint: str | None = None
    """Hash of its weights or data; None if it has none."""


class TaskData(Record):
    """A dataset and the task it is used for."""

    dataset: ComponentRef
    task: ComponentRef


FIRST_SPELLING: dict[str, str] = {"gradient_accumulation_steps": "accumulation", "warmup_ratio": "warmup"}
"""Former names of training settings: still read, and still used in a run's id, so that stored runs keep their ids."""


LEAST_STEPS, MOST_EPOCHS = 600, 6
"""Training until validation is flat lasts at most this many steps, or this many epochs if that is more."""


class TrainConfig(Record):
    """Settings of the training loop, which all strategies that train share."""

    learning_rate: float | None = Field(None, gt=0, description="peak learning rate; blank: the strategy's default")
    epochs: PositiveInt | Literal["flat"] = Field(
        "flat", description="passes over the training split; flat: until the validation score stops improving"
    )
    max_steps: PositiveInt | None = Field(
        None,
        json_schema_extra=ADDED,
        description="maximum optimizer steps with epochs=flat; blank: 600, or 6 epochs if that is more",
    )
    batch_size: PositiveInt = Field(16, description="examples per optimizer step, over all processes")
    gradient_accumulation_steps: PositiveInt = Field(
        1, description="micro-batches per batch; raise it if memory runs out; does not change the result"
    )
    batch_tokens: PositiveInt | None = Field(
        None, description="tokens per optimizer step, including padding, instead of batch_size; blank: use batch_size"
    )
    eval_batch_tokens: PositiveInt = Field(2048, description="tokens per forward pass in evaluation")
    max_length: PositiveInt = Field(128, description="maximum tokens per text; longer texts are cut and counted")
    schedule: Literal["linear", "cosine", "constant"] = Field(
        "linear", description="learning rate schedule after warm-up"
    )
    warmup_ratio: float = Field(0.1, ge=0, le=1, description="share of the optimizer steps used for warm-up")
    weight_decay: NonNegativeFloat = Field(0.01, description="AdamW weight decay of weight matrices")
    max_grad_norm: float = Field(1.0, gt=0, description="maximum gradient norm (clipping)")
    attention_dropout: float | None = Field(
        0.0,
        ge=0,
        lt=1,
        description="attention dropout; 0 allows the fast attention kernel on a CPU; blank: the model's default",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="precision of the forward pass")
    patience: PositiveInt | None = Field(
        None,
        description="epochs without a better validation score before early stopping; blank: no early stopping; with "
        "epochs=flat: checks before validation is flat; blank: 3",
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations to save memory")
    compile: bool = Field(False, description="torch.compile the model")
    class_weights: Literal["balanced"] | None = Field(
        None,
        json_schema_extra=ADDED,
        description="balanced: every class has the same weight in the loss; blank: every text has",
    )
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, json_schema_extra=ADDED, description="share of the target spread over all classes"
    )
    select_by: str | None = Field(
        None,
        json_schema_extra=ADDED,
        description="validation metric for choosing settings and heads and for early stopping; blank: the first shown",
    )
    head_learning_rate: float | None = Field(
        None,
        gt=0,
        json_schema_extra=ADDED,
        description="peak learning rate of the new head; blank: same as learning_rate",
    )
    refit: bool = Field(
        default=False,
        json_schema_extra=ADDED,
        description="train on train and validation together, after settings were chosen on validation; needs a number of "
        "epochs and no patience",
    )
    fast: bool = Field(
        default=True,
        json_schema_extra=ADDED,
        description="use faster code with the same results on a CPU, if a self-check agrees with the standard code",
    )

    @model_validator(mode="before")
    @classmethod
    def _read_first_spelling(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        new = {first: name for name, first in FIRST_SPELLING.items()}
        return {new.get(key, key): value for key, value in given.items()}


class Run(Record):
    """Model x stages x strategy x seed, with all defaults resolved: the request to the engine."""

    model: ComponentRef
    stages: tuple[TaskData, ...] = Field(min_length=1)
    watch: tuple[TaskData, ...] = ()
    strategy: ComponentRef
    train: TrainConfig
    seed: NonNegativeInt
    engine: PositiveInt = ENGINE
    repeat: NonNegativeInt = 0
    """Number of the repetition with the same seed; repeated runs measure the noise."""
    trial: bool = False
    """Whether it is a trial of a hyperparameter search: scored only on validation, never on test."""
    all_data: bool = False
    """Whether it is tuned on all splits for delivery: its scores are on texts it has seen and appear in no table."""

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits that depend on everything that can change the numbers."""
        # Not cached: a cached id would survive `model_copy(update={"seed": ...})`. Shared parts are hashed only once.
        parts = [[_key(part) for part in problems] for problems in (self.stages, self.watch)]
        # Fields that an ordinary run does not use are left out.
        special = [{"repeat": self.repeat}] * (self.repeat > 0) + [{"trial": True}] * self.trial
        special += [{"all_data": True}] * self.all_data
        return digest(
            [_key(self.model), *parts, _key(self.strategy), _key(self.train), self.seed, self.engine, *special]
        )[:12]

    @property
    def task_data(self) -> tuple[TaskData, ...]:
        """Everything that is scored: the stages, then the watched datasets. The datasets axis of the score matrix."""
        return self.stages + self.watch


class Phase(Record):
    """Cost of one phase of a run, summed over processes except for wall time and peaks."""

    wall_seconds: NonNegativeFloat = 0.0
    """Of the first process, so that a run's phases sum to its wall time."""
    device_seconds: NonNegativeFloat | None = None
    """Wall time summed over the processes, each of which holds a device; None in runs stored by earlier versions."""
    cpu_seconds: NonNegativeFloat = 0.0
    peak_memory_bytes: NonNegativeInt | None = None
    """Peak resident memory of the process (the largest process, if several); None if the system does not report it."""
    peak_device_bytes: NonNegativeInt | None = None
    """Peak memory allocated on the accelerator; None without one."""
    peak_reserved_bytes: NonNegativeInt | None = None
    """Peak memory reserved on the accelerator by the library, used or not; None without one."""
    flops: NonNegativeInt = 0
    energy_joules: NonNegativeFloat | None = None
    """None if it was not measured; see `Outcome.energy`."""


class Shared(Record):
    """Cost of cached results that an earlier run computed and this run used."""

    seconds: NonNegativeFloat = 0.0
    flops: NonNegativeInt = 0
    energy_joules: NonNegativeFloat | None = None
    """None if it was not measured, or there is nothing."""
    peak_memory_bytes: NonNegativeInt | None = None
    """As in `Phase`; None if it was not reported, or was stored by an earlier version."""
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
    """Inference speed of a model, from token ids to predictions in the host's memory."""

    latency_p50_ms: NonNegativeFloat
    """Median time of a single item."""
    latency_p95_ms: NonNegativeFloat | None
    """95th percentile; None if there are too few items to estimate it."""
    latency_items: PositiveInt
    """Number of items behind these two values."""
    throughput: NonNegativeFloat
    """Items per second in batches of the size that scoring uses."""
    batch_size: NonNegativeFloat
    """Items per such batch, on average."""


class Inference(Record):
    """Inference speed of the model of the last stage."""

    whole: Speed | None = None
    """With adapters merged where possible; for a model without adapters, as it is."""
    apart: Speed | None = None
    """With those adapters not merged; None if there are none."""
    undefined: str | None = None
    """Why `whole` is missing."""


class Evaluation(Record):
    """One cell of the score matrix: a problem scored at a moment (0: before tuning, i: after stage i)."""

    moment: NonNegativeInt
    problem: NonNegativeInt
    items: PositiveInt | None = None
    undefined: str | None = None
    """Why there are no predictions; None if there are."""
    ids_crc32: NonNegativeInt | None = None
    """CRC-32 of the stored ids of its items; None if there are none, and in runs stored by earlier versions."""


class SplitNote(Record):
    """The size of a split as it was used."""

    items: NonNegativeInt
    truncated: NonNegativeInt = 0
    windows: NonNegativeInt | None = None
    """Number of windows the items were split into; None if no item was split."""
    groups: NonNegativeInt | None = None
    """Number of groups of similar items, such as the rows of one user; None if each item is by itself."""


class Leak(Record):
    """Texts of a dataset's test split that also occur in data used for tuning or validation."""

    split: Split
    """Where they occur: train, or the dataset's own validation."""
    stage: NonNegativeInt | None = None
    """Position of the stage that split belongs to; None for the dataset itself."""
    exact: NonNegativeInt
    """How many are equal, ignoring case and spacing."""
    near: NonNegativeInt
    """How many more are equal, also ignoring punctuation and Unicode form."""


class DataNote(Record):
    """How a dataset was prepared for a run, for the notes of the table."""

    dataset: str
    splits: dict[str, SplitNote]
    classes: NonNegativeInt | None = None
    counts: dict[str, dict[str, NonNegativeInt]] | None = None
    """Rows, or words, of each class in each split; None without classes or if stored by an earlier version."""
    left_out: dict[str, NonNegativeInt] = {}
    """Rows left out when the data was read, by reason."""
    warnings: tuple[str, ...] = ()
    """Possible mistakes in the data."""
    moved: NonNegativeInt = 0
    """Rows left out because their text also occurs in a split that must stay unseen."""
    leaks: tuple[Leak, ...] | None = None
    """Test texts that also occur elsewhere; None if it was not checked."""
    licence: str | None = None
    notes: tuple[str, ...] = ()
    """Notes of the dataset on how it was read."""


class SplitSummary(Record):
    """The size of a split."""

    rows: NonNegativeInt
    classes: dict[str, NonNegativeInt] | None = None
    """Number of rows of each class, or of words if each word has a tag; None without classes."""


class ColumnsSummary(Record):
    """The use of a dataset's columns."""

    used: dict[str, tuple[str, ...]] = {}
    """By role, the column names in the data."""
    unused: tuple[str, ...] = ()


class DataSummary(Record):
    """What was inferred about a dataset before any run."""

    dataset: str
    task: str
    why: str = ""
    """Why this task was inferred from the data, as a clause."""
    rows: NonNegativeInt
    """Rows that are used, in all splits."""
    left_out: dict[str, NonNegativeInt]
    """Rows that are not used, by reason."""
    columns: ColumnsSummary
    classes: dict[str, NonNegativeInt] | None
    """Number of rows, or words, of each class, in all splits."""
    splits: dict[str, SplitSummary]
    example: str
    """The first row of train as the model sees it."""
    truncated: NonNegativeFloat
    """Percentage of train texts that are cut; estimated from a sample if there are many."""
    unknown_tokens: NonNegativeFloat
    """Percentage of tokens in the same texts that the tokenizer does not know."""
    notes: tuple[str, ...] = ()
    """How the data was read, where that is not obvious."""
    warnings: tuple[str, ...] = ()
    """Possible mistakes in the data."""


class Outcome(Record):
    """Result of a finished run, without its predictions."""

    run_id: str
    started: datetime
    wall_seconds: NonNegativeFloat
    phases: dict[str, Phase]
    shared: Shared = Shared()
    """Cost of extracting the features that tuning read from the cache; adding it gives the cost without a cache."""
    parameters_total: NonNegativeInt
    parameters_trained: NonNegativeInt
    ship_bytes: NonNegativeInt
    steps: NonNegativeInt
    examples: NonNegativeInt
    evaluations: tuple[Evaluation, ...]
    data: tuple[DataNote, ...]
    device: str
    processes: PositiveInt
    sharded: bool = False
    """Whether the processes shared the model while they trained it, instead of holding a copy each."""
    versions: dict[str, str]
    plugins: dict[str, str]
    notes: tuple[str, ...] = ()
    host: str | None = None
    """Name of the machine; None in runs stored by earlier versions."""
    restarts: NonNegativeInt = 0
    """How often the run went on from a checkpoint after an interruption; attempts that began from the same one count once."""
    busy: bool = False
    """Other processes kept the machine busy when the run began, which makes its times longer."""
    validation: float | None = None
    """For a trial: the final score on the validation split, higher is better; the mean over stages if several."""
    energy: str | None = None
    """How the energy of the phases was measured, or why it was not; None in runs stored by earlier versions."""
    inference: Inference | None = None
    """None in runs stored by earlier versions."""
    predictions_sha256: str | None = None
    """Hash of `predictions.npz`; None in runs stored by earlier versions."""
    log_sha256: str | None = None
    """Hash of `log.jsonl`."""


class Failure(Record):
    """Why a run did not finish; it is retried next time."""

    run_id: str
    status: Literal["failed", "out of memory", "lost", "cancelled", "pruned"]
    """`lost`: its process or machine ended without a report."""
    reason: str
    trace: str = ""


def parse_result(text: str) -> Outcome | Failure:
    """Return the result of `harness.compute` from its JSON form, `result.model_dump_json()`.

    Raises:
        pydantic.ValidationError: The text is neither.
    """
    fields = json.loads(text)
    return Failure.model_validate(fields) if "status" in fields else Outcome.model_validate_json(text)


class Job(Record):
    """A request to an executor: a run, and what to store of it. The executor decides where to compute it."""

    run: Run
    results: Path
    """Absolute path of the results folder."""
    base: Path | None = None
    """Absolute path of the folder to which paths of data and models are relative; None: the current one."""
    keep_model: bool = False
    """Whether to store the model in the run's folder."""
    deliver: Path | None = None
    """Path to write the model to instead; must not exist yet."""
    without: tuple[str, ...] = ()
    """Plugins that are not loaded."""
    log_level: LogLevel = "error"
    """The least serious messages of the libraries that are logged."""
    checkpoint_seconds: NonNegativeFloat = 60.0
    """Least time between two checkpoints of a training, in seconds; a training that takes less has none."""


class Place(Record):
    """Where a process computes a job: its share of the run, and the run's share of the machine."""

    processes: PositiveInt = 1
    """Processes that share the run."""
    rank: NonNegativeInt = 0
    """Index of this process among them."""
    port: NonNegativeInt = 0
    """TCP port on this machine for their communication; 0 if there is one process."""
    side_by_side: PositiveInt = 1
    """Parallel runs on this machine; each takes its share of the cores, or one accelerator."""
    slot: NonNegativeInt = 0
    """Index of this run among them."""
    cpu: bool = False
    """Use the CPU only."""
    shard: bool = False
    """Let the processes that share the run also share its model while they train it: each holds a part of every weight."""


class Trial(Record):
    """One trial of an arm's hyperparameter search."""

    values: dict[str, JsonValue]
    score: float | None
    """On validation, higher is better; None if there is none."""
    status: Literal["done", "pruned", "failed"]
    seconds: NonNegativeFloat
    """Wall time, summed over processes."""


class SearchResult(Record):
    """Result of an arm's hyperparameter search."""

    trials: tuple[Trial, ...]
    chosen: dict[str, JsonValue]
    edges: tuple[str, ...] = ()
    """Settings whose chosen value is at the edge of the search range."""
    exhausted: bool = False
    """Whether the search space was exhausted before the budget was spent."""


@dataclass(frozen=True)
class Predictions:
    """Predictions and targets of a split's items. Row i of all three arrays is one item."""

    outputs: NDArray[Any]
    """`[n, ...]`: class scores `[n, classes]`, features `[n, width]`, ..., as the task defines."""
    targets: NDArray[Any]
    """`[n, ...]`"""
    ids: NDArray[Any]
    """`[n]`: the unique ids of the items."""
    groups: NDArray[Any] | None = None
    """`[n]`: numbers of the groups whose items are similar, such as the rows of one user; None if each is by itself."""


def largest(values: Iterable[int | None]) -> int | None:
    """Return the largest known value; None if none is known."""
    return max((value for value in values if value is not None), default=None)


def digest(value: object) -> str:
    """Return the sha256 of a JSON value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _key(part: Record) -> str:
    """Return a hash of a record without its locations."""
    held, key = _keys.get(id(part), (None, ""))
    if held is not part:
        if len(_keys) >= _MOST_KEYS:
            _keys.clear()
        said = part.model_dump(mode="json", exclude=unsaid(part))
        if isinstance(part, TrainConfig):
            said = {FIRST_SPELLING.get(name, name): value for name, value in said.items()}
        key = digest(_without_locations(said))
        # Keeping a reference prevents reuse of its identity; it is frozen, so its key stays valid.
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
