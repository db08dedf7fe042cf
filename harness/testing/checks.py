"""Contract checks for each kind of component, on small models and datasets. A failed check raises `AssertionError`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from harness.analysis.items import score
from harness.catalog import Catalog, kind_of, load_catalog, with_plugin
from harness.contracts import (
    Component,
    Data,
    Dataset,
    Executor,
    Metric,
    Model,
    Reporter,
    Strategy,
    Task,
    Tracker,
)
from harness.engine.cache import Cache
from harness.engine.data import prepare
from harness.errors import HarnessError, UndefinedError
from harness.experiment.asked import Asked
from harness.records import SPLITS, Failure, Outcome, Run, TaskData, TrainConfig, formers
from harness.reports import ArmReport, Cell, Column, Report, Row, Table
from harness.runner.plans import Runner
from harness.store import Store
from harness.testing.toys import (
    Offering,
    TinyModel,
    ToyDataset,
    compute,
    runner_here,
    toy_catalog,
    toy_run,
    tuned_tasks,
    with_component,
    write_tiny_model,
)

_MUCH, _SPARE_BYTES = 2, 20_000
"""Largest accepted saved size: this multiple of the trained bytes, plus this many bytes for names."""


class DeliveryWarning(UserWarning):
    """The delivered model is less useful than it could be."""


def check_strategy(strategy: Strategy) -> None:
    """Check a strategy by tuning a tiny model twice, on two stages if it supports them.

    The delivered model is loaded with the library's own loader; its predictions must equal those of the tuned model.

    Raises:
        AssertionError: The component breaks its contract.

    Warns:
        DeliveryWarning: No library can load the delivered model, or it is much larger than the trained weights.
    """
    check_component(strategy)
    try:
        TrainConfig(**dict(strategy.training([])))
    except ValidationError as error:
        message = f"{strategy.name}: defaults are not valid training settings: {error}"
        raise AssertionError(message) from None
    catalog = with_component(strategy)
    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder) / "model")
        tasks = [catalog.make(Task, tuned_tasks()[0], {})] * 2
        stages = 1 if strategy.check(TinyModel(path=str(model)), tasks) else 2
        run = toy_run(catalog, model, strategy, stages=stages)
        first = compute(run, catalog, Path(folder) / "first", keep_model=True)
        second = compute(run, catalog, Path(folder) / "second")
        stores = [Store(Path(folder) / name) for name in ("first", "second")]
        _check(first.ship_bytes > 0, f"{strategy.name}: the saved size is 0 bytes")
        _check(
            first.parameters_trained == second.parameters_trained,
            f"{strategy.name}: two identical runs train different numbers of parameters",
        )
        cells = {(e.moment, e.problem) for e in first.evaluations if e.undefined is None}
        wanted = {(moment, stage) for stage in range(stages) for moment in range(stage + 1, stages + 1)}
        wanted |= {(moment, stages + at) for moment in range(stages + 1) for at in range(len(run.watch))}
        _check(cells == wanted, f"{strategy.name}: missing or unexpected predictions: {sorted(cells ^ wanted)}")
        for cell in sorted(cells):
            a, b = (store.predictions(run, *cell) for store in stores)
            _check(
                bool(np.isfinite(a.outputs).all()),
                f"{strategy.name}: predictions contain nan or infinity (cell {cell})",
            )
            _check(
                np.array_equal(a.outputs, b.outputs),
                f"{strategy.name}: two identical runs give different predictions (cell {cell})",
            )
        _check_delivery(strategy, run, first, stores[0], catalog)


def _check_delivery(strategy: Strategy, run: Run, outcome: Outcome, store: Store, catalog: Catalog) -> None:
    """Check that the saved model gives the stored predictions when loaded again."""
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
            if strategy.role != "baseline":
                message = f"{strategy.name}: the delivered model cannot be used outside harness: {manifest.reason}"
                warnings.warn(message, DeliveryWarning, stacklevel=3)
            continue
        test = prepare(catalog.restore(Dataset, problem.dataset), problem.dataset, Cache(store.cache), run.seed).splits[
            "test"
        ]
        delivered = Delivered(folder, device="cpu", catalog=catalog)
        found = delivered.evaluate({name: test[name][:] for name in test.column_names})
        expected = store.predictions(run, len(run.stages), index)
        differing = compare(expected, found, delivered.task.answers, TOLERANCES["float32"]).unequal
        _check(
            not len(differing),
            f"{strategy.name}: the delivered model and the tuned model disagree on {len(differing)} of {len(expected.ids)} items "
            f"(stage {index + 1}, loaded with {delivered.loader})",
        )
    most = _SPARE_BYTES + _MUCH * 4 * outcome.parameters_trained
    if outcome.ship_bytes > most and strategy.role != "baseline":
        message = (
            f"{strategy.name}: trains {outcome.parameters_trained:,} parameters, but its saved size is {outcome.ship_bytes:,} bytes; "
            "if less than the whole model is needed, declare it with stage.ship"
        )
        warnings.warn(message, DeliveryWarning, stacklevel=3)


def check_metric(metric: Metric, outputs: NDArray[Any], targets: NDArray[Any], expected: float) -> None:
    """Check a metric against its contract and a known value, with tolerance 1e-6.

    Raises:
        AssertionError: The component breaks its contract.
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
    _check(bool(np.isnan(nothing)), f"{metric.name}: the score of no items is {nothing}; raise UndefinedError instead")


def check_component(component: Component) -> None:
    """Check what every component needs: a docstring, a version, light imports, and equality when rebuilt from its record.

    Raises:
        AssertionError: The component breaks its contract.
    """
    cls = type(component)
    summary = (cls.__doc__ or "").strip().partition("\n")[0]
    _check(bool(summary), f"{cls.__name__} has no docstring; `harness list` prints its first line")
    _check(isinstance(component.version, int), f"{component.name}: the version must be an integer")
    reference = component.reference()
    again = cls(**{**formers(cls), **reference.params, **reference.location})
    _check(
        again == component, f"{kind_of(cls)} {component.name!r} is not equal to the component rebuilt from its record"
    )
    _check_light(cls.__module__)


def _check_light(module: str) -> None:
    heavy: Sequence[str] = ("torch", "transformers", "peft", "datasets", "pandas", "sklearn")
    # A module that imports pytest is a test; its components are not checked.
    code = f"import sys, {module}; print(*[name for name in {heavy!r} if name in sys.modules and 'pytest' not in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode == 0:  # modules created in a test cannot be imported and need no check
        found = done.stdout.split()
        _check(not found, f"importing {module} also imports {', '.join(found)}; import them inside methods")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def check_dataset(dataset: Dataset) -> None:
    """Check a dataset by reading it twice and preparing its splits.

    Raises:
        AssertionError: The component breaks its contract.
    """
    import datasets

    check_component(dataset)
    name = dataset.name
    _check(isinstance(dataset.fingerprint(), str), f"{name}: fingerprint() must be a string that changes with the data")
    found: Any = dataset.read()
    _check(isinstance(found, Data), f"{name}: read() returns {type(found).__name__}, not harness.Data")
    for split, rows in found.splits.items():
        _check(split in SPLITS, f"{name}: unknown split {split!r}; use {', '.join(SPLITS)}")
        _check(
            isinstance(rows, datasets.Dataset),
            f"{name}: the {split} split is a {type(rows).__name__}, not a datasets.Dataset",
        )
    _check("train" in found.splits, f"{name}: no train split")
    again = dataset.read()
    for split, rows in found.splits.items():
        _check(
            rows.to_dict() == again.splits[split].to_dict(),
            f"{name}: reading twice gives different rows or a different order",
        )
    labels = found.splits["train"]["label"][:] if "label" in found.splits["train"].column_names else []
    if found.facts.classes is not None and labels and isinstance(labels[0], int):
        strange = sorted({label for label in labels if not 0 <= label < len(found.facts.classes)})
        _check(not strange, f"{name}: labels {strange} have no name in facts.classes")
    catalog = with_component(dataset)
    for watched in (False, True):
        task = catalog.make(Task, dataset.task_for(watched=watched), {})
        reason = task.check(found.facts, found.splits["train"].column_names)
        _check(reason is None, f"{name}: the task from task_for(), {task.name!r}, does not accept it: {reason}")
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(dataset, dataset.reference(), Cache(Path(folder)), seed=0)
        _check(all(len(prepared.splits[split]) for split in SPLITS), f"{name}: a split is empty")


def check_task(task: Task, dataset: Dataset | None = None) -> None:
    """Check a task by tuning a tiny model with full fine-tuning, if the task can be tuned, and predicting.

    Args:
        task: The task.
        dataset: A suitable dataset; None for sentences with a label.

    Raises:
        AssertionError: The component breaks its contract.
    """
    check_component(task)
    catalog = with_component(task)
    data = dataset or ToyDataset(rows=80)
    if type(data).name not in catalog.offers["dataset"]:
        catalog = with_plugin(catalog, Offering(type(data)), data.name)
    for metric in task.metrics:
        catalog.find(Metric, metric)
    problem = TaskData(dataset=data.reference(), task=task.reference())
    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder) / "model")
        reason = task.check_model(TinyModel(path=str(model)))
        _check(reason is None, f"{task.name}: does not accept a tiny encoder: {reason}")
        strategy = next(cls for cls in catalog.every(Strategy) if cls.role == "reference")
        run = toy_run(catalog, model, catalog.make(Strategy, strategy.name, {}), stages=1)
        run = run.model_copy(update={"stages": (problem,), "watch": ()} if task.tunable else {"watch": (problem,)})
        outcome, store = compute(run, catalog, Path(folder) / "results"), Store(Path(folder) / "results")
        position = 0 if task.tunable else 1
        cells = [cell for cell in outcome.evaluations if cell.problem == position]
        _check(any(cell.undefined is None for cell in cells), f"{task.name}: no predictions: {cells}")
        prepared = prepare(data, data.reference(), Cache(store.cache), seed=0)
        for cell in cells:
            if cell.undefined is not None:
                continue
            found = store.predictions(run, cell.moment, position)
            _check(len(set(found.ids.tolist())) == len(found.ids), f"{task.name}: two predictions have the same id")
            _check(len(found.ids) >= 1, f"{task.name}: no predictions")
            if task.tunable:
                _check(
                    set(found.ids.tolist()) <= set(prepared.splits["test"]["id"][:]),
                    f"{task.name}: predictions have ids that are not in the test split",
                )
            if found.outputs.dtype.kind == "f":
                _check(bool(np.isfinite(found.outputs).all()), f"{task.name}: predictions contain nan or infinity")
            for metric in task.metrics:
                try:
                    score(catalog.make(Metric, metric, {}), found.outputs, found.targets)
                except UndefinedError as error:
                    message = f"{task.name}: metric {metric!r} is undefined for its predictions: {error}"
                    raise AssertionError(message) from None


def check_model(model: Model) -> None:
    """Check a base model by loading its body and encoding two texts.

    Raises:
        AssertionError: The component breaks its contract.
    """
    import torch

    check_component(model)
    name = model.name
    _check(
        isinstance(model.fingerprint(), str), f"{name}: fingerprint() must be a string that changes with the weights"
    )
    _check("model_type" in model.published(), f"{name}: published() has no model_type")
    tokenizer = model.tokenizer()
    _check(tokenizer.pad_token_id is not None, f"{name}: the tokenizer has no pad token")
    body: Any = model.load("AutoModel").eval()
    bad = [key for key, weight in body.named_parameters() if not bool(torch.isfinite(weight).all())]
    _check(not bad, f"{name}: weights contain nan or infinity: {', '.join(bad[:3])}")
    batch = tokenizer(["a text", "another text that is longer"], padding=True, return_tensors="pt")
    with torch.no_grad():
        given = {key: batch[key] for key in ("input_ids", "attention_mask")}
        body = body.get_encoder() if body.config.is_encoder_decoder else body
        hidden = body(**given).last_hidden_state
    _check(
        hidden.shape[0] == 2 and bool(torch.isfinite(hidden).all()), f"{name}: hidden states contain nan or infinity"
    )


def check_reporter(reporter: Reporter) -> None:
    """Check a reporter with tables that contain every feature a table can have.

    Raises:
        AssertionError: The component breaks its contract.
    """
    check_component(reporter)
    name = reporter.name
    _check(reporter.suffix.startswith("."), f"{name}: the suffix must start with a dot")
    table = _table()
    made: Any = reporter.render(table)
    _check(isinstance(made, (str, bytes)) and bool(made), f"{name}: render() must return text or bytes")
    _check(isinstance(made, str) or reporter.file, f"{name}: bytes cannot be printed: set `file = True`")
    if reporter.whole:
        report: Any = reporter.render_report(Report(table=table, arms=(ArmReport(label="alpha", role="reference"),)))
        _check(isinstance(report, type(made)), f"{name}: render_report() must return what render() returns")
    if isinstance(made, str):
        _check(reporter.render(table) == made, f"{name}: rendering the same table twice gives different text")
        for label in ("alpha", "beta", "apart"):
            _check(label in made, f"{name}: the output lacks the arm {label!r}")
        for number in ("nan", "None"):
            _check(number not in made, f"{name}: an empty cell is written as {number}")
    empty = table.model_copy(update={"rows": (), "footnotes": (), "about": (), "others": ()})
    with contextlib.suppress(HarnessError):  # such as a plot that has nothing to show
        _check(isinstance(reporter.render(empty), type(made)), f"{name}: render() fails for a table without arms")


def check_observer(observer: object) -> None:
    """Check an observer (an object or module with hooks) on a comparison with one successful and one failing run.

    Raises:
        AssertionError: The component breaks its contract.
    """
    hooks = [hook for hook in _OBSERVED if callable(getattr(observer, hook, None))]
    name = getattr(observer, "__name__", type(observer).__name__)
    _check(bool(hooks), f"{name}: no hook found; define one of {', '.join(_OBSERVED)}")
    said: list[str] = []
    catalog = with_plugin(toy_catalog(), observer, "observer")
    known = {
        hook
        for hook in _OBSERVED
        for one in getattr(catalog.plugins.hook, hook).get_hookimpls()
        if one.plugin is observer
    }
    _check(
        set(hooks) == known, f"{name}: {', '.join(sorted(set(hooks) - known))} lacks the decorator @harness.hookimpl"
    )
    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder) / "model")
        strategy = next(cls for cls in catalog.every(Strategy) if cls.role == "reference")
        good = toy_run(catalog, model, catalog.make(Strategy, strategy.name, {}), stages=1)
        bad = good.model_copy(
            update={"train": good.train.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e30})}
        )
        list(runner_here(Path(folder) / "results", catalog, said.append).compute([("good", good), ("bad", bad)], "", 2))
    failed = [line for line in said if line.startswith("observer ")]
    _check(not failed, f"{name}: {'; '.join(failed)}")


_OBSERVED = ("harness_run_started", "harness_run_logged", "harness_run_finished")


def check_tracker(tracker: Tracker) -> None:
    """Check a tracker: send it a finished and a failed run of a comparison, twice, as when a command is repeated.

    Whatever the tracker sends is sent to where its settings say.

    Raises:
        AssertionError: The component breaks its contract.
    """
    check_component(tracker)
    catalog = load_catalog()
    strategy = next(cls for cls in catalog.every(Strategy) if cls.role == "reference")()
    with tempfile.TemporaryDirectory() as folder:
        runs = [toy_run(catalog, Path(folder), strategy, seed) for seed in (0, 1)]
        table = Path(folder) / "table.md"
        table.write_text("| strategy |\n", encoding="utf-8")
        for _ in range(2):
            tracker.begin("a comparison", {"seeds": [0, 1]})
            for step in (1, 2, 3):
                for run in runs:  # computed side by side
                    tracker.log(run, "a label / with (signs)", step, {"loss": 1 / step, "validation": 0.5})
            tracker.finish(runs[0], "a label / with (signs)", "done", {"right": 0.75, "time": 1.5})
            tracker.finish(runs[1], "a label / with (signs)", "failed", {})
            tracker.end([table])


def check_executor(executor: Executor) -> None:
    """Check an executor: its outcomes and failures must equal those computed in this process.

    Raises:
        AssertionError: The component breaks its contract.
    """
    check_component(executor)
    catalog, name = load_catalog(), executor.name
    said: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny_model(Path(folder) / "model", hidden_dropout_prob=0.0)
        ToyDataset(rows=60).read().splits["train"].to_csv(str(Path(folder) / "data.csv"))
        reference = next(cls.name for cls in catalog.every(Strategy) if cls.role == "reference")
        diverging = {"learning_rate": 1e30, "max_grad_norm": 1e30}
        tables: list[dict[str, Any]] = [{"name": reference}, {"name": reference, "label": "bad", "train": diverging}]
        asked = Asked(
            target=str(Path(folder) / "data.csv"), model=str(model), watch=["none"], strategies=tables, seeds=[0],
            options=["train.epochs=1", "train.max_length=24", "train.batch_size=8"],
        )  # fmt: skip
        plan = asked.plan(catalog)
        here = runner_here(Path(folder) / "here", catalog)
        there = Runner(Store(Path(folder) / "there"), catalog, executor, said.append)
        there.prepare(plan)
        results = [_results(runner, plan.runs) for runner in (here, there)]
        strange = [line for line in said if line.startswith(f"executor {name!r}")]
        _check(not strange, "; ".join(strange))
        for run_id, expected in results[0].items():
            found = results[1].get(run_id)
            kinds = [type(one).__name__ for one in (expected, found)]
            _check(
                kinds[0] == kinds[1], f"{name}: run {run_id} gives {kinds[1]}, but {kinds[0]} in this process: {found}"
            )
        for _, run in plan.runs:
            if isinstance(results[0][run.id], Outcome):
                a, b = (runner.store.predictions(run, 1, 0) for runner in (here, there))
                _check(
                    np.allclose(a.outputs, b.outputs, atol=1e-4),
                    f"{name}: run {run.id} gives different predictions than in this process",
                )


def _results(runner: Runner, runs: Sequence[tuple[Any, Run]]) -> dict[str, Outcome | Failure]:
    return {run.id: result for run, result in runner.compute([(arm.label, run) for arm, run in runs], "", len(runs))}


def _table() -> Table:
    """Return a table with empty cells, notes, marks, names with markup, and a second table."""
    columns = (
        Column(key="right", group="score", title="right", better="higher", main=True),
        Column(key="lost", group="score", title="lost", unit="nats | token", better="lower"),
        Column(key="tune_seconds", group="cost", title="time", quantity="seconds", better="lower"),
    )
    known = Cell(
        text="0.912 ± 0.010", value=0.912, half_width=0.01, best=True, verdict="better", difference=0.02,
        difference_half_width=0.01, p=0.01,
    )  # fmt: skip
    plain = Cell(text="12.3 s", detail="1.0 s warm", value=12.3, beside={"warm": 1.0}, dimmed=True)
    rows = (
        Row(label="alpha", role="reference", cells=(known, Cell(text="", note=1), plain), runs=("0123456789ab",)),
        Row(label="beta <b>[/b] | x", role="contender", cells=(known, known, plain), runs=()),
    )
    first = Table(
        title="<script>",
        question="Is a|b [bold] = c?",
        columns=columns,
        rows=rows,
        footnotes=("no | head",),
        about=("a | note",),
    )
    apart = first.model_copy(update={"rows": (rows[0].model_copy(update={"label": "apart"}),)})
    return first.model_copy(update={"others": (apart,)})
