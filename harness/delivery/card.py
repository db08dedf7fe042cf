"""Model card of a delivered folder: use, loading, scores, forgetting, cost and limits."""

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
"""Maximum number of classes listed in a card."""


def write_card(folder: Path, manifest: Manifest, name: str) -> None:
    """Write `README.md`, replacing the one that a library wrote.

    Args:
        folder: The model's current folder.
        manifest: Description of the model.
        name: Final name of the folder.
    """
    from huggingface_hub import ModelCard

    onnx = (folder / ONNX).is_file()
    text = f"---\n{_metadata(manifest, name).to_yaml()}\n---\n\n" + "\n".join(_lines(manifest, name, onnx=onnx)) + "\n"
    write_atomically(folder / CARD, str(ModelCard(text)))


def _pipeline(auto_class: str | None) -> str | None:
    """Return the pipeline task of a transformers class, as named by the hub; None if it has none."""
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
        f"`{base.name}` tuned with `{arm}` (strategy `{manifest.strategy.name}`) for the task `{manifest.task.name}` on the dataset "
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
        "AutoModelForSequenceClassification": "Takes a text and returns a score for each class or number it was tuned on.",
        "AutoModelForTokenClassification": "Takes a text and returns a tag for each token.",
        "AutoModelForQuestionAnswering": "Takes a question and a passage and returns the answer span in the passage.",
        "AutoModelForCausalLM": "Takes a prompt and generates its continuation.",
        "AutoModelForMaskedLM": "Predicts the masked tokens of a text.",
    }
    yield what.get(manifest.auto_class or "", "Makes predictions for the task it was tuned on.")
    if manifest.classes:
        more = f" and {len(manifest.classes) - _SHOWN} more" if len(manifest.classes) > _SHOWN else ""
        yield ""
        yield f"Classes, in index order: {', '.join(f'`{name}`' for name in manifest.classes[:_SHOWN])}{more}."


def _loading(manifest: Manifest, name: str, *, onnx: bool) -> Iterator[str]:
    yield from ("", "## Loading", "")
    if manifest.kind == "none":
        yield f"No public library can load this model: {manifest.reason}."
        return
    yield from ("```python", *snippet(manifest, name), "```", "")
    writes = manifest.auto_class == "AutoModelForCausalLM"
    cut = (
        f"Longer prompts are truncated to their last {manifest.max_length - 1} tokens"
        if writes
        else f"Texts are truncated to {manifest.max_length} tokens"
    )
    yield (
        f"{cut}, as in the evaluation. `harness predict {name} FILE` and "
        f'`harness.load("{name}").predict(texts)` do this automatically.'
    )
    if manifest.kind == "adapter":
        place = (
            f"The base model is `{manifest.base.path}` on the Hugging Face Hub, revision `{manifest.base.revision}`."
            if not manifest.base.local
            else f"The base model is the folder `{manifest.base.path}`, relative to this folder (sha256 of its weights "
            f"`{manifest.base.sha256}`): PEFT resolves this path from the working directory, so run the code in this folder."
        )
        yield from ("", place)
    if onnx:
        yield from (
            "",
            f"`{ONNX}` contains the complete model as one graph for onnxruntime:",
            "",
            "```python",
            "import onnxruntime, transformers",
            f'tokenizer = transformers.AutoTokenizer.from_pretrained("{name}")',
            f'graph = onnxruntime.InferenceSession("{name}/{ONNX}")',
            'scores = graph.run(None, dict(tokenizer(["a text"], truncation=True, padding=True, return_tensors="np")))[0]',
            "```",
        )


def snippet(manifest: Manifest, name: str) -> Sequence[str]:
    """Return the Python lines that load a folder of this name with its library."""
    auto = manifest.auto_class
    pipeline = _pipeline(auto)
    if manifest.kind == "pooled":
        return (
            "from sentence_transformers import SentenceTransformer",
            f'model = SentenceTransformer("{name}")',
            'scores = model.encode(["a text"])  # one logit per class; argmax gives the class index',
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
    several = (
        f"means over {len(manifest.seeds)} seeds ({seeds}), with 95 % confidence intervals over seeds and test items"
    )
    one = f"one seed ({seeds}), no confidence interval"
    yield from ("", "## Scores, forgetting and cost", "")
    yield f"From the comparison `{manifest.experiment}`: {several if len(manifest.seeds) > 1 else one}."
    if manifest.all_data:
        yield (
            "**This model was tuned again on all splits, including the test split. The scores are those of the comparison's models, "
            "which were tuned on the train split only; no data is left to test this model.**"
        )
    yield from ("", "| Group | Measure | Value |", "|---|---|---|")
    for line in manifest.scores:
        yield f"| {line.group} | {line.title} | {line.text.replace('|', '/')} |"


def _data(manifest: Manifest) -> Iterator[str]:
    yield from ("", "## Data", "")
    rows = ", ".join(f"{count:,} {name}" for name, count in manifest.rows.items())
    yield f"`{manifest.data}`: {rows} rows. Licence: {manifest.licence or 'unknown'}."
    if manifest.citation:
        yield from ("", manifest.citation)
    yield from ("", f"Base model `{manifest.base.name}`. Licence: {manifest.base.licence or 'unknown'}.")


def _limits(manifest: Manifest) -> Iterator[str]:
    yield from ("", "## Limits", "")
    yield f"- Evaluated only on texts like those of `{manifest.data}`; its quality on other texts is unknown."
    yield f"- Texts of more than {manifest.max_length} tokens are truncated, or read in windows if the task supports this."
    if manifest.classes:
        yield "- Always predicts one of the classes it was tuned on, for any text."
    if manifest.auto_class == "AutoModelForCausalLM":
        yield "- May generate wrong statements; only the task's test split was evaluated."


def _checked(manifest: Manifest) -> Iterator[str]:
    yield from ("", "## Check", "")
    if not manifest.rescored:
        yield "Saved by a run; not yet reloaded and compared with the stored predictions. `harness export` does this."
        return
    for found in manifest.rescored:
        by = "" if found.largest_difference is None else f"; scores differ by at most {found.largest_difference:.1e}"
        yield (
            f"- Loaded with {found.loader} in a new process on {found.device}: {found.equal:,} of {found.items:,} test items have the "
            f"same predictions as in the evaluation{by}."
        )
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    yield from ("", f"Tuned with {versions}. `harness.json` lists all settings and the sha256 of every file.")
