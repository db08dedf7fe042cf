"""`harness new`: write a template plugin that can be installed and passes its test."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from harness.errors import HarnessError, unknown

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

_PROJECT = Template("""[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "harness-$name"
version = "0.1.0"
description = "$title, a $kind for finetune-harness"
requires-python = ">=3.11"
dependencies = ["finetune-harness"]

[project.optional-dependencies]
test = ["pytest"]

[project.entry-points.harness]
$name = "$module"

[tool.hatch.build.targets.wheel]
only-include = ["$module.py"]
""")

_README = Template("""# harness-$name

A $kind for `harness`, in [$module.py]($module.py).

    pip install --editable '.[test]'
    pytest                      # checks the plugin's contract
    harness describe $kind $name
""")

_CODE = {
    "strategy": '''"""$title: describe in one line what is trained, and cite the paper."""

import harness


class $cls(harness.Strategy):
    """Train the norms and the head; freeze everything else.

    Source: authors, year (title, link).
    """

    name = "$name"
    defaults = {"learning_rate": 1e-3}

    def tune(self, stage: harness.Stage):
        for name, parameter in stage.model.named_parameters():
            parameter.requires_grad = "norm" in name.lower()
        stage.head.requires_grad_(True)
        return stage.fit(stage.model)


@harness.hookimpl
def harness_strategies():
    return [$cls]
''',
    "dataset": '''"""$title: describe in one line the texts and labels, and where they come from."""

import harness

ROWS = [("the invoice is wrong", 0), ("it does not start", 1)]


class $cls(harness.Dataset):
    """Describe in one line the texts and labels."""

    name = "$name"
    task = "text-classification"
    watch_task = "probe"

    def fingerprint(self) -> str:
        return "1"  # must change when the data changes: a date, a revision, or harness.hash_files([...])

    def read(self) -> harness.Data:
        import datasets

        rows = [(f"{text}, case {number}", label) for number in range(30) for text, label in ROWS]
        train = datasets.Dataset.from_dict({"text": [text for text, _ in rows], "label": [label for _, label in rows]})
        return harness.Data({"train": train}, harness.Facts(("billing", "technical"), licence="unknown"))


@harness.hookimpl
def harness_datasets():
    return [$cls]
''',
    "metric": '''"""$title: describe in one line what is measured, and cite the paper."""

import numpy as np

import harness


class $cls(harness.Ratio):
    """Describe in one line what is measured.

    A score that is not a ratio of sums over items is a `harness.Metric` with a method `score`.

    Source: authors, year (title, section, link).
    """

    name = "$name"
    title = "$title"
    better = "lower"
    bounds = (0.0, 1.0)

    def items(self, outputs, targets):
        """Return what each item adds to the numerator and the denominator, `[n, 2]`: here, the error rate."""
        return np.stack([outputs.argmax(1) != targets, np.ones(len(targets))], axis=1)


@harness.hookimpl
def harness_metrics():
    return [$cls]
''',
    "task": '''"""$title: describe in one line what is predicted for a text."""

import harness


class $cls(harness.Task):
    """Describe in one line what is predicted for a text."""

    name = "$name"
    metrics = ("accuracy",)
    answers = "class"

    def build(self, load: harness.Loader, facts: harness.Facts):
        return load("AutoModelForSequenceClassification", num_labels=len(facts.classes))

    def check(self, facts: harness.Facts, columns) -> str | None:
        return None if facts.classes and "label" in columns else "needs texts, each with one class"

    def loss(self, model, batch):
        """Return the sum of the items' losses, a scalar."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(self.predict(model, batch), batch["labels"], reduction="sum")

    def predict(self, model, batch):
        """Return the score of each class for each item, `[b, classes]`."""
        return model(**{name: tensor for name, tensor in batch.items() if name != "labels"}).logits.float()


@harness.hookimpl
def harness_tasks():
    return [$cls]
''',
    "executor": '''"""$title: describe in one line where runs are computed."""

import subprocess
import sys

import harness

COMPUTE = """
import sys, harness
with open(sys.argv[2], "w", encoding="utf-8") as file:
    file.write(harness.compute(harness.Job.model_validate_json(sys.argv[1])).model_dump_json())
"""


class $cls(harness.Executor):
    """Describe in one line where runs are computed."""

    name = "$name"

    def run(self, jobs, host: harness.Host):
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            answer = Path(folder) / "answer.json"
            for job in jobs:
                answer.unlink(missing_ok=True)
                done = subprocess.run([sys.executable, "-c", COMPUTE, job.model_dump_json(), str(answer)], check=False)
                if not answer.exists():
                    reason = f"its process ended with exit code {done.returncode}"
                    yield job, harness.Failure(run_id=job.run.id, status="lost", reason=reason)
                    continue
                yield job, harness.parse_result(answer.read_text(encoding="utf-8"))


@harness.hookimpl
def harness_executors():
    return [$cls]
''',
}

_CHECKS = {
    "strategy": "check_strategy($cls())",
    "dataset": "check_dataset($cls())",
    "metric": "check_metric($cls(), np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]), expected=0.5)",
    "task": "check_task($cls())",
    "executor": "check_executor($cls())",
}

_TEST = Template("""${imports}from harness.testing import $check
from $module import $cls


def test_it_keeps_the_contract():
    $call
""")


def new(
    kind: Annotated[str, typer.Argument(help=f"Kind of component: {', '.join(_CODE)}.", show_default=False)],
    name: Annotated[str, typer.Argument(help="Name of the plugin, such as my-lora.", show_default=False)],
    folder: Annotated[Path, typer.Option(help="Folder in which to create harness-NAME.")] = Path(),
) -> None:
    """Write a template plugin: a package with a test that passes."""
    if kind not in _CODE:
        raise unknown("kind", kind, _CODE)
    if not _NAME.fullmatch(name):
        message = (
            f"{name!r} is not a valid plugin name: use lower-case letters, digits and single hyphens, such as my-lora"
        )
        raise HarnessError(message)
    place = folder / f"harness-{name}"
    if place.exists():
        message = f"{str(place)!r} already exists, and new does not overwrite folders: choose another name"
        raise HarnessError(message)
    for path, text in files(kind, name).items():
        target = place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    sys.stdout.write(
        f"{place}\n\n    cd {place}\n    pip install --editable '.[test]'\n    pytest\n    harness describe {kind} {name}\n"
    )


def files(kind: str, name: str) -> dict[str, str]:
    """Return the files of a plugin, by path."""
    words = name.split("-")
    known = {
        "kind": kind,
        "name": name,
        "module": f"harness_{'_'.join(words)}",
        "cls": "".join(word.capitalize() for word in words),
        "title": " ".join(words).capitalize(),
        "check": f"check_{kind}",
        "imports": "import numpy as np\n\n" if kind == "metric" else "",
    }
    known["call"] = Template(_CHECKS[kind]).substitute(known)
    return {
        "pyproject.toml": _PROJECT.substitute(known),
        "README.md": _README.substitute(known),
        f"{known['module']}.py": Template(_CODE[kind]).substitute(known),
        f"tests/test_{known['module']}.py": _TEST.substitute(known),
    }
