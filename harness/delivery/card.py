"""The model card of a delivered folder: what it is for, how good it is, what it forgets and costs, how to load it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from huggingface_hub import ModelCardData

from harness.delivery.manifest import CARD, ONNX, Manifest
from harness.store import write_atomically

_LIBRARIES = {
    "whole": "transformers",
    "adapter": "peft",
    "pooled": "sentence-transformers",
    "onnx": "onnx",
    "none": None,
}
_SHOWN = 50
"""Classes that a card lists."""


def write_card(folder: Path, manifest: Manifest, name: str) -> None:
    """Write `README.md`, in place of what a library has written.

    Args:
        folder: The model's folder as it is now.
        manifest: What it is.
        name: What the folder will be called.
    """
    from huggingface_hub import ModelCard

    onnx = (folder / ONNX).is_file()
    text = f"---\n{_metadata(manifest, name).to_yaml()}\n---\n\n" + "\n".join(_lines(manifest, name, onnx=onnx)) + "\n"
    write_atomically(folder / CARD, str(ModelCard(text)))


def _pipeline(auto_class: str | None) -> str | None:
    """Return what the hub and the library's pipelines call what a class of transformers is for; None if they have no word for it."""
    import transformers
    from transformers.pipelines import PIPELINE_REGISTRY

    cls = getattr(transformers, auto_class or "", None)
    return next((task for task, found in PIPELINE_REGISTRY.supported_tasks.items() if cls in found["pt"]), None)


def _metadata(manifest: Manifest, name: str) -> ModelCardData:
    from huggingface_hub import EvalResult

    pipeline = _pipeline(manifest.auto_class)
    scores = [line for line in manifest.scores if line.metric and line.value is not None]
    return ModelCardData(
        license=(manifest.base.licence or "unknown").lower(),
        library_name=_LIBRARIES[manifest.kind],
        pipeline_tag=pipeline,
        base_model=None if manifest.base.local else manifest.base.path,
        tags=["harness", manifest.strategy.name],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type=pipeline or manifest.task.name,
                dataset_type=manifest.dataset.name,
                dataset_name=f"{manifest.data}, test split",
                metric_type=str(line.metric),
                metric_name=line.title,
                metric_value=round(line.value or 0.0, 4),
            )
            for line in scores
        ]
        or None,
    )


def _lines(manifest: Manifest, name: str, *, onnx: bool) -> Iterator[str]:
    base = manifest.base
    arm = manifest.arm or manifest.strategy.name
    yield f"# {name}"
    yield ""
    yield (
        f"`{base.name}` tuned by `{arm}` (strategy `{manifest.strategy.name}`) for the task `{manifest.task.name}` on the dataset "
        f"`{manifest.data}`, seed {manifest.seed}, run `{manifest.run}`."
    )
    yield from _use(manifest)
    yield from _loading(manifest, name, onnx=onnx)
    yield from _scores(manifest)
    yield from _data(manifest)
    yield from _limits(manifest)
    yield from _checked(manifest)


def _use(manifest: Manifest) -> Iterator[str]:
    yield from ("", "## Use", "")
    what = {
        "AutoModelForSequenceClassification": "It reads a text and gives a score for each class or number it was tuned on.",
        "AutoModelForTokenClassification": "It reads a text and gives each token a tag.",
        "AutoModelForQuestionAnswering": "It reads a question and a passage and finds the answer in the passage.",
        "AutoModelForCausalLM": "It reads a prompt and writes what follows.",
        "AutoModelForMaskedLM": "It predicts hidden tokens of a text.",
    }
    yield what.get(manifest.auto_class or "", "It answers the task it was tuned on.")
    if manifest.classes:
        more = f" and {len(manifest.classes) - _SHOWN} more" if len(manifest.classes) > _SHOWN else ""
        yield ""
        yield f"Classes, in the order of their numbers: {', '.join(f'`{name}`' for name in manifest.classes[:_SHOWN])}{more}."


def _loading(manifest: Manifest, name: str, *, onnx: bool) -> Iterator[str]:
    yield from ("", "## Loading", "")
    if manifest.kind == "none":
        yield f"No library loads it: {manifest.reason}."
        return
    yield from ("```python", *snippet(manifest, name), "```", "")
    writes = manifest.auto_class == "AutoModelForCausalLM"
    cut = (
        f"Of a longer prompt the last {manifest.max_length - 1} tokens are kept"
        if writes
        else f"Texts are cut at {manifest.max_length} tokens"
    )
    yield (
        f"{cut}, as when it was measured. `harness predict {name} FILE` and "
        f'`harness.load("{name}").predict(texts)` do all of this.'
    )
    if manifest.kind == "adapter":
        place = (
            f"The base is the hub's `{manifest.base.path}` at revision `{manifest.base.revision}`."
            if not manifest.base.local
            else f"The base is the folder `{manifest.base.path}`, relative to this one (sha256 of its weights "
            f"`{manifest.base.sha256}`): PEFT looks for it from the working directory, so begin in this folder."
        )
        yield from ("", place)
    if onnx:
        yield from (
            "",
            f"`{ONNX}` is the whole model as one graph, for onnxruntime:",
            "",
            "```python",
            "import onnxruntime, transformers",
            f'tokenizer = transformers.AutoTokenizer.from_pretrained("{name}")',
            f'graph = onnxruntime.InferenceSession("{name}/{ONNX}")',
            'scores = graph.run(None, dict(tokenizer(["a text"], truncation=True, padding=True, return_tensors="np")))[0]',
            "```",
        )


def snippet(manifest: Manifest, name: str) -> Sequence[str]:
    """Return the lines of Python that load a folder of this name by its library."""
    auto = manifest.auto_class
    pipeline = _pipeline(auto)
    if manifest.kind == "pooled":
        return (
            "from sentence_transformers import SentenceTransformer",
            f'model = SentenceTransformer("{name}")',
            'scores = model.encode(["a text"])  # one per class, before softmax; argmax is the class number',
        )
    if manifest.kind == "adapter":
        loader = f"AutoPeft{str(auto).removeprefix('Auto')}"
        if auto == "AutoModelForMaskedLM":
            loader = "AutoPeftModel"
        count = manifest.settings.get("num_labels")
        extra = f", num_labels={count}" if count and not (manifest.base.local and manifest.base.path == "base") else ""
        here = "." if manifest.base.local else name
        return (
            f"from peft import {loader}",
            "from transformers import AutoTokenizer",
            f'model, tokenizer = {loader}.from_pretrained("{here}"{extra}).eval(), AutoTokenizer.from_pretrained("{here}")',
        )
    if pipeline and auto not in ("AutoModelForCausalLM", "AutoModelForMaskedLM"):
        extra = ", truncation=True" if auto == "AutoModelForSequenceClassification" else ""
        return (
            "from transformers import pipeline",
            f'answer = pipeline("{pipeline}", "{name}"{extra})',
            'answer("a text")',
        )
    return (
        f"from transformers import {auto}, AutoTokenizer",
        f'model = {auto}.from_pretrained("{name}").eval()',
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")',
    )


def _scores(manifest: Manifest) -> Iterator[str]:
    if not manifest.scores:
        return
    seeds = ", ".join(map(str, manifest.seeds))
    several = f"means over {len(manifest.seeds)} seeds ({seeds}), with 95 % intervals over seeds and test items"
    one = f"one seed ({seeds}), so without an interval"
    yield from ("", "## Scores, forgetting and cost", "")
    yield f"From the comparison `{manifest.experiment}`: {several if len(manifest.seeds) > 1 else one}."
    if manifest.all_data:
        yield (
            "**This model was tuned once more on all splits, the test split included. The numbers are those of the comparison's models, "
            "which were tuned on the train split alone; no text is left that would test this one.**"
        )
    yield from ("", "| | | value |", "|---|---|---|")
    for line in manifest.scores:
        yield f"| {line.group} | {line.title} | {line.text.replace('|', '/')} |"


def _data(manifest: Manifest) -> Iterator[str]:
    yield from ("", "## Data", "")
    rows = ", ".join(f"{count:,} {name}" for name, count in manifest.rows.items())
    yield f"`{manifest.data}`: {rows} rows. Licence: {manifest.licence or 'not known'}."
    if manifest.citation:
        yield from ("", manifest.citation)
    yield from ("", f"Base model `{manifest.base.name}`. Licence: {manifest.base.licence or 'not known'}.")


def _limits(manifest: Manifest) -> Iterator[str]:
    yield from ("", "## Limits", "")
    yield f"- It was measured on texts like those of `{manifest.data}`; of others nothing is known."
    yield f"- A text of more than {manifest.max_length} tokens is cut, or read in windows where the task does so."
    if manifest.classes:
        yield "- It always answers with one of the classes it was tuned on, whatever the text."
    if manifest.auto_class == "AutoModelForCausalLM":
        yield "- It may write what is wrong; nothing but the task's test split was looked at."


def _checked(manifest: Manifest) -> Iterator[str]:
    yield from ("", "## Check", "")
    if not manifest.rescored:
        yield "Kept by a run; not yet loaded again and compared with the stored predictions. `harness export` does that."
        return
    for found in manifest.rescored:
        by = "" if found.largest_difference is None else f"; scores differ by at most {found.largest_difference:.1e}"
        yield (
            f"- Loaded by {found.loader} in a fresh process, on {found.device}: {found.equal:,} of {found.items:,} test items are answered "
            f"as they were when the scores were measured{by}."
        )
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    yield from ("", f"Tuned with {versions}. `harness.json` has all settings, and the sha256 of every file.")
