"""`harness export`: write an arm's model to a folder, and check that it reproduces the stored predictions."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
import typer

from harness.analysis.curve import read_curve
from harness.analysis.names import called
from harness.api import open_results
from harness.catalog import Catalog, load_catalog
from harness.cli import options
from harness.contracts import Dataset, Model
from harness.delivery.card import snippet, write_card
from harness.delivery.manifest import NAME, Manifest, ScoreLine, read_manifest, write_manifest
from harness.engine.cache import Cache
from harness.engine.data import prepare
from harness.errors import HarnessError, unknown
from harness.experiment.asked import Asked
from harness.experiment.plan import Arm, Plan
from harness.experiment.search import settle
from harness.records import Failure, Outcome, Predictions, Run, Split
from harness.runner.executors import find_executor
from harness.runner.plans import Runner
from harness.runner.understood import say
from harness.store import Store
from harness.tables.table import tabulate

if TYPE_CHECKING:
    import datasets

Precision = Literal["float32", "bfloat16", "float16"]
_SPARE_BYTES = 50_000_000
"""Free space required in addition to the model's size."""


@options.asking
def export(
    asked: Asked,
    arm: Annotated[
        str | None, typer.Argument(help="Label of the arm (a row of the comparison's table).", show_default=False)
    ] = None,
    folder: Annotated[Path | None, typer.Argument(help="Output folder; it must not exist.", show_default=False)] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Seed of the run; default: the one closest to the arm's mean validation score.",
            rich_help_panel=options.HOW,
        ),
    ] = None,
    stage: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Stage whose head to export, if tuned on several datasets in sequence; default: the last.",
            rich_help_panel=options.HOW,
        ),
    ] = None,
    merged: Annotated[
        bool,
        typer.Option("--merged", help="Merge an adapter into its base model.", rich_help_panel=options.HOW),
    ] = False,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Also write an ONNX graph.", rich_help_panel=options.HOW)
    ] = False,
    all_data: Annotated[
        bool,
        typer.Option(
            "--all-data", help="Tune again on train, validation and test together.", rich_help_panel=options.HOW
        ),
    ] = False,
    dtype: Annotated[
        Precision | None,
        typer.Option(help="Precision of the weights; default: the base model's.", rich_help_panel=options.HOW),
    ] = None,
    results: options.Results = Path("results"),
    cpu: Annotated[bool, typer.Option("--cpu", help="Use the CPU only.", rich_help_panel=options.HOW)] = False,
    without: options.Without = None,
) -> None:
    """Write an arm's model to a folder that transformers, PEFT or sentence-transformers can load, with a model card.

    A fresh process loads the model and predicts the test items; if a prediction differs from the stored one, nothing is
    written. A model that was not saved (compare --keep-models) is tuned again. Takes the same arguments as `compare`.
    """
    if folder is None:
        # Without an experiment or data file, the first argument is the arm.
        asked, arm, folder = replace(asked, target=None), asked.target, None if arm is None else Path(arm)
    if arm is None or folder is None:
        message = "export needs an arm and an output folder: harness export EXPERIMENT ARM FOLDER"
        raise HarnessError(message)
    if folder.exists() or folder.is_symlink():
        message = f"{str(folder)!r} already exists, and export does not overwrite folders: choose another name"
        raise HarnessError(message)
    catalog = load_catalog(without or ())
    store = open_results(results)
    plan = settle(asked.plan(catalog), store, catalog)
    chosen, run, outcome = _choose(plan, store, arm, seed)
    stage = len(run.stages) if stage is None else stage
    if stage > len(run.stages):
        message = f"--stage {stage}: {plan.name} has only {len(run.stages)} stage{'s' * (len(run.stages) > 1)}"
        raise HarnessError(message)
    wanted = _Wanted(merged=merged, onnx=onnx, all_data=all_data, dtype=dtype)
    with _beside(folder) as work:
        _check_room(work, outcome)
        say(f"{arm}: seed {run.seed}, run {run.id}")
        runner = Runner(store, catalog, find_executor(catalog, None, {"cpu": cpu}), say)
        model = _make(plan, chosen, run, outcome, stage, wanted, work / "model", runner)
        write_card(model, read_manifest(model), folder.resolve().name)
        write_manifest(model, read_manifest(model))
        model.rename(folder)
    _show(folder, read_manifest(folder))


class _Wanted(NamedTuple):
    """The requested form of the exported model."""

    merged: bool
    onnx: bool
    all_data: bool
    dtype: Precision | None


def _make(
    plan: Plan,
    arm: Arm,
    run: Run,
    outcome: Outcome,
    stage: int,
    wanted: _Wanted,
    place: Path,
    runner: Runner,
) -> Path:
    """Write a run's model with its manifest in the requested form, check its predictions, and return its folder.

    Raises:
        HarnessError: The model cannot be written, or its predictions differ from the stored ones.
    """
    store, catalog = runner.store, runner.catalog
    run = run.model_copy(update={"all_data": True}) if wanted.all_data else run
    _obtain(run, arm.label, place, plan, runner)
    model = place / f"stage-{stage}" if len(run.stages) > 1 else place
    write_manifest(model, _described(plan, arm, store, catalog, read_manifest(model)))
    data = run.stages[stage - 1].dataset
    splits = prepare(
        catalog.restore(Dataset, data), data, Cache(store.cache), None if run.all_data else run.seed
    ).splits
    expected = store.predictions(run, len(run.stages), stage - 1)
    _finish(model, splits, expected, catalog.restore(Model, run.model), outcome, wanted)
    return model


def _choose(plan: Plan, store: Store, label: str, seed: int | None) -> tuple[Arm, Run, Outcome]:
    """Return the arm and the finished run to export.

    Raises:
        HarnessError: The arm does not exist, learns nothing, or has no such finished run.
    """
    arms = {arm.label: arm for arm in plan.arms}
    if label not in arms:
        raise unknown("arm", label, arms)
    arm = arms[label]
    if arm.role == "baseline":
        message = f"arm {label!r} is a baseline and has no model to export: choose another arm"
        raise HarnessError(message)
    seeds = [run.seed for run in arm.runs]
    if seed is not None and seed not in seeds:
        message = f"--seed {seed}: arm {label!r} has only the seeds {', '.join(map(str, seeds))}"
        raise HarnessError(message)
    asked = [run for run in arm.runs if seed in (None, run.seed)]
    if seed is not None or len(asked) == 1:
        outcome = store.outcome(asked[0])  # raises if the run is damaged
        finished = [] if outcome is None else [(asked[0], outcome)]
    else:
        finished = [(run, outcome) for run in asked if (outcome := store.sound(run)) is not None]
    if not finished:
        failures = [failure for run in asked if (failure := store.failure(run))]
        why = f" ({failures[0].status}: {failures[0].reason})" if failures else ""
        message = f"arm {label!r} has no finished run{'' if seed is None else f' of seed {seed}'}{why}: run harness compare with the same arguments first"
        raise HarnessError(message)
    scores = [_validation(store, run) for run, _ in finished]
    known = [score for score in scores if score is not None]
    if len(known) < len(finished):
        return arm, *finished[0]
    mean = float(np.mean(known))
    return arm, *finished[int(np.argmin([abs(score - mean) for score in known]))]


def _validation(store: Store, run: Run) -> float | None:
    """Return the validation score of a run's model; None if it was not scored."""
    scores = [point.score for point in read_curve(store, run)]
    if not scores:
        return None
    return max(scores) if run.train.patience is not None else scores[-1]


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `folder`, on the same disk.

    Raises:
        HarnessError: The parent folder is not writable.
    """
    parent = folder.resolve().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=parent, prefix=f".{folder.name}-"))
    except FileExistsError:
        message = f"{str(folder)!r} cannot be written: {str(folder.parent)!r} is not a folder"
        raise HarnessError(message) from None
    except OSError as error:
        message = f"{str(folder)!r} cannot be written: {error.strerror or error}"
        raise HarnessError(message) from None
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_room(work: Path, outcome: Outcome) -> None:
    needed = 2 * 4 * outcome.parameters_total + outcome.ship_bytes + _SPARE_BYTES
    free = shutil.disk_usage(work).free
    if free < needed:
        message = (
            f"not enough disk space at {str(work.parent)!r}: {free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB needed"
        )
        raise HarnessError(message)


def _obtain(run: Run, label: str, place: Path, plan: Plan, runner: Runner) -> None:
    """Put the run's model at `place`: copy the saved model, or tune it again."""
    kept = runner.store.folder(run) / "model"
    if kept.is_dir() and _is_whole(kept):
        from harness.delivery.transform import rebase

        shutil.copytree(kept, place)
        for part in [place] if (place / NAME).is_file() else sorted(place.glob("stage-*")):
            rebase(part, kept / part.relative_to(place))
        return
    say("tuning on all data" if run.all_data else "the model was not saved: tuning it again")
    runner.prepare(plan)
    _, result = next(iter(list(runner.compute([(label, run)], "1 run to compute", 1, deliver=place))))
    if isinstance(result, Failure) or not place.is_dir():
        why = f"{result.status}: {result.reason}" if isinstance(result, Failure) else "no model was written"
        message = f"the model could not be tuned again: {why}"
        raise HarnessError(message)


def _is_whole(kept: Path) -> bool:
    """Return whether all stages of a saved model are unchanged."""
    parts = [kept] if (kept / NAME).is_file() else sorted(kept.glob("stage-*"))
    try:
        return bool(parts) and all(read_manifest(part) for part in parts)
    except HarnessError:
        say(f"the saved model {str(kept)!r} was changed after it was saved and is not used")
        return False


def _described(plan: Plan, arm: Arm, store: Store, catalog: Catalog, manifest: Manifest) -> Manifest:
    """Return the manifest with the comparison's results for the arm."""
    table = tabulate(plan, store, catalog)
    data = called(arm.runs[0].stages[manifest.stage].dataset)
    for part in (table, *table.others):
        for row in part.rows:
            if row.label == arm.label:
                scores = tuple(
                    ScoreLine(
                        group=column.group,
                        title=column.title,
                        text=" ".join(part for part in (cell.text, f"({cell.detail})" if cell.detail else "") if part),
                        metric=column.key.rpartition(".")[2] if column.group == "score" else None,
                        value=cell.value,
                        low=cell.low,
                        high=cell.high,
                        half_width=cell.half_width,
                    )
                    for column, cell in zip(part.columns, row.cells, strict=True)
                    if cell.text
                )
                seeds = tuple(run.seed for run in arm.runs if run.id in row.runs)
                return manifest.model_copy(
                    update={"experiment": plan.name, "arm": arm.label, "scores": scores, "seeds": seeds, "data": data}
                )
    message = f"arm {arm.label!r} has no row in the table of {plan.name!r}"
    raise HarnessError(message)


def _finish(
    folder: Path,
    splits: Mapping[Split, datasets.Dataset],
    expected: Predictions,
    base: Model,
    outcome: Outcome,
    wanted: _Wanted,
) -> None:
    """Convert the folder to the requested form, check its predictions, and update its manifest.

    Raises:
        HarnessError: The conversion failed, or predictions differ from the stored ones.
    """
    from harness.delivery import transform
    from harness.delivery.rescore import rescore

    manifest = read_manifest(folder)
    if manifest.kind == "none":
        message = f"{manifest.arm!r} cannot be exported: {manifest.reason}"
        raise HarnessError(message)
    if wanted.merged:
        say("merging the adapter into its base model")
        transform.merge(folder)
    transform.convert(folder, wanted.dtype or _published_dtype(base))
    transform.bring_base(folder)
    if wanted.onnx:
        say("writing the ONNX graph")
        rows = splits["train"].select(range(min(2, len(splits["train"]))))
        transform.add_onnx(folder, [dict(row) for row in rows])
    say("checking the predictions on the test items in a fresh process")
    try:
        checked = [rescore(folder, splits["test"], expected)]
        checked += [rescore(folder, splits["test"], expected, onnx=True)] if wanted.onnx else []
    except HarnessError as error:
        message = f"{error} (the run was measured on {outcome.device})"
        raise HarnessError(message) from None
    manifest = read_manifest(folder)
    if manifest.kind != "adapter":
        # The base model is no longer needed, so its local path is left out.
        manifest = manifest.model_copy(update={"base": manifest.base.model_copy(update={"path": manifest.base.name})})
    manifest = manifest.model_copy(update={"rescored": tuple(checked)})
    write_manifest(folder, manifest)


def _published_dtype(base: Model) -> str:
    """Return the precision in which the base model's weights were published."""
    published = base.published()
    said = str(published.get("dtype") or published.get("torch_dtype") or "float32").removeprefix("torch.")
    return said if said in ("float32", "bfloat16", "float16") else "float32"


def _show(folder: Path, manifest: Manifest) -> None:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    sys.stdout.write(
        f"{folder}: {manifest.kind} model of arm {manifest.arm}, seed {manifest.seed}, {size / 1e6:.1f} MB\n"
    )
    for found in manifest.rescored:
        by = "" if found.largest_difference is None else f", scores within {found.largest_difference:.1e}"
        sys.stdout.write(
            f"checked with {found.loader}: {found.equal:,} of {found.items:,} test predictions equal the stored "
            f"ones{by}\n"
        )
    here = f" (in the folder {folder})" if manifest.kind == "adapter" and manifest.base.local else ""
    sys.stdout.write(f"\nload it{here}:\n\n" + "".join(f"    {line}\n" for line in snippet(manifest, str(folder))))
    sys.stdout.write(f"\nor: harness predict {folder} FILE\n")
