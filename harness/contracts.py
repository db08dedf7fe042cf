"""Base classes of components, such as strategies and metrics: subclass one in a plugin.

A component is a frozen record whose fields are its parameters. They are validated when an experiment is read, listed
by `harness describe`, and part of a run's id. Its `name` is what a user types; raise its `version` whenever its numbers
change. `harness list` prints the first line of its docstring. Importing a plugin must be cheap, so import torch,
transformers, peft, pandas and similar libraries inside methods.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue, NonNegativeInt, PositiveInt

from harness.errors import HarnessError, UndefinedError, unknown
from harness.records import ADDED, ComponentRef, Failure, Job, Outcome, Predictions, Run, Split, unsaid
from harness.reports import Report, Table

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from pydantic.fields import FieldInfo
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from harness.protocols import Host, Loader, Stage, View


class Component(BaseModel, ABC):
    """A named, versioned object provided by a plugin; its fields are its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    version: ClassVar[int] = 1
    default: ClassVar[bool] = False
    """Whether it is used if a user names no component of this kind."""
    argument: ClassVar[str | None] = None
    """The parameter given after a colon in `name:argument`."""
    arguments: ClassVar[Mapping[str, str]] = {}
    """Its valid values, each with a summary for `harness list`; empty if they cannot be listed."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """Suffixes of paths it opens if a user gives a path instead of a name; "/" means a folder, "*" any file."""
    locating: ClassVar[frozenset[str]] = frozenset()
    """Parameters that only say where something is: left out of the id, because a fingerprint identifies it."""
    imports: ClassVar[tuple[str, ...]] = ()
    """Slow modules its methods need: imported once for all runs, before timing starts."""
    install: ClassVar[str | None] = None
    """The command that installs the packages of `imports`, if they may be missing."""

    @classmethod
    def parse_argument(cls, text: str) -> dict[str, JsonValue]:
        """Return the parameters given by `name:text`."""
        if cls.argument is None:
            message = f"{cls.name!r} takes no argument after a colon, but got {text!r}"
            raise ValueError(message)
        if cls.arguments and text not in cls.arguments:
            raise ValueError(str(unknown(cls.argument, text, cls.arguments)))
        return {cls.argument: text}

    @classmethod
    def about(cls, argument: str | None = None) -> str:
        """Return the text of `harness describe` for `name:argument`, or for `name`; the first line is the summary."""
        text = inspect.cleandoc(cls.__doc__ or "")
        return text if argument is None or argument not in cls.arguments else f"{cls.arguments[argument]}\n\n{text}"

    @classmethod
    def settings(cls, argument: str | None = None) -> Mapping[str, FieldInfo]:
        """Return the parameters that `harness describe` lists for `name:argument`, or for `name`: fields and others."""
        del argument
        return cls.model_fields

    def missing(self) -> str | None:
        """Return what must be installed first, as a sentence; None if nothing is missing."""
        packages = (name.partition(".")[0] for name in self.imports) if self.install else ()
        gone = next((name for name in packages if find_spec(name) is None), None)
        return None if gone is None else f"{gone}: {self.install}"

    def fingerprint(self) -> str | None:
        """Return a hash of its weights or data; None if its parameters identify it completely."""
        return None

    def reference(self) -> ComponentRef:
        """Return the reference to this component for a run's record."""
        params = self.model_dump(mode="json", exclude=unsaid(self))
        return ComponentRef(
            name=self.name,
            version=self.version,
            params={key: value for key, value in params.items() if key not in self.locating},
            location={key: value for key, value in params.items() if key in self.locating},
            fingerprint=self.fingerprint(),
        )


class ModelSource(NamedTuple):
    """The location of a pretrained model."""

    path: str
    """A folder or a hub id."""
    revision: str | None
    sha256: str | None
    licence: str | None


class Model(Component):
    """A pretrained base model."""

    on_demand: ClassVar[bool] = False
    """Whether `locate` creates or downloads it, which is slow: then only `published` is called in planning."""

    head: Literal["new", "keep"] = Field(
        "new",
        json_schema_extra=ADDED,
        description="new: start with a new head; keep: use the published head if its classes match the data",
    )

    @abstractmethod
    def locate(self) -> ModelSource:
        """Return where the model is, without loading it.

        Raises:
            HarnessError: It was not found, or does not match its parameters.
        """

    def fingerprint(self) -> str | None:
        """Return the sha256 of the weights, or the revision if they are only on a hub."""
        source = self.locate()
        return source.sha256 or source.revision

    def published(self) -> Mapping[str, Any]:
        """Return the model's published `config.json`, without importing transformers.

        Raises:
            HarnessError: It cannot be fetched.
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
        """Return the model's configuration without its weights."""
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
            settings: Arguments of `from_pretrained`, such as `num_labels`; `output_loading_info` makes it return a
                pair.
        """
        import transformers

        source = self.locate()
        # Trained in float32 by default, whichever precision was published: small AdamW steps would be lost otherwise.
        settings.setdefault("dtype", "float32")
        loader = getattr(transformers, auto_class)
        model: PreTrainedModel = loader.from_pretrained(
            source.path, **_from(source), use_safetensors=True, trust_remote_code=False, **settings
        )
        return model

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the model's tokenizer, with a pad token.

        Raises:
            HarnessError: It was not found, or has no token to pad with.
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
                    f"model {self.name!r}: its tokenizer has neither a padding nor an end token: set pad_token in its "
                    "tokenizer_config.json"
                )
                raise HarnessError(message)
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer


def _from(source: ModelSource) -> dict[str, Any]:
    """Return the loader arguments for a source: a local folder never uses the network."""
    return {"local_files_only": True} if Path(source.path).is_dir() else {"revision": source.revision or "main"}


class Facts(NamedTuple):
    """Facts about a dataset."""

    classes: tuple[str, ...] | None = None
    """Class names in the order of their label numbers; None without classes."""
    licence: str | None = None
    citation: str | None = None
    notes: tuple[str, ...] = ()
    """How the data was read, where that is not obvious, such as skipped rows: shown under the table."""
    columns: Mapping[str, tuple[str, ...]] = {}
    """For each role (text, label, ...) the names of its columns in the data; empty if not known."""
    unused: tuple[str, ...] = ()
    """Columns of the data that are not used."""
    left_out: Mapping[str, int] = {}
    """Number of rows left out when the data was read, by reason."""
    warnings: tuple[str, ...] = ()
    """Possible mistakes in the data, one line each."""
    why: str = ""
    """Why its task was inferred from the data, as a clause."""


class Data(NamedTuple):
    """The data of a dataset."""

    splits: Mapping[Split, datasets.Dataset]
    """The available splits, complete and in their original order; at least `train`."""
    facts: Facts = Facts()


class Unlabelled(NamedTuple):
    """Rows to predict."""

    rows: Sequence[Mapping[str, Any]]
    """The rows of the file, with its column names."""
    columns: Mapping[str, list[Any]]
    """The columns a task needs, by role; one entry per row."""
    problems: Sequence[str | None]
    """For each row, why it cannot be predicted, as a clause; None if it can."""


class Dataset(Component):
    """A named dataset. A subclass reads it; the harness splits, limits and caches it."""

    task: ClassVar[str]
    """The default task for tuning on it."""
    watch_task: ClassVar[str]
    """The default task for watching it."""
    default_watch: ClassVar[bool] = False
    """Whether it is watched by default if a user brings data and names no dataset to watch."""

    limit: dict[Split, PositiveInt] = Field({}, description="maximum rows of each split, keeping its class proportions")
    test_share: float = Field(0.2, gt=0, lt=1, description="share of train used as test if there is no test split")
    validation_share: float = Field(
        0.1, gt=0, lt=1, description="share of train used as validation if there is no validation split"
    )
    split_seed: NonNegativeInt = Field(0, description="seed of splitting and limiting; the same for every run")
    draws: Literal["fixed", "seeds"] = Field(
        "fixed",
        json_schema_extra=ADDED,
        description="seeds: each seed trains on its own random rows of train; fixed: all seeds train on the same rows",
    )
    folds: int | None = Field(
        None,
        ge=2,
        json_schema_extra=ADDED,
        description="cross-validation: number of parts, of which each seed tests on one; blank: one test split",
    )

    @abstractmethod
    def read(self) -> Data:
        """Return the available splits, and facts about them.

        Columns: `text`, optionally `text_pair`, and those the task needs, such as `label` (a number from 0). Rows with
        the same value in a column `group` stay in the same split when train is split.

        Raises:
            HarnessError: The data is missing or does not match its parameters.
        """

    def task_for(self, *, watched: bool) -> str:
        """Return the default task: `watch_task` if watched, else `task`, independent of its parameters."""
        return self.watch_task if watched else self.task

    def unlabelled(self, path: str, columns: Mapping[str, tuple[str, ...]]) -> Unlabelled:
        """Return the unlabelled rows of another file of the same form; only for datasets that are read from files.

        Args:
            path: The file.
            columns: For each role (text, text_pair, ...) the names of its columns in the data used for tuning.

        Raises:
            HarnessError: The file cannot be read, or a column is missing.
        """
        del columns
        message = f"dataset {self.name!r} cannot read other files: {path!r}"
        raise HarnessError(message)


class Task(Component):
    """How a base model is adapted to a problem, and how rows become batches and predictions."""

    tunable: ClassVar[bool] = True
    """Whether a model can be tuned on it: it has a loss."""
    watchable: ClassVar[bool] = False
    """Whether a model can be measured on it before any tuning."""
    headless: ClassVar[bool] = False
    """Whether it uses only the body and builds no head, so that it works with any model."""
    answers: ClassVar[Literal["class", "classes", "number", "text"] | None] = None
    """What it predicts for a whole text with a new head on pooled features; `text` is generated by the model's own
    head; None for anything else."""
    shaping: ClassVar[frozenset[str]] = frozenset()
    """Training settings that `loss` accepts as keywords: `class_weights`, a tensor `[classes]`, or `label_smoothing`, a
    share. They are passed to it if an experiment sets them; for other tasks they are an error."""
    metrics: ClassVar[tuple[str, ...]]
    """Default metrics; choices are made by the first one."""
    grouped_by: ClassVar[tuple[str, ...]] = ("text",)
    """Columns of which equal values make test rows a group whose results are similar, if there is no column `group`."""

    def build(self, load: Loader, facts: Facts) -> PreTrainedModel | None:
        """Return the base model with the head this task needs; None if `predict` needs only the body.

        Raises:
            UndefinedError: The model does not support such a head; the message says why.
        """
        del load, facts
        return None

    def baseline(self, targets: Callable[[], NDArray[Any]], facts: Facts) -> nn.Module | None:
        """Return a model for `predict` that knows only the targets of train and no text: the baseline.

        None if the baseline is the model as published.

        Args:
            targets: Returns the targets, `[n, ...]`.
            facts: Facts about the data.
        """
        del targets, facts
        return None

    def check(self, facts: Facts, columns: Sequence[str]) -> str | None:
        """Return why data with these facts and columns cannot be used, as a sentence; None if it can."""
        del facts
        return None if "text" in columns else f"needs a column 'text', but the data has: {', '.join(columns)}"

    def check_model(self, model: Model) -> str | None:
        """Return why this model cannot be tuned on this task, as a clause; None if it can.

        Called when an experiment is planned, so it must not load weights.
        """
        del model
        return None

    def encode(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> dict[str, list[Any]]:
        """Return model inputs, one list entry per row, with a column `truncated` of booleans.

        A row may become several items, such as windows of a long text: then a column `row` gives for each entry the
        index of its row, from 0.
        """
        pairs = rows.get("text_pair")
        if not tokenizer.is_fast:
            kind = type(tokenizer).__name__
            message = f"task {self.name!r} needs a fast tokenizer, which reports truncation; {kind} is not one"
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
        """Return the number of terms in the summed loss of these items."""
        return len(items["input_ids"])

    def loss(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the summed loss of a batch, a scalar; the loop divides it by the `weight` of the whole batch."""
        del model, batch
        message = f"task {self.name!r} is only for watching: it cannot be tuned on"
        raise UndefinedError(message)

    def predict(self, model: nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the prediction for each item of a batch, `[b, ...]`; narrower batches are padded with nan."""
        del model, batch
        message = f"task {self.name!r} does not predict single items"
        raise UndefinedError(message)

    def evaluate(self, view: View, split: Split = "test") -> Predictions:
        """Return predictions on a split, one row for each of its rows; the input of metrics.

        Raises:
            UndefinedError: There is nothing to measure; the message says why.
        """
        return Predictions(view.outputs(split), view.targets(split), view.ids(split))

    def settled(self, view: View) -> Task:
        """Return the task with everything that depends on the train split stored as parameters.

        A delivered model has no train split.
        """
        del view
        return self

    def unlabelled(self, rows: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        """Return rows without labels in the form that `encode` needs, with placeholders for unknown values."""
        return dict(rows)

    def readable(
        self, outputs: NDArray[Any], rows: Mapping[str, list[Any]], facts: Facts
    ) -> list[dict[str, JsonValue]]:
        """Return `outputs` of `evaluate`, `[n, ...]`, in a readable form for each row.

        Args:
            outputs: The predictions.
            rows: The predicted rows, in the same order.
            facts: Facts about the data that the model was tuned on.

        Raises:
            UndefinedError: The task makes no predictions for rows.
        """
        del outputs, rows, facts
        message = f"task {self.name!r} makes no predictions for texts"
        raise UndefinedError(message)

    def generation(self, tokenizer: PreTrainedTokenizerBase) -> Mapping[str, JsonValue]:
        """Return the generation settings that a delivered model is saved with; empty if it does not generate text."""
        del tokenizer
        return {}


class Span(NamedTuple):
    """A range of numbers in a hyperparameter search, both ends included."""

    low: float
    high: float
    log: bool = False
    """Whether to search on a logarithmic scale."""


class Strategy(Component):
    """A method of adapting a model."""

    role: ClassVar[Literal["baseline", "reference", "contender"]] = "contender"
    """`baseline`: in every comparison, must be beaten by learning; `reference`: the others are compared with it."""
    defaults: ClassVar[Mapping[str, JsonValue]] = {}
    """Default training settings of this strategy, such as its learning rate."""
    selects: ClassVar[bool] = False
    """Whether it makes choices by the validation score, with `Stage.score`."""
    shapes: ClassVar[frozenset[str]] = frozenset({"class_weights", "label_smoothing", "head_learning_rate"})
    """Which of these training settings it uses; a note says that the others have no effect."""
    shardable: ClassVar[bool] = True
    """Whether processes can share the model that `Stage.fit` trains: not if the strategy passes `penalty` or
    `after_backward`, or needs a quantised base."""

    def training(self, tasks: Sequence[Task]) -> Mapping[str, JsonValue]:
        """Return its default training settings for these stages: `defaults` unless overridden."""
        del tasks
        return self.defaults

    def searched(self, tasks: Sequence[Task]) -> Mapping[str, Span | tuple[JsonValue, ...]]:
        """Return parameters to search in addition to the learning rate: each a span or a tuple of values."""
        del tasks
        return {}

    def uses_validation(self) -> bool:
        """Return whether a run chooses anything on the validation split; by default what `selects` says."""
        return self.selects

    def tried(self, tasks: Sequence[Task]) -> int:
        """Return the number of settings that one run itself compares on train or validation, such as penalties."""
        del tasks
        return 1

    def check(self, model: Model, tasks: Sequence[Task]) -> str | None:
        """Return why this model cannot be tuned with this strategy on these stages, as a clause; None if it can.

        Called when an experiment is planned, so it must not load weights.
        """
        del model, tasks
        return None

    def loading(self, auto_class: str, config: PretrainedConfig) -> Mapping[str, Any]:
        """Return additional arguments of `from_pretrained` for loading the base with `transformers.<auto_class>`.

        For strategies that need a different base, such as a quantised one.
        """
        del auto_class, config
        return {}

    @abstractmethod
    def tune(self, stage: Stage) -> nn.Module:
        """Return the model tuned on the stage; it must work with the task's `predict`."""


class Metric(Component):
    """A pure function of stored predictions."""

    title: ClassVar[str]
    """The heading of its column."""
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    chance: ClassVar[float | None] = None
    """Chance level, if it is the same for all data: 0 for a correlation; None otherwise."""
    bounds: ClassVar[tuple[float | None, float | None]] = (None, None)
    """The lowest and the highest possible score, None if there is none: intervals stay within both."""

    @abstractmethod
    def score(self, outputs: NDArray[Any], targets: NDArray[Any]) -> float:
        """Return the score of `outputs` `[n, ...]` against `targets` `[n, ...]`.

        Raises:
            UndefinedError: The score has no value on these predictions; the message says why.
        """


class Ratio(Metric):
    """A metric that is a ratio of two sums over the items, such as a mean."""

    nothing: ClassVar[str] = "there are no items"
    """Why the score is undefined if the second sum is 0."""

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


class Confusion(Metric):
    """A metric that depends only on how often each class is predicted for each class: on confusion matrices.

    Its interval then takes into account that a class with few items is known badly.
    """

    @abstractmethod
    def of_counts(self, counts: NDArray[Any]) -> NDArray[np.float64]:
        """Return the scores of confusion matrices `[B, tables, classes, classes]`, targets first; `[B]`.

        A text has one class: there is one table. A text has any number of classes: there is a table for each class,
        with the classes no and yes. The counts need not be whole numbers.
        """

    @staticmethod
    def cells(outputs: NDArray[Any], targets: NDArray[Any]) -> tuple[NDArray[np.int64], int]:
        """Return each item's cell in each table, `[n, tables]`, as target * classes + prediction, and the classes.

        Classes that occur neither in the targets nor in the predictions are left out.

        Args:
            outputs: Scores `[n, classes]`, or log-odds if texts may have several classes.
            targets: Class numbers `[n]`, or 0 and 1 for each class `[n, classes]`.
        """
        import numpy as np  # slow to import: only where metrics are computed

        if targets.ndim > 1:
            given, predicted = (side > 0 for side in (targets, outputs))
            occurring = given.any(0) | predicted.any(0)
            return (2 * given + predicted)[:, occurring].astype(np.int64), 2
        both = np.concatenate([targets.astype(np.int64), outputs.argmax(1)])
        present, numbers = np.unique(both, return_inverse=True)
        wanted, answered = numbers.reshape(2, -1)
        return (wanted * len(present) + answered)[:, None], len(present)


class Reporter(Component):
    """An output format of a table."""

    suffix: ClassVar[str]
    """Suffix of the file it writes, such as `".md"`."""
    kept: ClassVar[bool] = False
    """Whether every finished comparison is also saved in this format, in `results/reports/` and in bundles."""
    brief: ClassVar[bool] = False
    """Whether it is given the main columns and the essential notes only, unless the user asks for more."""
    whole: ClassVar[bool] = False
    """Whether it shows more than the table: it is given a `Report`, by `render_report`."""
    file: ClassVar[bool] = False
    """Whether its output is written to a file instead of printed."""

    @abstractmethod
    def render(self, table: Table) -> str | bytes:
        """Return the table as text, or as the bytes of a file."""

    def render_report(self, report: Report) -> str | bytes:
        """Return a whole report as text, or as the bytes of a file; called if `whole`."""
        return self.render(report.table)


class Executor(Component):
    """Where runs are computed."""

    here: ClassVar[bool] = False
    """Whether runs are computed in the process of the command."""

    @property
    def processes(self) -> int:
        """Number of processes per run, each with its own device."""
        return 1

    @property
    def shards(self) -> bool:
        """Whether the processes of a run share its model while they train it: `Place.shard`."""
        return False

    def prepare(self, modules: Sequence[str]) -> None:
        """Prepare for runs while the data is read.

        Args:
            modules: Slow modules that runs need: worth importing once if processes are forked from a warm one.
        """
        del modules

    @abstractmethod
    def run(self, jobs: Iterator[Job], host: Host) -> Iterator[tuple[Job, Outcome | Failure]]:
        """Compute jobs; yield each with its result when it ends.

        `harness.compute` stores the results. A job whose process or machine is lost gives a `Failure` with the status
        `lost` and is handed out once more, as is a job that is never yielded.

        Args:
            jobs: Take the next one only when there is capacity: it may depend on the results of earlier ones.
            host: Receives the progress of each job.
        """


class Tracker(Component):
    """Where the progress and the results of a comparison are sent, such as a server for experiments."""

    def begin(self, name: str, settings: Mapping[str, JsonValue]) -> None:
        """Begin a comparison.

        Args:
            name: Name of the comparison.
            settings: The experiment, as JSON.
        """
        del name, settings

    def log(self, run: Run, label: str, step: int, values: Mapping[str, float]) -> None:
        """Handle the progress of a run.

        Args:
            run: The run.
            label: Label of its arm.
            step: Number of the optimizer step, over all stages.
            values: Such as `loss` and `validation`.
        """
        del run, label, step, values

    @abstractmethod
    def finish(self, run: Run, label: str, status: str, values: Mapping[str, float]) -> None:
        """Handle a run of the comparison at its end, whether it was computed now or is stored.

        Args:
            run: The run.
            label: Label of its arm.
            status: `done`, or the status of its failure.
            values: Its scores, forgetting and costs, by the key of the table's column.
        """

    def end(self, files: Sequence[Path]) -> None:
        """End the comparison.

        Args:
            files: The saved table and report.
        """
        del files


def hash_files(paths: Sequence[Path]) -> str:
    """Return one sha256 for the contents of files: of one file, its own; of several, the hash of their hashes."""
    hashes = [_hash_file(path, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(json.dumps(hashes).encode()).hexdigest()


@functools.cache
def _hash_file(path: Path, size: int, changed: int) -> str:
    """Return a file's sha256, cached while its size and modification time stay the same."""
    del size, changed
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
