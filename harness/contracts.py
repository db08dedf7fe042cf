"""What a model, dataset, task, strategy, metric, reporter and executor IS: subclass one to offer another.

A component is a frozen record whose fields are its parameters. They are checked when an experiment is read, listed
by `harness describe`, and part of a run's id. Its `name` is what a user types; its `version` is raised whenever its
numbers change. The first line of its docstring is what `harness list` prints. Importing a plugin must be cheap, so torch,
transformers, peft, pandas and their like are imported inside methods.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue, NonNegativeInt, PositiveInt

from harness.errors import HarnessError, UndefinedError, unknown
from harness.records import ADDED, ComponentRef, Failure, Job, Outcome, Predictions, Split, Table, unsaid

if TYPE_CHECKING:
    import datasets
    import torch
    from numpy.typing import NDArray
    from pydantic.fields import FieldInfo
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from harness.protocols import Host, Loader, Stage, View


class Component(BaseModel, ABC):
    """A named, versioned thing a plugin offers; its fields are its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    version: ClassVar[int] = 1
    default: ClassVar[bool] = False
    """Used where a user names none of this kind."""
    argument: ClassVar[str | None] = None
    """The parameter that stands after a colon in `name:argument`."""
    arguments: ClassVar[Mapping[str, str]] = {}
    """What may stand there, each with a summary for `harness list`; empty where that cannot be told."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """Endings of the paths it opens when a user gives one in place of a name; "/" stands for a folder, "*" for any file."""
    locating: ClassVar[frozenset[str]] = frozenset()
    """Parameters that say where something is, not what: a fingerprint identifies it, and the id leaves them out."""
    imports: ClassVar[tuple[str, ...]] = ()
    """Slow modules its methods need: loaded once for all runs, before any clock starts."""

    @classmethod
    def parse_argument(cls, text: str) -> dict[str, JsonValue]:
        """Return the parameters that `name:text` stands for."""
        if cls.argument is None:
            message = f"{cls.name!r} takes nothing after a colon, but got {text!r}"
            raise ValueError(message)
        if cls.arguments and text not in cls.arguments:
            raise ValueError(str(unknown(cls.argument, text, cls.arguments)))
        return {cls.argument: text}

    @classmethod
    def about(cls, argument: str | None = None) -> str:
        """Return what `harness describe` says of `name:argument`, or of `name`; the first line is the summary."""
        text = inspect.cleandoc(cls.__doc__ or "")
        return text if argument is None or argument not in cls.arguments else f"{cls.arguments[argument]}\n\n{text}"

    @classmethod
    def settings(cls, argument: str | None = None) -> Mapping[str, FieldInfo]:
        """Return the parameters of `name:argument`, or of `name`, as `harness describe` lists them: the fields and any others."""
        del argument
        return cls.model_fields

    def missing(self) -> str | None:
        """Return what must be installed first, as a sentence; None if it can be used."""
        return None

    def fingerprint(self) -> str | None:
        """Return a hash of the weights or data behind it; None if its parameters say everything."""
        return None

    def reference(self) -> ComponentRef:
        """Return this component as a run's record names it."""
        params = self.model_dump(mode="json", exclude=unsaid(self))
        return ComponentRef(
            name=self.name,
            version=self.version,
            params={key: value for key, value in params.items() if key not in self.locating},
            location={key: value for key, value in params.items() if key in self.locating},
            fingerprint=self.fingerprint(),
        )


class ModelSource(NamedTuple):
    """Where a pretrained model is."""

    path: str
    """A folder, or a hub id."""
    revision: str | None
    sha256: str | None
    licence: str | None


class Model(Component):
    """A pretrained base model."""

    on_demand: ClassVar[bool] = False
    """Whether `locate` makes or fetches it, which takes long: then `published` alone is asked while planning."""

    head: Literal["new", "keep"] = Field(
        "new",
        json_schema_extra=ADDED,
        description="whether a task begins with a new head, or with the published one where its classes are the data's",
    )

    @abstractmethod
    def locate(self) -> ModelSource:
        """Return where the model is, without loading it.

        Raises:
            HarnessError: It is not there, or is not what it claims to be.
        """

    def fingerprint(self) -> str | None:
        """Return the sha256 of the weights, or the revision where only a hub knows them."""
        source = self.locate()
        return source.sha256 or source.revision

    def published(self) -> Mapping[str, Any]:
        """Return the model's `config.json` as it was published, without importing any library of models.

        Raises:
            HarnessError: It is not to be had.
        """
        source = self.locate()
        path = Path(source.path) / "config.json"
        if not path.is_file():
            import huggingface_hub
            from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

            try:
                path = Path(huggingface_hub.hf_hub_download(source.path, "config.json", revision=source.revision))
            except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
                message = f"model {self.name!r}: the configuration of {source.path!r} cannot be fetched: {error}"
                raise HarnessError(message) from None
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def config(self) -> PretrainedConfig:
        """Return the model's configuration, without its weights."""
        import transformers

        source = self.locate()
        config: PretrainedConfig = transformers.AutoConfig.from_pretrained(
            source.path, **_from(source), trust_remote_code=False
        )
        return config

    def load(self, auto_class: str, **settings: Any) -> PreTrainedModel:
        """Return the model under the head of `transformers.<auto_class>`; weights only from safetensors.

        Args:
            auto_class: For example `"AutoModelForSequenceClassification"`.
            settings: What `from_pretrained` takes, such as `num_labels`; with `output_loading_info` it returns a pair.
        """
        import transformers

        source = self.locate()
        # Published in whatever precision, trained in float32 unless asked for otherwise: AdamW's small steps would be lost.
        settings.setdefault("dtype", "float32")
        loader = getattr(transformers, auto_class)
        model: PreTrainedModel = loader.from_pretrained(
            source.path, **_from(source), use_safetensors=True, trust_remote_code=False, **settings
        )
        return model

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the model's tokenizer, with a pad token.

        Raises:
            HarnessError: It is not there, or has no token to pad with.
        """
        import transformers

        source = self.locate()
        try:
            tokenizer: PreTrainedTokenizerBase = transformers.AutoTokenizer.from_pretrained(
                source.path, **_from(source), trust_remote_code=False
            )
        except (OSError, ValueError, ImportError) as error:
            message = f"model {self.name!r}: its tokenizer cannot be loaded: {' '.join(str(error).split())}"
            raise HarnessError(message) from None
        if tokenizer.pad_token_id is None:
            if tokenizer.eos_token is None:
                message = (
                    f"model {self.name!r}: its tokenizer names neither a padding nor an end token: set pad_token in its "
                    "tokenizer_config.json"
                )
                raise HarnessError(message)
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer


def _from(source: ModelSource) -> dict[str, Any]:
    """Return what tells a loader where to look: a local folder never touches the network."""
    return {"local_files_only": True} if Path(source.path).is_dir() else {"revision": source.revision or "main"}


class Facts(NamedTuple):
    """What a dataset says of itself."""

    classes: tuple[str, ...] | None = None
    """Class names in the order of their label numbers; None where there are no classes."""
    licence: str | None = None
    citation: str | None = None
    notes: tuple[str, ...] = ()
    """How the data was read, where that is not plain, such as rows left out: for the table's note."""
    columns: Mapping[str, tuple[str, ...]] = {}
    """For each role (text, label, ...) the data's own names of the columns that have it; empty where that is not known."""
    unused: tuple[str, ...] = ()
    """Columns of the data that are not used."""
    left_out: Mapping[str, int] = {}
    """How many rows were left out as the data was read, by reason."""
    warnings: tuple[str, ...] = ()
    """What of the data may be a mistake, a line each."""
    why: str = ""
    """What of the data decides its task, as a clause."""


class Data(NamedTuple):
    """What a dataset reads."""

    splits: Mapping[Split, datasets.Dataset]
    """The splits there are, whole and in their own order; at least `train`."""
    facts: Facts = Facts()


class Unlabelled(NamedTuple):
    """Rows to predict."""

    rows: Sequence[Mapping[str, Any]]
    """As the file has them, by the file's names."""
    columns: Mapping[str, list[Any]]
    """What a task needs of them, by role; as many entries as there are rows."""
    problems: Sequence[str | None]
    """Of each row why nothing can be said of it, as a clause; None where something can."""


class Dataset(Component):
    """Named data. A subclass reads it; the harness splits, limits and caches it."""

    task: ClassVar[str]
    """The task it is tuned on unless an experiment says otherwise."""
    watch_task: ClassVar[str]
    """The task it is watched by unless an experiment says otherwise."""
    default_watch: ClassVar[bool] = False
    """Watched where a user brings data and names nothing to watch."""

    limit: dict[Split, PositiveInt] = Field({}, description="rows kept of each split, in its own class proportions")
    test_share: float = Field(0.2, gt=0, lt=1, description="carved from train where there is no test split")
    validation_share: float = Field(0.1, gt=0, lt=1, description="carved from train where there is no validation split")
    split_seed: NonNegativeInt = Field(0, description="of carving and limiting; the same for every run")

    @abstractmethod
    def read(self) -> Data:
        """Return the splits there are, and what is known of them.

        Columns: `text`, optionally `text_pair`, and what the task needs, such as `label` (a number from 0). Rows that
        have the same value in a column `group` stay together where a split is carved.

        Raises:
            HarnessError: The data is missing or is not what its parameters say.
        """

    def task_for(self, *, watched: bool) -> str:
        """Return the task for it unless an experiment names another: `watch_task` or `task`, whatever its parameters."""
        return self.watch_task if watched else self.task

    def unlabelled(self, path: str, columns: Mapping[str, tuple[str, ...]]) -> Unlabelled:
        """Return the rows of another file of the same form, whose labels are not known; only of data that comes in files.

        Args:
            path: The file.
            columns: For each role (text, text_pair, ...) the names of the columns that had it in the data tuned on.

        Raises:
            HarnessError: It cannot be read, or lacks a column.
        """
        del columns
        message = f"dataset {self.name!r} reads no files of others: {path!r} cannot be read by it"
        raise HarnessError(message)


class Task(Component):
    """How a base model becomes a model for a problem, and rows become batches and predictions."""

    tunable: ClassVar[bool] = True
    """Whether a model can be tuned on it: it has a loss."""
    watchable: ClassVar[bool] = False
    """Whether a model can be measured by it before any tuning."""
    headless: ClassVar[bool] = False
    """Whether it asks the body alone and builds no head, so that any model will do."""
    answers: ClassVar[Literal["class", "classes", "number", "text"] | None] = None
    """What is said of a whole text, by a new head that pooled features are enough for; `text` is written by the model's own
    head; None is anything else."""
    shaping: ClassVar[frozenset[str]] = frozenset()
    """Which training settings that change the loss `loss` takes, by keyword: `class_weights`, a tensor `[classes]`, or
    `label_smoothing`, a share. They are handed to it where they are asked for, and refused of other tasks."""
    metrics: ClassVar[tuple[str, ...]]
    """Metrics shown unless an experiment names others; the first is the one choices are made by."""

    def build(self, load: Loader, facts: Facts) -> PreTrainedModel | None:
        """Return the base model under the head this task needs; None if it needs only the body: `predict` is handed that.

        Raises:
            UndefinedError: The model has no such head; the message says why.
        """
        del load, facts
        return None

    def baseline(self, targets: Callable[[], NDArray[Any]], facts: Facts) -> nn.Module | None:
        """Return what `predict` can ask that knows the targets of train and no text: what learning must beat.

        None where that is the model as it was published.

        Args:
            targets: Returns the targets, `[n, ...]`.
            facts: What is known of the data.
        """
        del targets, facts
        return None

    def check(self, facts: Facts, columns: Sequence[str]) -> str | None:
        """Return why data with these facts and columns cannot be used, as a sentence; None if it can."""
        del facts
        return None if "text" in columns else f"needs a column 'text', but the data has: {', '.join(columns)}"

    def check_model(self, model: Model) -> str | None:
        """Return why nothing can be tuned on it with this model, as a clause; None if it can.

        Asked when an experiment is planned, so it must not load weights.
        """
        del model
        return None

    def encode(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> dict[str, list[Any]]:
        """Return model inputs, one list entry per row, with a column `truncated` of booleans.

        A row may become several items, such as windows of a long text: a column `row` then says for each entry which of the
        given rows it is of, from 0.
        """
        pairs = rows.get("text_pair")
        if not tokenizer.is_fast:
            message = f"task {self.name!r} needs a fast tokenizer, which tells what it cuts; {type(tokenizer).__name__} is none"
            raise HarnessError(message)
        encoded = tokenizer(rows["text"], pairs, truncation=True, max_length=max_length)
        columns = {key: list(encoded[key]) for key in encoded}
        if "label" in rows:
            columns["labels"] = list(rows["label"])
        columns["truncated"] = [bool(encoding.overflowing) for encoding in encoded.encodings]
        return columns

    def collate(self, items: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase) -> Mapping[str, torch.Tensor]:
        """Return one batch, padded to its longest item: a tensor `[b, ...]` per column of `encode`."""
        batch: Mapping[str, torch.Tensor] = tokenizer.pad(dict(items), return_tensors="pt")
        return batch

    def weight(self, items: Mapping[str, list[Any]]) -> int:
        """Return how many things the loss of these items is a sum over."""
        return len(items["input_ids"])

    def loss(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the summed loss of a batch, a scalar; the loop divides it by the whole batch's `weight`."""
        del model, batch
        message = f"task {self.name!r} is only for watching: nothing can be tuned on it"
        raise UndefinedError(message)

    def predict(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the prediction for each item of a batch, `[b, ...]`; what is narrower than another batch's is filled up with nan."""
        del model, batch
        message = f"task {self.name!r} predicts nothing item by item"
        raise UndefinedError(message)

    def evaluate(self, view: View, split: Split = "test") -> Predictions:
        """Return predictions on a split, one row for each of its rows; what a metric will score.

        Raises:
            UndefinedError: There is nothing to measure here; the message says why.
        """
        return Predictions(view.outputs(split), view.targets(split), view.ids(split))

    def settled(self, view: View) -> Task:
        """Return the task with everything that its train split decides written out as parameters.

        A delivered model has no train split to look at.
        """
        del view
        return self

    def unlabelled(self, rows: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Return rows that have no labels as `encode` takes them, with something in place of what is not known."""
        return dict(rows)

    def readable(
        self, outputs: NDArray[Any], rows: Mapping[str, list[Any]], facts: Facts
    ) -> list[dict[str, JsonValue]]:
        """Return what `outputs` of `evaluate`, `[n, ...]`, say of each row, for people to read.

        Args:
            outputs: What was predicted.
            rows: The rows it was predicted of, in the same order.
            facts: Of the data that the model was tuned on.

        Raises:
            UndefinedError: The task predicts nothing of a row.
        """
        del outputs, rows, facts
        message = f"task {self.name!r} predicts nothing of a text"
        raise UndefinedError(message)

    def generation(self, tokenizer: PreTrainedTokenizerBase) -> Mapping[str, JsonValue]:
        """Return the generation settings that a delivered model is saved with; empty where it writes nothing."""
        del tokenizer
        return {}


class Span(NamedTuple):
    """Numbers that a search may try, both ends included."""

    low: float
    high: float
    log: bool = False
    """Whether to look evenly over the orders of magnitude."""


class Strategy(Component):
    """A way of adapting a model."""

    role: ClassVar[Literal["baseline", "reference", "contender"]] = "contender"
    """`baseline`: in every comparison, what learning must beat; `reference`: what the others are compared with."""
    defaults: ClassVar[Mapping[str, JsonValue]] = {}
    """Training settings this strategy wants other values for, such as its own learning rate."""
    selects: ClassVar[bool] = False
    """Whether it chooses something by the validation score itself, by `Stage.score`."""
    shapes: ClassVar[frozenset[str]] = frozenset({"class_weights", "label_smoothing", "head_learning_rate"})
    """Which of these training settings it heeds; of others a note says that they have no effect."""

    def training(self, tasks: Sequence[Task]) -> Mapping[str, JsonValue]:
        """Return the training settings it wants other values for on these stages: `defaults` unless overridden."""
        del tasks
        return self.defaults

    def searched(self, tasks: Sequence[Task]) -> Mapping[str, Span | tuple[JsonValue, ...]]:
        """Return the parameters worth choosing on validation besides the learning rate: numbers in a span, or some values."""
        del tasks
        return {}

    def check(self, model: Model, tasks: Sequence[Task]) -> str | None:
        """Return why this model cannot be tuned so through these stages, as a clause; None if it can.

        Asked when an experiment is planned, so it must not load weights.
        """
        del model, tasks
        return None

    def loading(self, auto_class: str, config: PretrainedConfig) -> Mapping[str, Any]:
        """Return what `from_pretrained` is given besides when the base is loaded under `transformers.<auto_class>`.

        For strategies that need a base of another kind, such as a quantised one.
        """
        del auto_class, config
        return {}

    @abstractmethod
    def tune(self, stage: Stage) -> nn.Module:
        """Return the model tuned on the stage; it must answer the task's `predict`."""


class Metric(Component):
    """A pure function of stored predictions."""

    title: ClassVar[str]
    """Its column's heading."""
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    chance: ClassVar[float | None] = None
    """Score of answers that know nothing, where it is the same for all data: 0 for a correlation; None where it is not."""

    @abstractmethod
    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the score of `outputs` `[n, ...]` against `targets` `[n, ...]`.

        Raises:
            UndefinedError: The score has no value on these predictions; the message says why.
        """


class Ratio(Metric):
    """A metric that is a ratio of two sums over the items, such as a mean: what each item adds is known by itself."""

    nothing: ClassVar[str] = "there are no items"
    """Why there is no score where the second sum is 0."""

    @abstractmethod
    def items(self, outputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[Any]:
        """Return what each item adds to the numerator and to the denominator, `[n, 2]`.

        Raises:
            UndefinedError: The score has no value on these predictions; the message says why.
        """

    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the ratio of the items' sums for `outputs` `[n, ...]` against `targets` `[n, ...]`.

        Raises:
            UndefinedError: The score has no value on these predictions; the message says why.
        """
        if not len(targets):
            raise UndefinedError(self.nothing)
        numerator, denominator = self.items(outputs, targets).sum(axis=0, dtype="float64")
        if denominator == 0:
            raise UndefinedError(self.nothing)
        return float(numerator / denominator)


class Reporter(Component):
    """A way of writing a table."""

    suffix: ClassVar[str]
    """Ending of the file it writes, such as `".md"`."""
    kept: ClassVar[bool] = False
    """Whether every finished comparison is also kept so, in `results/reports/`, and packed with a bundle."""

    @abstractmethod
    def render(self, table: Table) -> str:
        """Return the table as text."""


class Executor(Component):
    """Where runs are computed."""

    here: ClassVar[bool] = False
    """Whether that is the command's own process."""

    @property
    def processes(self) -> int:
        """Processes, each with a device of its own, that share one run."""
        return 1

    def prepare(self, modules: Sequence[str]) -> None:
        """Get ready while the data is read.

        Args:
            modules: Slow modules that runs need: worth importing once, where processes are copied from one that is warm.
        """
        del modules

    @abstractmethod
    def run(self, jobs: Iterator[Job], host: Host) -> Iterator[tuple[Job, Outcome | Failure]]:
        """Compute jobs; yields each with what came of it, as they end.

        What is computed is stored by `harness.compute`. A job whose process or machine went away gives a `Failure` whose
        status is `lost`: it is handed out once more. So is one that is never yielded.

        Args:
            jobs: Taken one by one, as there is room: which comes next may depend on what came of those before.
            host: Told of each job where it is.
        """


def hash_files(paths: Sequence[Path]) -> str:
    """Return one sha256 over the contents of files: of one file, its own; of several, of their hashes in order."""
    hashes = [_hash_file(path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


@functools.cache
def _hash_file(path: Path, size: int, changed: int) -> str:
    """Return a file's sha256, read once as long as its size and time of change stay."""
    del size, changed
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
