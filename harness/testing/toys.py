"""Small components for tests: a model with 30 thousand random weights, and sentences where one word determines the class."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from harness.catalog import PLURALS, Catalog, kind_of, load_catalog, with_plugin
from harness.contracts import (
    Component,
    Data,
    Dataset,
    Executor,
    Facts,
    Model,
    ModelSource,
    Strategy,
    Task,
    hash_files,
)
from harness.errors import HarnessError
from harness.experiment.plan import default_names
from harness.hookspecs import hookimpl
from harness.records import Failure, Job, Outcome, Place, Run, TaskData, TrainConfig
from harness.runner.plans import Runner
from harness.store import Store

if TYPE_CHECKING:
    pass

NEUTRAL = ("the", "a", "film", "plot", "actor", "scene", "is", "was", "very", "and", "of", "it")
TELLING = ("good", "bad", "dull", "bright", "loud", "calm")


class TinyModel(Model):
    """A tiny random encoder in a folder, for tests."""

    name = "tiny"
    locating = frozenset({"path"})

    path: str = Field(description="folder written by write_tiny_model")

    def locate(self) -> ModelSource:
        """Return the folder."""
        return ModelSource(self.path, None, hash_files(sorted(Path(self.path).glob("*.safetensors"))), None)


class ToyDataset(Dataset):
    """Sentences where one word determines the class, for tests."""

    name = "toy"

    rows: int = Field(60, description="number of sentences")
    classes: int = Field(2, ge=1, le=len(TELLING), description="number of classes")
    seed: int = Field(0, description="seed of the sentences")

    def read(self) -> Data:
        """Return all sentences as `train`."""
        import datasets

        random = np.random.default_rng([self.seed, self.classes])
        labels = [number % self.classes for number in range(self.rows)]
        texts = []
        for number, label in enumerate(labels):
            words = [*random.choice(NEUTRAL, size=int(random.integers(3, 9))), TELLING[label], NEUTRAL[number % 12]]
            texts.append(" ".join([*words, *(NEUTRAL[int(digit)] for digit in str(number))]))
        train = datasets.Dataset.from_dict({"text": texts, "label": labels})
        return Data({"train": train}, Facts(TELLING[: self.classes], "public domain", None))

    def task_for(self, *, watched: bool) -> str:
        """Return the first installed task that suits the toy data."""
        return (watch_tasks() if watched else tuned_tasks())[0]


class _Toys:
    """The toys as a plugin."""

    @hookimpl
    def harness_models(self) -> list[type[Model]]:
        return [TinyModel]

    @hookimpl
    def harness_datasets(self) -> list[type[Dataset]]:
        return [ToyDataset]


class Offering:
    """A plugin that offers one component."""

    def __init__(self, component: type[Component]) -> None:
        """Offer a component with the hook of its kind."""

        def offer() -> list[type[Component]]:
            return [component]

        offer.__name__ = f"harness_{PLURALS[kind_of(component)]}"
        setattr(self, offer.__name__, hookimpl(offer))


def with_component(component: Component) -> Catalog:
    """Return a catalog with the installed components, the toys, and a component that need not be installed."""
    installed, cls = load_catalog(), type(component)
    known = cls.name in installed.offers[kind_of(cls)]
    return toy_catalog(installed if known else with_plugin(installed, Offering(cls), cls.name))


def toy_catalog(catalog: Catalog | None = None) -> Catalog:
    """Return a catalog with the toys added; default: the installed components."""
    return with_plugin(catalog or load_catalog(), _Toys(), "toys")


def write_tiny_model(folder: Path, architecture: str | None = None, seed: int = 0, **settings: Any) -> Path:
    """Write a tiny random model with a tokenizer of the toys' words, as `save_pretrained` does; return the folder.

    Args:
        folder: Target folder; created if it does not exist.
        architecture: A transformers class; None for that of the default model.
        seed: Seed of the weights.
        settings: Additional settings of the architecture's configuration.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    architecture = architecture or _default_architecture()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *NEUTRAL, *TELLING]
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
    """Return whether a configuration accepts a setting: some architectures reject a number of layers or positions."""
    try:
        config_class(**{name: value})
    except NotImplementedError:
        return False
    except Exception:  # noqa: BLE001 - invalid alone, but may be valid together with the others
        return True
    return True


def toy_run(catalog: Catalog, model: Path, strategy: Strategy, seed: int = 0, stages: int = 2, **train: Any) -> Run:
    """Return a run of one or two toy stages, watching a third dataset with every task that needs no published head."""

    def problem(dataset: ToyDataset, task: str) -> TaskData:
        return TaskData(dataset=dataset.reference(), task=catalog.make(Task, task, {}).reference())

    settings = {"epochs": 2, "batch_size": 8, "max_length": 24, **strategy.training([]), **train}
    return Run(
        model=TinyModel(path=str(model)).reference(),
        stages=(
            problem(ToyDataset(), tuned_tasks()[0]),
            problem(ToyDataset(classes=3, seed=1), tuned_tasks()[0]),
        )[:stages],
        watch=tuple(problem(ToyDataset(classes=2, seed=2), task) for task in watch_tasks()),
        strategy=strategy.reference(),
        train=TrainConfig(**settings),
        seed=seed,
    )


@functools.cache
def tuned_tasks() -> tuple[str, ...]:
    """Return the installed tasks that predict one class per text."""
    return tuple(task.name for task in load_catalog().every(Task) if task.answers == "class")


@functools.cache
def watch_tasks() -> tuple[str, ...]:
    """Return the installed tasks that can watch the toys with any body, those that need labels first."""
    catalog, facts = load_catalog(), Facts(TELLING[:2])
    tasks = [catalog.make(Task, cls.name, {}) for cls in catalog.every(Task) if cls.watchable]
    # A task that builds a head needs a model published with it.
    bare = [task for task in tasks if task.headless and task.check(facts, ("text", "label")) is None]
    return tuple(task.name for task in sorted(bare, key=lambda task: task.check(Facts(), ("text",)) is None))


@functools.cache
def _default_architecture() -> str:
    catalog = load_catalog()
    for name in default_names(catalog, Model):
        found: str = catalog.make(Model, name, {}).published()["architectures"][0]
        return found
    message = "no default model is installed; give an architecture, or run pip install 'finetune-harness[quickstart]'"
    raise HarnessError(message)


def compute(run: Run, catalog: Catalog, results: Path, *, keep_model: bool = False) -> Outcome:
    """Compute a run in this process, store it under `results` (with its model if `keep_model`), and return its outcome.

    Raises:
        AssertionError: The run failed; contains the trace.
    """
    from harness.engine.worker import perform

    job = Job(run=run, results=results, keep_model=keep_model)
    result = perform(job, catalog, lambda _: None, Place(cpu=True))
    if isinstance(result, Failure):
        message = f"the run failed: {result.reason}\n{result.trace}"
        raise AssertionError(message)
    return result


def runner_here(results: Path, catalog: Catalog, say: Callable[[str], None] = lambda _: None) -> Runner:
    """Return a runner that executes plans in this process with a catalog's components; `say` receives user messages."""
    executor = next(cls for cls in catalog.every(Executor) if cls.here)
    return Runner(Store(results), catalog, catalog.make(Executor, executor.name, {"cpu": True}), say)
