"""The guard of tables made of invented outcomes."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.catalog import Catalog
from harness.contracts import Strategy
from harness.experiment.plan import Arm, Plan
from harness.records import DataNote, Evaluation, Inference, Leak, Outcome, Phase, Predictions, Run, Speed, SplitNote
from harness.reports import Cell, Table
from harness.store import Store
from harness.tables.table import tabulate
from harness.testing import toy_catalog, toy_run

N = 10


@pytest.fixture(scope="module")
def toys(catalog: Catalog) -> Catalog:
    return toy_catalog(catalog)


@pytest.fixture
def make(toys, tiny_model):
    """Return a plan of three arms with one seed; settings are of the last, `frozen`, alone."""

    def plan(**train: Any) -> Plan:
        def arm(name: str, role: str, **train: Any) -> Arm:
            run = toy_run(toys, tiny_model, toys.make(Strategy, name, {}), stages=1, **train)
            return Arm(label=name, role=role, runs=(run.model_copy(update={"watch": ()}),))

        return Plan(
            name="invented", question="What if?", reference="full", stage_metrics=(("accuracy",),), watch_metrics=(),
            arms=(arm("untuned", "baseline"), arm("full", "reference"), arm("frozen", "contender", **train)),
        )  # fmt: skip

    return plan


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def store_run(store: Store, run: Run, seconds: float = 2.0, first_id: int = 0, **more: Any) -> None:
    note = DataNote(dataset="toy", splits={"train": SplitNote(items=40), "test": SplitNote(items=N)}, classes=2)
    outcome = {
        "run_id": run.id, "started": datetime(2026, 1, 1, tzinfo=UTC), "wall_seconds": 9,
        "phases": {"tune": Phase(wall_seconds=seconds, peak_memory_bytes=int(seconds * 1e9), flops=int(seconds * 1e9))},
        "parameters_total": 1000, "parameters_trained": 250, "ship_bytes": 4000, "steps": 5, "examples": 40,
        "evaluations": (Evaluation(moment=1, problem=0, items=N),), "data": (note,), "device": "CPU one",
        "processes": 1, "versions": {"torch": "2.13.0"}, "plugins": {}, **more,
    }  # fmt: skip
    scored = Predictions(np.tile([1.0, 0.0], (N, 1)), np.zeros(N, dtype=np.int64), np.arange(first_id, first_id + N))
    with store.attempt(run):
        store.finish(run, Outcome(**outcome), {(1, 0): scored})


def fill(store: Store, plan: Plan, **of_last: Any) -> None:
    for arm in plan.arms:
        for run in arm.runs:
            store_run(store, run, **(of_last if arm is plan.arms[-1] else {}))


def with_two_seeds(plan: Plan) -> Plan:
    runs = [(*arm.runs, arm.runs[0].model_copy(update={"seed": 1})) for arm in plan.arms]
    arms = [arm.model_copy(update={"runs": pair}) for arm, pair in zip(plan.arms, runs, strict=True)]
    return plan.model_copy(update={"arms": tuple(arms)})


def labels(table: Table) -> list[str]:
    return [row.label for row in table.rows]


def cell(table: Table, label: str, key: str) -> Cell:
    position = next(number for number, column in enumerate(table.columns) if column.key == key)
    return next(row.cells[position] for row in table.rows if row.label == label)


def test_arms_that_can_be_compared_stay_in_one_table(store, make, toys):
    plan = make()
    fill(store, plan)
    table = tabulate(plan, store, toys)
    assert (labels(table), table.others, table.question) == (["untuned", "full", "frozen"], (), "What if?")


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        ({"max_length": 12}, "train.max_length is 12 (first table: 24)"),
        ({"precision": "bf16"}, "train.precision is bf16 (first table: fp32)"),
    ],
    ids=["length", "precision"],
)
def test_an_arm_of_another_length_or_precision_gets_a_table_of_its_own(store, make, toys, train, reason):
    plan = make(**train)
    fill(store, plan)
    table = tabulate(plan, store, toys)
    assert labels(table) == ["untuned", "full"]
    (other,) = table.others
    assert (labels(other), other.title) == (["frozen"], "invented: frozen")
    ids = f"{plan.arms[1].runs[0].id} {plan.arms[2].runs[0].id}"
    assert other.question == (
        f"Cannot be compared with the first table: {reason}; run harness why {ids} for all differences."
    )


def test_an_arm_that_has_not_run_is_set_apart_by_its_settings(store, make, toys):
    table = tabulate(make(max_length=12), store, toys)
    assert [labels(part) for part in (table, *table.others)] == [["untuned", "full"], ["frozen"]]
    assert (
        table.others[0].question == "Cannot be compared with the first table: train.max_length is 12 (first table: 24)."
    )


def test_an_arm_that_was_scored_on_other_items_gets_a_table_of_its_own(store, make, toys):
    plan = make()
    fill(store, plan, first_id=1)
    table = tabulate(plan, store, toys)
    assert [labels(part) for part in (table, *table.others)] == [["untuned", "full"], ["frozen"]]
    assert "stages.0.test.ids is 1 only here: 10 (first table: 1 only here: 0)" in table.others[0].question


def test_costs_measured_on_another_device_are_marked_and_none_is_the_best(store, make, toys):
    plan = make()
    fill(store, plan, seconds=1.0, device="CPU two", processes=2)
    table = tabulate(plan, store, toys)
    assert labels(table) == ["untuned", "full", "frozen"]
    for key in ("tune_seconds", "peak_memory_bytes"):
        assert not any(cell(table, label, key).best for label in labels(table))
        assert cell(table, "full", key).note is None
        assert table.footnotes[cell(table, "frozen", key).note - 1] == (
            "frozen was measured with device CPU two, full with CPU one, processes 2, full with 1: not comparable"
        )
    # What is counted is the same everywhere, and so is a score.
    assert cell(table, "frozen", "flops").best
    assert cell(table, "frozen", "flops").note is None
    assert cell(table, "frozen", "accuracy").best


def test_speed_on_another_device_is_marked_too(store, make, toys):
    plan = make()
    answering = Speed(latency_p50_ms=8, latency_p95_ms=None, latency_items=5, throughput=100, batch_size=8)
    for arm in plan.arms:
        device = "CPU two" if arm.label == "frozen" else "CPU one"
        store_run(store, arm.runs[0], device=device, inference=Inference(whole=answering))
    table = tabulate(plan, store, toys)
    found = cell(table, "frozen", "throughput")
    assert table.footnotes[found.note - 1].startswith("frozen was measured with device CPU two")
    assert not found.best


def test_costs_on_one_device_are_not_marked(store, make, toys):
    plan = make()
    fill(store, plan, seconds=1.0)
    table = tabulate(plan, store, toys)
    assert cell(table, "frozen", "tune_seconds").best
    assert table.footnotes == ()


def test_a_footnote_that_was_there_is_kept_beside_the_mark(store, make, toys):
    plan = with_two_seeds(make())
    for arm in plan.arms[:2]:
        for run in arm.runs:
            store_run(store, run)
    store_run(store, plan.arms[2].runs[0], device="CPU two")
    table = tabulate(plan, store, toys)
    assert table.footnotes[cell(table, "frozen", "tune_seconds").note - 1] == (
        "frozen: 1 of 2 seeds not run yet; frozen was measured with device CPU two, full with CPU one: not comparable"
    )
    assert table.footnotes[cell(table, "frozen", "accuracy").note - 1] == "frozen: 1 of 2 seeds not run yet"


def test_a_reference_whose_own_runs_were_scored_on_other_items_is_said_first(store, make, toys):
    plan = with_two_seeds(make())
    for run, first_id in zip(plan.arms[1].runs, (0, 1), strict=True):
        store_run(store, run, first_id=first_id)
    table = tabulate(plan, store, toys)
    assert table.about[0] == (
        "the runs of full differ in stages.0.test.ids: the mean combines scores of different tests"
    )


def test_unequal_budgets_are_said_first(store, make, toys):
    plan = make(epochs=5, batch_size=4)
    fill(store, plan)
    table = tabulate(plan, store, toys)
    assert table.others == ()
    assert table.about[0] == (
        "unequal training budgets, which may explain differences in score: "
        "frozen has train.epochs 5, full 2; frozen has train.batch_size 4, full 8"
    )


def test_test_texts_that_stand_in_train_are_told_in_the_note(store, make, toys):
    plan = make()
    leaks = (Leak(split="train", exact=0, near=2), Leak(split="train", stage=0, exact=3, near=1))
    # The others are of a version that did not look.
    note = DataNote(dataset="toy", splits={"test": SplitNote(items=N)}, leaks=leaks)
    fill(store, plan, data=(note,))
    (line,) = (line for line in tabulate(plan, store, toys).about if line.startswith("tuned on"))
    assert "; 2 of 10 test texts also occur in train ignoring punctuation and Unicode form; " in line
    assert "; 3 of 10 test texts also occur in train of toy, and 1 more ignoring punctuation and Unicode form" in line
