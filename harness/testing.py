"""The plugin author's conformance kit: run it in the tests of your plugin.

    def test_my_strategy_keeps_the_contract():
        harness.testing.check_strategy(MyStrategy())

Everything is real and small: a model of 30 thousand random weights, two toy datasets, the harness's own engine.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from harness.catalog import Catalog, kind_of, load_catalog, with_plugin
from harness.contracts import (
    Component,
    Data,
    Dataset,
    Executor,
    Facts,
    Metric,
    Model,
    ModelSource,
    Strategy,
    Task,
    hash_files,
)
from harness.errors import HarnessError, UndefinedError
from harness.experiment.plan import default_names
from harness.hookspecs import hookimpl
from harness.records import Failure, Job, Outcome, Place, Problem, Run, TrainConfig
from harness.runner.plans import Runner
from harness.store import Store

if TYPE_CHECKING:
    pass

_MUCH, _SPARE_BYTES = 2, 20_000
"""How many times the bytes of what is trained, and how many besides for names, are not much to ship."""
_NEUTRAL = ("the", "a", "film", "plot", "actor", "scene", "is", "was", "very", "and", "of", "it")
_TELLING = ("good", "bad", "dull", "bright", "loud", "calm")


class TinyModel(Model):
    """A tiny random encoder in a folder, for tests."""

    name = "tiny"
    locating = frozenset({"path"})

    path: str = Field(description="folder that write_tiny_model wrote")

    def locate(self) -> ModelSource:
        """Return the folder."""
        return ModelSource(self.path, None, hash_files(sorted(Path(self.path).glob("*.safetensors"))), None)


class ToyDataset(Dataset):
    """Sentences in which one word tells the class, for tests."""

    name = "toy"

    rows: int = Field(60, description="sentences in all")
    classes: int = Field(2, ge=1, le=len(_TELLING), description="how many classes")
    seed: int = Field(0, description="of the sentences")

    def read(self) -> Data:
        """Return all sentences as `train`."""
        import datasets

        random = np.random.default_rng([self.seed, self.classes])
        labels = [number % self.classes for number in range(self.rows)]
        texts = []
        for number, label in enumerate(labels):
            words = [*random.choice(_NEUTRAL, size=int(random.integers(3, 9))), _TELLING[label], _NEUTRAL[number % 12]]
            texts.append(" ".join([*words, *(_NEUTRAL[int(digit)] for digit in str(number))]))
        train = datasets.Dataset.from_dict({"text": texts, "label": labels})
        return Data({"train": train}, Facts(_TELLING[: self.classes], "public domain", None))

    def task_for(self, *, watched: bool) -> str:
        """Return the first installed task that toys go with."""
        return (_watch_tasks() if watched else _tuned_tasks())[0]


class _Toys:
    """The toys as a plugin."""

    @hookimpl
    def harness_models(self) -> list[type[Model]]:
        return [TinyModel]

    @hookimpl
    def harness_datasets(self) -> list[type[Dataset]]:
        return [ToyDataset]


class _Offering:
    """A plugin that offers one component."""

    def __init__(self, component: type[Component]) -> None:
        self._component = component

    @hookimpl
    def harness_strategies(self) -> list[type[Component]]:
        return [self._component]


def toy_catalog(catalog: Catalog | None = None) -> Catalog:
    """Return a catalog (of what is installed, unless one is given) with the toys in it."""
    return with_plugin(catalog or load_catalog(), _Toys(), "toys")


def write_tiny_model(folder: Path, architecture: str | None = None, seed: int = 0, **settings: Any) -> Path:
    """Write a tiny random model with a tokenizer of the toys' words, as `save_pretrained` does; return the folder.

    Args:
        folder: Where to; made if it is not there.
        architecture: A class of transformers; None for that of the default model.
        seed: Of the weights.
        settings: What the architecture's configuration has of its own.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    architecture = architecture or _default_architecture()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_NEUTRAL, *_TELLING]
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    causal = "Causal" in architecture or "LMHead" in architecture
    if not causal:
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",  # noqa: S106 - a token of text
        unk_token="[UNK]",  # noqa: S106
        sep_token="[SEP]",  # noqa: S106
        cls_token="[CLS]",  # noqa: S106
        mask_token=None if causal else "[MASK]",
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=64,
    )
    torch.manual_seed(seed)
    cls = getattr(transformers, architecture)
    shape = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }
    shape = {name: value for name, value in shape.items() if name in settings or _takes(cls.config_class, name, value)}
    model = cls(cls.config_class(**{**shape, **settings}))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _takes(config_class: Any, name: str, value: Any) -> bool:
    """Return whether a configuration can be given a setting: some architectures refuse a number of layers, or of positions."""
    try:
        config_class(**{name: value})
    except NotImplementedError:
        return False
    except Exception:  # noqa: BLE001 - what is wrong by itself may be right with the others
        return True
    return True


def toy_run(catalog: Catalog, model: Path, strategy: Strategy, seed: int = 0, stages: int = 2, **train: Any) -> Run:
    """Return a run of two toy stages, or of the first alone, watching a third dataset by every task that a bare body can be watched by."""

    def problem(dataset: ToyDataset, task: str) -> Problem:
        return Problem(dataset=dataset.reference(), task=catalog.make(Task, task, {}).reference())

    settings = {"epochs": 2, "batch_size": 8, "max_length": 24, **strategy.training([]), **train}
    return Run(
        model=TinyModel(path=str(model)).reference(),
        stages=(
            problem(ToyDataset(), _tuned_tasks()[0]),
            problem(ToyDataset(classes=3, seed=1), _tuned_tasks()[0]),
        )[:stages],
        watch=tuple(problem(ToyDataset(classes=2, seed=2), task) for task in _watch_tasks()),
        strategy=strategy.reference(),
        train=TrainConfig(**settings),
        seed=seed,
    )


@functools.cache
def _tuned_tasks() -> tuple[str, ...]:
    """Return the installed tasks that say one class of a text."""
    return tuple(task.name for task in load_catalog().every(Task) if task.answers == "class")


@functools.cache
def _watch_tasks() -> tuple[str, ...]:
    """Return the installed tasks by which toys can be watched in any body; first those that need their labels."""
    catalog, facts = load_catalog(), Facts(_TELLING[:2])
    tasks = [catalog.make(Task, cls.name, {}) for cls in catalog.every(Task) if cls.watchable]
    # One that builds a head needs a model that was published with it.
    bare = [task for task in tasks if task.headless and task.check(facts, ("text", "label")) is None]
    return tuple(task.name for task in sorted(bare, key=lambda task: task.check(Facts(), ("text",)) is None))


@functools.cache
def _default_architecture() -> str:
    catalog = load_catalog()
    for name in default_names(catalog, Model):
        found: str = catalog.make(Model, name, {}).published()["architectures"][0]
        return found
    message = "no default model is installed: name an architecture, or pip install 'finetune-harness[quickstart]'"
    raise HarnessError(message)


class DeliveryWarning(UserWarning):
    """What a strategy delivers is less useful than it could be."""


def compute(run: Run, catalog: Catalog, results: Path, *, keep_model: bool = False) -> Outcome:
    """Return the outcome of a run computed in this process and stored under `results`, with its model if that is kept.

    Raises:
        AssertionError: The run failed; shows the trace.
    """
    from harness.engine.worker import perform

    job = Job(run=run, results=results, keep_model=keep_model)
    result = perform(job, catalog, lambda _: None, Place(cpu=True))
    if isinstance(result, Failure):
        message = f"the run failed: {result.reason}\n{result.trace}"
        raise AssertionError(message)
    return result


def runner_here(results: Path, catalog: Catalog, say: Callable[[str], None] = lambda _: None) -> Runner:
    """Return what carries out plans in this process, with a catalog's components; `say` is told what a user would be."""
    executor = next(cls for cls in catalog.every(Executor) if cls.here)
    return Runner(Store(results), catalog, catalog.make(Executor, executor.name, {"cpu": True}), say)


def check_strategy(strategy: Strategy) -> None:
    """Check a strategy against its contract, by tuning a tiny model twice, through two stages if it can.

    What it delivers is loaded again by the library's own loader and must answer as the tuned model did.

    Raises:
        AssertionError: What it does not keep.

    Warns:
        DeliveryWarning: What it delivers is loaded by no library, or is much larger than what it trained.
    """
    check_component(strategy)
    try:
        TrainConfig(**dict(strategy.training([])))
    except ValidationError as error:
        message = f"{strategy.name}: defaults are not training settings: {error}"
        raise AssertionError(message) from None
    installed = load_catalog()
    known = strategy.name in installed.offers["strategy"]
    catalog = toy_catalog(installed if known else with_plugin(installed, _Offering(type(strategy)), strategy.name))
    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder) / "model")
        tasks = [catalog.make(Task, _tuned_tasks()[0], {})] * 2
        stages = 1 if strategy.check(TinyModel(path=str(model)), tasks) else 2
        run = toy_run(catalog, model, strategy, stages=stages)
        first = compute(run, catalog, Path(folder) / "first", keep_model=True)
        second = compute(run, catalog, Path(folder) / "second")
        stores = [Store(Path(folder) / name) for name in ("first", "second")]
        _check(first.ship_bytes > 0, f"{strategy.name}: nothing would be delivered")
        _check(first.parameters_trained == second.parameters_trained, f"{strategy.name}: trains now this, now that")
        cells = {(e.moment, e.problem) for e in first.evaluations if e.undefined is None}
        wanted = {(moment, stage) for stage in range(stages) for moment in range(stage + 1, stages + 1)}
        wanted |= {(moment, stages + at) for moment in range(stages + 1) for at in range(len(run.watch))}
        _check(cells == wanted, f"{strategy.name}: predictions are missing or too many: {sorted(cells ^ wanted)}")
        for cell in sorted(cells):
            a, b = (store.predictions(run, *cell) for store in stores)
            _check(bool(np.isfinite(a.outputs).all()), f"{strategy.name}: predicts what is not a number (cell {cell})")
            _check(np.array_equal(a.outputs, b.outputs), f"{strategy.name}: the same run twice differs (cell {cell})")
        _check_delivery(strategy, run, first, stores[0], catalog)


def _check_delivery(strategy: Strategy, run: Run, outcome: Outcome, store: Store, catalog: Catalog) -> None:
    """Check that what a run has kept answers, loaded again, as its predictions say."""
    from harness.delivery.load import Delivered
    from harness.delivery.manifest import read_manifest
    from harness.delivery.rescore import TOLERANCES, compare
    from harness.engine.cache import Cache
    from harness.engine.data import prepare

    kept, several = store.folder(run) / "model", len(run.stages) > 1
    for index, problem in enumerate(run.stages):
        folder = kept / f"stage-{index + 1}" if several else kept
        manifest = read_manifest(folder)
        if manifest.kind == "none":
            if strategy.role != "floor":
                message = f"{strategy.name}: what it delivers cannot be used elsewhere: {manifest.reason}"
                warnings.warn(message, DeliveryWarning, stacklevel=3)
            continue
        test = prepare(catalog.restore(Dataset, problem.dataset), problem.dataset, Cache(store.cache)).splits["test"]
        delivered = Delivered(folder, device="cpu", catalog=catalog)
        found = delivered.evaluate({name: test[name][:] for name in test.column_names})
        expected = store.predictions(run, len(run.stages), index)
        differing = compare(expected, found, delivered.task.answers, TOLERANCES["float32"]).unequal
        _check(
            not len(differing),
            f"{strategy.name}: what it delivers answers {len(differing)} of {len(expected.ids)} items otherwise than the tuned model "
            f"(stage {index + 1}, loaded by {delivered.loader})",
        )
    most = _SPARE_BYTES + _MUCH * 4 * outcome.parameters_trained
    if outcome.ship_bytes > most and strategy.role != "floor":
        message = (
            f"{strategy.name}: trains {outcome.parameters_trained:,} parameters and would ship {outcome.ship_bytes:,} bytes: where "
            "less than the whole model is needed, declare that with stage.ship"
        )
        warnings.warn(message, DeliveryWarning, stacklevel=3)


def check_metric(metric: Metric, outputs: NDArray[Any], targets: NDArray[Any], expected: float) -> None:
    """Check a metric against its contract and a known value, within 1e-6.

    Raises:
        AssertionError: What it does not keep.
    """
    check_component(metric)
    value = metric.score(outputs, targets)
    _check(isinstance(value, float), f"{metric.name}: the score is a {type(value).__name__}, not a float")
    _check(abs(value - expected) <= 1e-6, f"{metric.name}: the score is {value}, not {expected}")
    order = np.random.default_rng(0).permutation(len(targets))
    again = metric.score(outputs[order], targets[order])
    _check(abs(again - value) <= 1e-9, f"{metric.name}: the score depends on the order of the items")
    try:
        nothing = metric.score(outputs[:0], targets[:0])
    except (UndefinedError, ValueError):
        return
    _check(bool(np.isnan(nothing)), f"{metric.name}: no items give {nothing}: raise UndefinedError")


def check_component(component: Component) -> None:
    """Check what every component must keep: a name, a first line, light to import, and made again from its record.

    Raises:
        AssertionError: What it does not keep.
    """
    cls = type(component)
    summary = (cls.__doc__ or "").strip().partition("\n")[0]
    _check(bool(summary), f"{cls.__name__} has no docstring: its first line is what `harness list` prints")
    _check(isinstance(component.version, int), f"{component.name}: the version must be a whole number")
    reference = component.reference()
    again = cls(**{**reference.params, **reference.location})
    _check(again == component, f"{kind_of(cls)} {component.name!r} is not the same when made again from its record")
    _check_light(cls.__module__)


def _check_light(module: str) -> None:
    heavy: Sequence[str] = ("torch", "transformers", "peft", "datasets", "pandas", "sklearn")
    code = f"import sys, {module}; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode == 0:  # a module made up in a test cannot be imported, and need not be
        found = done.stdout.split()
        _check(not found, f"importing {module} imports {', '.join(found)}: import them inside methods")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
