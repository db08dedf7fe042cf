"""Every strategy on every task, kept, loaded again by the public loaders in another process, answers as it was measured.

That process is one for all models, because each would spend most of its time on imports; it has tuned nothing.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from harness.catalog import Catalog
from harness.contracts import Dataset, Strategy, Task
from harness.delivery.load import Delivered
from harness.delivery.manifest import read_manifest
from harness.delivery.transform import merge
from harness.engine.cache import Cache
from harness.engine.data import prepare
from harness.engine.worker import perform
from harness.records import Failure, Job, Place, Run, TaskData, TrainConfig
from harness.store import Store
from harness.testing import TinyModel, toy_catalog, write_tiny_model

MODELS = {"encoder": None, "decoder": "LlamaForCausalLM"}
WORDS = ("film", "plot", "actor", "scene", "the", "very")


def sentences(count: int = 48) -> list[str]:
    return [
        f"{WORDS[n % 6]} {WORDS[n // 6 % 6]} {'good' if n % 2 else 'bad'} {WORDS[n // 36]} {WORDS[(n * 5) % 6]}"
        for n in range(count)
    ]


def rows(task: str) -> tuple[str, str]:  # noqa: PLR0911 - a form for each task
    """Return a file's ending, and its content for a task."""
    texts = sentences()
    match task:
        case "text-classification":
            return ".csv", "text,label\n" + "".join(f"{t},{'yes' if 'good' in t else 'no'}\n" for t in texts)
        case "multi-label-classification":
            return ".jsonl", "".join(
                json.dumps({"text": t, "label": [w for w in ("film", "good", "bad") if w in t]}) + "\n" for t in texts
            )
        case "regression":
            return ".csv", "text,label\n" + "".join(f"{t},{n % 7 / 3 + ('good' in t)}\n" for n, t in enumerate(texts))
        case "token-classification":
            return ".conll", "".join(
                "".join(f"{w} {'B-a' if w in ('good', 'bad') else 'O'}\n" for w in t.split()) + "\n" for t in texts
            )
        case "tagging":
            return ".conll", "".join(
                "".join(f"{w} {'ADJ' if w in ('good', 'bad') else 'NOUN'}\n" for w in t.split()) + "\n" for t in texts
            )
        case "question-answering":
            lines = [
                {
                    "question": "is it good",
                    "context": t,
                    "answers": {"text": [t.split()[2]], "answer_start": [t.index(t.split()[2])]},
                }
                for t in texts
            ]
            return ".jsonl", "".join(json.dumps(line) + "\n" for line in lines)
        case "completion":
            return ".jsonl", "".join(
                json.dumps({"prompt": t.rsplit(" ", 2)[0], "completion": f" {t.split()[2]} film"}) + "\n" for t in texts
            )
    return ".txt", "\n\n".join(texts)


PARAMS = {"regression": {"numeric": True}}
TASKS = (
    "text-classification", "multi-label-classification", "regression", "token-classification", "tagging", "question-answering",
    "completion", "language-modelling",
)  # fmt: skip
STRATEGIES = (
    "full", "last-layers", "bitfit", "frozen", "frozen-ridge", "nearest-centroid", "lp-ft", "lora", "dora", "rslora", "pissa", "adalora",
    "ia3", "vera", "oft", "prefix", "prompt", "layernorm", "untuned",
)  # fmt: skip


ASKED = """
import json, sys
from pathlib import Path
from harness.delivery.rescore import _ask
from harness.errors import HarnessError
for line in sys.stdin:
    folder, texts = map(Path, json.loads(line))
    try:
        said = _ask(folder, texts, onnx=False)
    except HarnessError as error:
        said = {"problem": str(error)}
    print(json.dumps(said), flush=True)
"""
UNMERGEABLE = {"prefix", "prompt"}
"""What stands before the text is no change of a weight."""


@pytest.fixture(scope="module")
def toys() -> Catalog:
    return toy_catalog()


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    made = {
        name: write_tiny_model(folder / name, architecture, initializer_range=0.2)
        for name, architecture in MODELS.items()
    }
    ending = transformers.AutoTokenizer.from_pretrained(made["decoder"])
    ending.eos_token = "[SEP]"
    ending.save_pretrained(made["decoder"])
    return made


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Callable[[Path, Path], dict[str, Any]]]:
    """What asks a process that has tuned nothing how a folder answers texts."""
    with subprocess.Popen(
        [sys.executable, "-c", ASKED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def ask(folder: Path, texts: Path) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps([str(folder), str(texts)]) + "\n")
            process.stdin.flush()
            found: dict[str, Any] = json.loads(process.stdout.readline())
            return found

        yield ask


def asked(toys: Catalog, model: Path, task: str, strategy: str, folder: Path) -> tuple[Run, str | None]:
    """Return a run, and why it is refused when it is planned."""
    suffix, text = rows(task)
    path = folder / f"data{suffix}"
    path.write_text(text, encoding="utf-8")
    data = toys.make(Dataset, "file", {"path": str(path), **PARAMS.get(task, {})})
    made, tiny = toys.make(Task, task, {}), TinyModel(path=str(model))
    params = {"layers": 1} if strategy == "last-layers" else {}
    tuner = toys.make(Strategy, strategy, params)
    settings = {"learning_rate": 1e-2, **tuner.training([made]), "epochs": 1, "batch_size": 8, "max_length": 24}
    run = Run(
        model=tiny.reference(),
        stages=(TaskData(dataset=data.reference(), task=made.reference()),),
        strategy=tuner.reference(),
        train=TrainConfig(**settings),
        seed=0,
    )
    return run, made.check_model(tiny) or tuner.check(tiny, [made])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning")
@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_is_kept_answers_as_it_was_measured(toys, models, elsewhere, tmp_path, kind, task, strategy):
    run, refused = asked(toys, models[kind], task, strategy, tmp_path)
    if refused:
        pytest.skip(refused)
    result = perform(Job(run=run, results=tmp_path / "results", keep_model=True), toys, lambda _: None, Place(cpu=True))
    assert not isinstance(result, Failure), result
    store = Store(tmp_path / "results")
    folder = store.folder(run) / "model"
    if read_manifest(folder).kind == "none":
        assert strategy == "untuned"
        pytest.skip(read_manifest(folder).reason)
    problem = run.stages[0]
    test = prepare(toys.restore(Dataset, problem.dataset), problem.dataset, Cache(store.cache), run.seed).splits["test"]
    expected = store.predictions(run, 1, 0)
    texts = tmp_path / "texts"
    test.save_to_disk(texts / "rows")
    np.savez(texts / "predictions.npz", outputs=expected.outputs, targets=expected.targets, ids=expected.ids)

    assert "problem" not in elsewhere(folder, texts)
    unlabelled = {name: test[name][:2] for name in ("text", "text_pair", "words") if name in test.column_names}
    assert len(Delivered(folder, device="cpu", catalog=toys).answer(unlabelled)) == 2
    if read_manifest(folder).kind == "adapter" and strategy not in UNMERGEABLE:
        merge(folder, catalog=toys)
        said = elsewhere(folder, texts)
        assert (said.get("problem"), said.get("loader")) == (None, "transformers")
    assert len(np.unique(expected.outputs, axis=0)) > 1 or expected.outputs.dtype.kind == "U"
