"""Tables of invented outcomes: what is stored is all a table knows."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from harness.analysis.comparison import analyse
from harness.catalog import Catalog
from harness.contracts import Strategy
from harness.errors import HarnessError
from harness.experiment.plan import Arm, Plan
from harness.records import (
    DataNote,
    Evaluation,
    Failure,
    Inference,
    Outcome,
    Phase,
    Predictions,
    Run,
    Shared,
    Speed,
    SplitNote,
)  # fmt: skip
from harness.reports import Cell, Table
from harness.store import Store
from harness.tables.table import tabulate, with_columns
from harness.testing import toy_catalog, toy_run

N = 10


@pytest.fixture(scope="module")
def toys(catalog: Catalog) -> Catalog:
    return toy_catalog(catalog)


@pytest.fixture
def plan(toys, tiny_model) -> Plan:
    """Three arms and three seeds of one toy stage, watching by probe."""

    def arm(name: str, role: str) -> Arm:
        runs = [toy_run(toys, tiny_model, toys.make(Strategy, name, {}), seed=seed) for seed in range(3)]
        return Arm(
            label=name,
            role=role,
            runs=tuple(run.model_copy(update={"stages": run.stages[:1], "watch": run.watch[:1]}) for run in runs),
        )

    return Plan(
        name="invented", question="What if?", reference="full", stage_metrics=(("accuracy",),), watch_metrics=("accuracy",),
        arms=(arm("untuned", "baseline"), arm("full", "reference"), arm("frozen", "contender")),
    )  # fmt: skip


def right(count: int) -> Predictions:
    """Return predictions of ten items, so many of which are right."""
    targets = np.zeros(N, dtype=np.int64)
    outputs = np.tile([1.0, 0.0], (N, 1))
    outputs[count:] = [0.0, 1.0]
    return Predictions(outputs, targets, np.arange(N))


def store_run(store: Store, run: Run, test: int, before: int = 8, after: int | None = 8, **more: object) -> None:
    """Store a finished run by how many items it had right: on its test, and on what is watched before and after."""
    predictions = {(1, 0): right(test), (0, 1): right(before)}
    if after is not None:
        predictions[1, 1] = right(after)
    cells = [Evaluation(moment=m, problem=p, items=N) for m, p in predictions]
    if after is None:
        cells.append(Evaluation(moment=1, problem=1, undefined="no head"))
    note = DataNote(
        dataset="toy", splits={"train": SplitNote(items=40, truncated=3), "test": SplitNote(items=N)}, classes=2
    )
    outcome = {
        "run_id": run.id, "started": datetime(2026, 1, 1, tzinfo=UTC), "wall_seconds": 9,
        "phases": {"tune": Phase(wall_seconds=2.0, peak_memory_bytes=500_000_000, flops=3_000_000_000)},
        "parameters_total": 1000, "parameters_trained": 250, "ship_bytes": 4000, "steps": 5, "examples": 40,
        "evaluations": tuple(cells), "data": (note, note), "device": "CPU made up", "processes": 1,
        "versions": {"torch": "2.13.0"}, "plugins": {}, **more,
    }  # fmt: skip
    with store.attempt(run):
        store.finish(run, Outcome(**outcome), predictions)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def fill(store: Store, plan: Plan, right_by_arm: Mapping[str, tuple[int, int, int]], after: Mapping[str, int]) -> None:
    for arm in plan.arms:
        for run, count in zip(arm.runs, right_by_arm[arm.label], strict=True):
            store_run(store, run, count, after=after[arm.label])


def cell(table: Table, label: str, key: str) -> Cell:
    position = next(number for number, column in enumerate(table.columns) if column.key == key)
    return next(row.cells[position] for row in table.rows if row.label == label)


WATCHED = "forgetting.toy.probe"


@pytest.fixture
def full(store, plan, toys) -> Table:
    fill(
        store,
        plan,
        {"untuned": (5, 5, 5), "full": (8, 9, 7), "frozen": (7, 7, 7)},
        {"untuned": 8, "full": 5, "frozen": 8},
    )
    return tabulate(plan, store, toys)


def test_arms_are_rows_with_their_roles_and_runs(full, plan):
    assert [(row.label, row.role) for row in full.rows] == [
        ("untuned", "baseline"),
        ("full", "reference"),
        ("frozen", "contender"),
    ]
    assert [row.runs for row in full.rows] == [tuple(run.id for run in arm.runs) for arm in plan.arms]


def test_a_score_is_the_mean_over_seeds_with_its_interval(full):
    found = cell(full, "full", "accuracy")
    assert found.value == pytest.approx(0.8)
    assert found.text == f"0.800 [{found.low:.3f}, {found.high:.3f}]"
    # Not symmetric: 0.8 is nearer to 1, which it cannot exceed.
    assert 0.8 - found.low > found.high - 0.8
    assert found.high < 1
    # Its seeds are alike, so it is as sure as its items: Wilson's interval of 9 items, with Student's t, 2.262.
    frozen = cell(full, "frozen", "accuracy")
    assert (frozen.low, frozen.high) == pytest.approx((0.342, 0.913), abs=0.001)


def test_what_was_lost_is_positive_with_the_scores_before_and_after(full):
    found = cell(full, "full", WATCHED)
    assert found.value == pytest.approx(0.3)
    assert (found.text[:9], found.detail) == ("+0.300 ± ", "0.800 → 0.500")


def test_what_did_not_move_has_lost_exactly_nothing(full):
    assert cell(full, "frozen", WATCHED).value == 0.0
    assert (cell(full, "frozen", WATCHED).text, cell(full, "frozen", WATCHED).detail) == ("0", "0.800 → 0.800")


def test_the_best_is_marked_and_the_floor_is_never_the_best_for_costing_nothing(full):
    # Of ten items too few to tell them apart.
    assert [row.label for row in full.rows if row.cells[0].best] == ["untuned", "full", "frozen"]
    assert [row.label for row in full.rows if cell(full, row.label, WATCHED).best] == ["full", "frozen"]
    assert [row.label for row in full.rows if cell(full, row.label, "flops").best] == ["full", "frozen"]


def test_costs_have_units_and_a_share(full):
    texts = {
        key: cell(full, "full", key).text
        for key in ("parameters_trained", "flops", "ship_bytes", "tune_seconds", "peak_memory_bytes")
    }
    assert texts == {
        "parameters_trained": "250",
        "flops": "3 GFLOP",
        "ship_bytes": "4 kB",
        "tune_seconds": "2.0 s",
        "peak_memory_bytes": "500 MB",
    }
    assert cell(full, "full", "parameters_trained").detail == "25.00%"


def test_shared_features_count_as_if_extracted_anew_and_the_warm_time_is_told(store, plan, toys):
    for run in plan.arms[2].runs:
        store_run(store, run, 7, shared=Shared(seconds=3.0, flops=1_000_000_000))
    table = tabulate(plan, store, toys)
    assert (cell(table, "frozen", "tune_seconds").text, cell(table, "frozen", "tune_seconds").detail) == (
        "5.0 s",
        "2.0 s warm",
    )
    assert cell(table, "frozen", "flops").text == "4 GFLOP"


def keys(table: Table) -> set[str]:
    return {column.key for column in table.columns}


def test_energy_that_no_run_tells_has_no_column_and_the_note_says_why(store, plan, toys):
    for run in plan.arms[1].runs:
        store_run(store, run, 8, energy="no energy: made up")
    table = tabulate(plan, store, toys)
    assert "energy_joules" not in keys(table)
    assert "no energy: made up" in table.about


def test_energy_is_that_of_tuning_in_joules_and_watt_hours(store, plan, toys):
    phases = {"tune": Phase(wall_seconds=2, energy_joules=7000), "features": Phase(energy_joules=200), "test": Phase(energy_joules=1)}  # fmt: skip
    for run in plan.arms[1].runs:
        store_run(store, run, 8, phases=phases, energy="energy of a made up CPU")
    for run in plan.arms[2].runs:
        store_run(store, run, 8)
    table = tabulate(plan, store, toys)
    found = cell(table, "full", "energy_joules")
    assert (found.value, found.text, found.detail) == (7200, "7.2 kJ", "2 Wh")
    absent = cell(table, "frozen", "energy_joules")
    assert (absent.value, absent.text) == (None, "")
    assert table.footnotes[absent.note - 1] == "stored before energy was measured"
    assert "energy of a made up CPU" in table.about


def test_features_whose_energy_nobody_measured_leave_no_sum(store, plan, toys):
    told = {"phases": {"tune": Phase(energy_joules=5)}, "energy": "energy of a made up CPU"}
    for run, shared in zip(
        plan.arms[2].runs, (Shared(seconds=3), Shared(seconds=3, energy_joules=4), Shared()), strict=True
    ):
        store_run(store, run, 7, shared=shared, **told)
    found = cell(tabulate(plan, store, toys), "frozen", "energy_joules")
    assert found.value == pytest.approx((9 + 5) / 2)
    assert found.note is not None


def test_money_is_that_of_all_devices_for_what_the_time_counts_and_only_shown_for_a_price(store, plan, toys):
    for run in plan.arms[1].runs:
        phases = {"tune": Phase(wall_seconds=2, device_seconds=7), "test": Phase(wall_seconds=50, device_seconds=90)}
        store_run(store, run, 8, phases=phases, processes=4, shared=Shared(seconds=3))
    assert "money" not in keys(tabulate(plan, store, toys))
    table = tabulate(plan, store, toys, price=36 / 3600)
    assert cell(table, "full", "money").value == pytest.approx((7 + 4 * 3) / 100)
    assert cell(table, "full", "money").text == "0.19"
    assert "money: 36 per hour for each device, for the time in the time column" in table.about


def test_time_of_devices_that_an_old_file_does_not_have_is_that_of_its_processes(store, plan, toys):
    for run in plan.arms[1].runs:
        store_run(store, run, 8, processes=3)
    assert cell(tabulate(plan, store, toys, price=1), "full", "money").value == pytest.approx(6)


def speed(latency: float, slow: float | None, throughput: float) -> Speed:
    return Speed(
        latency_p50_ms=latency, latency_p95_ms=slow, latency_items=30, throughput=throughput, batch_size=16
    )  # fmt: skip


def test_runs_that_never_measured_inference_have_no_columns_for_it(full):
    assert not {"latency_p50_ms", "throughput"} & keys(full)


def test_a_model_answers_at_the_speed_it_has_merged_with_its_adapters_apart_beside_it(store, plan, toys):
    for run in plan.arms[1].runs:
        store_run(store, run, 8, inference=Inference(whole=speed(8, 12, 1500), apart=speed(10, None, 1200)))
    for run in plan.arms[2].runs:
        store_run(store, run, 8)
    table = tabulate(plan, store, toys)
    latency, throughput = (cell(table, "full", key) for key in ("latency_p50_ms", "throughput"))
    assert (latency.value, latency.text, latency.detail) == (8, "8 ms", "p95 12 ms, apart 10 ms")
    assert (throughput.text, throughput.detail) == ("1500 items/s", "apart 1200 items/s")
    old = cell(table, "frozen", "throughput")
    assert old.value is None
    assert table.footnotes[old.note - 1] == "stored before inference was measured"


def test_adapters_that_stay_are_shown_at_their_speed_with_the_reason(store, plan, toys):
    for run in plan.arms[1].runs:
        store_run(store, run, 8, inference=Inference(apart=speed(10, None, 1200), undefined="they cannot be merged"))
    table = tabulate(plan, store, toys)
    found = cell(table, "full", "latency_p50_ms")
    assert (found.text, found.detail) == ("10 ms", "")
    assert table.footnotes[found.note - 1] == "they cannot be merged"


def test_memory_says_what_was_reserved_on_an_accelerator(store, plan, toys):
    phases = {"tune": Phase(peak_memory_bytes=9, peak_device_bytes=2_000_000, peak_reserved_bytes=3_000_000)}
    for run in plan.arms[1].runs:
        store_run(store, run, 8, phases=phases)
    found = cell(tabulate(plan, store, toys), "full", "peak_memory_bytes")
    assert (found.text, found.detail) == ("2 MB", "3 MB reserved")


def test_nothing_stored_is_a_blank_and_says_so(store, plan, toys):
    table = tabulate(plan, store, toys)
    assert all(found.text == "" and found.value is None for row in table.rows for found in row.cells)
    assert table.footnotes[0] == "untuned: 3 of 3 seeds not run yet"


def test_a_failed_run_is_a_footnote_with_its_reason_and_the_mean_is_of_the_rest(store, plan, toys):
    for run in plan.arms[1].runs[:2]:
        store_run(store, run, 8)
    failed = plan.arms[1].runs[2]
    store.fail(failed, Failure(run_id=failed.id, status="out of memory", reason="too large"))
    table = tabulate(plan, store, toys)
    found = cell(table, "full", "accuracy")
    assert found.value == pytest.approx(0.8)
    assert table.footnotes[found.note - 1] == "full: seed 2 out of memory: too large"


def test_what_is_undefined_is_blank_with_its_reason(store, plan, toys):
    for run in plan.arms[1].runs:
        store_run(store, run, 8, after=None)
    table = tabulate(plan, store, toys)
    found = cell(table, "full", WATCHED)
    assert (found.text, found.value) == ("", None)
    assert table.footnotes[found.note - 1] == "no head"


def test_the_note_says_what_a_reader_must_know(full):
    assert any(
        "95 % intervals of the mean over n = 3 seeds (0, 1, 2) and over test items" in line for line in full.about
    )
    assert any("verdicts compare with full, paired by test item" in line for line in full.about)
    assert any("40 train (3 cut to 24 tokens), 10 test, 2 classes" in line for line in full.about)
    assert "device: CPU made up, 1 process" in full.about
    assert "versions: torch 2.13.0" in full.about


def test_runs_of_several_versions_are_flagged(store, plan, toys):
    for number, run in enumerate(plan.arms[1].runs):
        store_run(store, run, 8, versions={"torch": f"2.{number}"})
    line = next(line for line in tabulate(plan, store, toys).about if line.startswith("versions"))
    assert line.endswith("(differs between runs: compare with care)")


def test_one_seed_has_no_interval_and_the_table_says_so(store, plan, toys):
    short = plan.model_copy(update={"arms": tuple(arm.model_copy(update={"runs": arm.runs[:1]}) for arm in plan.arms)})
    store_run(store, short.arms[1].runs[0], 8)
    table = tabulate(short, store, toys)
    assert cell(table, "full", "accuracy").half_width is None
    assert table.about[0] == "1 seed (0): no interval; a difference may be noise"


def test_scores_are_kept_and_a_damaged_cache_is_made_again(full, store, plan, toys):
    kept = store.cache / "analysis.sqlite"
    before = kept.stat().st_size
    kept.write_text("{ damaged")
    assert tabulate(plan, store, toys) == full
    assert kept.stat().st_size == before


def test_every_stored_run_is_read_once_however_many_columns_there_are(full, store, plan, toys, monkeypatch):
    read, outcome = [], Store.outcome
    monkeypatch.setattr(Store, "outcome", lambda self, run: read.append(run.id) or outcome(self, run))
    tabulate(plan, store, toys)
    assert sorted(read) == sorted(run.id for arm in plan.arms for run in arm.runs)


def test_the_matrix_has_every_score_at_every_moment_and_what_they_come_to(store, toys, tiny_model):
    runs = tuple(toy_run(toys, tiny_model, toys.make(Strategy, "full", {}), seed=seed) for seed in (0, 1))
    plan = Plan(
        name="two stages", question="?", reference="full", stage_metrics=(("accuracy",), ("accuracy",)),
        watch_metrics=("accuracy", "cka"), arms=(Arm(label="full", role="reference", runs=runs),),
    )  # fmt: skip
    for run in runs:
        # How many of ten were right, by moment and problem: two stages, and one that is watched by probe.
        counts = {(1, 0): 9, (2, 0): 6, (2, 1): 8, (0, 2): 5, (1, 2): 7, (2, 2): 4}
        cells = [Evaluation(moment=m, problem=p, items=N) for m, p in counts]
        cells += [Evaluation(moment=m, problem=3, undefined="no texts") for m in range(3)]
        note = DataNote(dataset="toy", splits={"test": SplitNote(items=N)}, classes=2)
        store_run(store, run, 0, evaluations=tuple(cells), data=(note,) * 4)
        store.finish(run, store.outcome(run), {place: right(count) for place, count in counts.items()})
    found = tabulate(plan, store, toys, "matrix")
    titles = [(column.group, column.title) for column in found.columns]
    assert titles[:6] == [
        ("toy accuracy", "after toy"), ("toy accuracy", "after toy 2"), ("toy 2 accuracy", "after toy 2"),
        ("toy 3 accuracy", "before"), ("toy 3 accuracy", "after toy"), ("toy 3 accuracy", "after toy 2"),
    ]  # fmt: skip
    assert len({column.key for column in found.columns}) == len(found.columns)
    assert [cell.value for cell in found.rows[0].cells[:6]] == pytest.approx([0.9, 0.6, 0.8, 0.5, 0.7, 0.4])
    values = {column.key: cell.value for column, cell in zip(found.columns, found.rows[0].cells, strict=True)}
    assert values["average"] == pytest.approx(0.7)
    assert values["backward_transfer"] == pytest.approx(-0.3)
    assert values["final_forgetting"] == values["maximal_forgetting"] == pytest.approx(0.3)
    assert values["forward_transfer"] is None
    intervals = {column.key: one.half_width for column, one in zip(found.columns, found.rows[0].cells, strict=True)}
    assert intervals["final_forgetting"] > 0
    assert intervals["final_forgetting"] == pytest.approx(intervals["backward_transfer"])
    assert any("before its own stage" in note for note in found.footnotes)


def test_a_score_has_the_same_interval_in_the_matrix_and_no_verdict(full, store, plan, toys):
    found = tabulate(plan, store, toys, "matrix")
    here, there = cell(found, "frozen", "toy.text-classification.1"), cell(full, "frozen", "accuracy")
    assert (here.value, here.half_width, here.verdict) == (there.value, there.half_width, None)
    assert there.verdict
    assert [row.role for row in found.rows] == [row.role for row in full.rows]
    assert cell(found, "frozen", "average").half_width == pytest.approx(there.half_width)
    assert any(line.startswith("bold: could be the best") for line in found.about)


def test_datasets_with_the_same_name_and_the_same_ids_are_drawn_apart(store, toys, tiny_model):
    runs = tuple(toy_run(toys, tiny_model, toys.make(Strategy, "full", {}), seed=seed) for seed in (0, 1))
    plan = Plan(
        name="two stages", question="?", reference="full", stage_metrics=(("accuracy",), ("accuracy",)), watch_metrics=(),
        arms=(Arm(label="full", role="reference", runs=tuple(run.model_copy(update={"watch": ()}) for run in runs)),),
    )  # fmt: skip
    for run in plan.arms[0].runs:
        cells = tuple(Evaluation(moment=m, problem=p, items=N) for m, p in [(1, 0), (2, 0), (2, 1)])
        store_run(store, run, 0, evaluations=cells)
        store.finish(run, store.outcome(run), {(1, 0): right(7), (2, 0): right(7), (2, 1): right(7)})
    [found] = analyse(plan, store, toys).parts
    drawn = {one.measure.column.key: one.figures["full"].draws for one in found.measured}
    assert [key for key, draws in drawn.items() if draws is not None] == [
        "toy.accuracy", "toy 2.accuracy", "forgetting.toy.text-classification",
    ]  # fmt: skip
    first, second = (drawn[f"{name}.accuracy"] for name in ("toy", "toy 2"))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


def test_the_notes_tell_on_how_many_machines_times_were_measured(store, plan, toys):
    for number, (_, run) in enumerate(plan.runs):
        store_run(store, run, 8, host=("first", "second")[number % 2])
    assert "time: measured on 2 machines" in tabulate(plan, store, toys).about


def test_the_note_counts_the_runs_that_began_on_a_busy_machine(store, plan, toys):
    runs = [run for arm in plan.arms for run in arm.runs]
    for number, run in enumerate(runs):
        store_run(store, run, 8, busy=number < 2)
    told = [line for line in tabulate(plan, store, toys).about if "busy" in line]
    assert told == [
        f"time: other processes kept the machine busy when 2 of {len(runs)} runs began, which makes times longer"
    ]


def test_an_arm_is_judged_against_the_reference(store, plan, toys):
    fill(
        store,
        plan,
        {"untuned": (0, 0, 0), "full": (9, 9, 9), "frozen": (9, 9, 9)},
        {"untuned": 8, "full": 0, "frozen": 8},
    )
    table = tabulate(plan.model_copy(update={"margin": 0.2}), store, toys)
    baseline, reference, contender = (cell(table, label, "accuracy") for label in ("untuned", "full", "frozen"))
    assert (baseline.verdict, reference.verdict, contender.verdict) == ("worse", None, "equivalent")
    assert (baseline.best, reference.best, contender.best) == (False, True, True)
    assert baseline.in_words == f"worse by 0.900 ± {baseline.difference_half_width:.3f}"
    assert baseline.p == pytest.approx(4 / 2**9)  # the mid-p test of nine items, all for one side, of four comparisons
    forgot = cell(table, "frozen", WATCHED)
    assert (forgot.verdict, forgot.best, forgot.difference) == ("better", True, pytest.approx(-0.8))
    assert any("equivalent: the interval of the difference lies within ±0.2" in line for line in table.about)


def test_what_is_not_shown_yet_says_what_it_would_take(full, store, plan, toys):
    note = next(line for line in full.about if line.startswith("to show a difference as large as measured"))
    assert "frozen in accuracy (-0.100) " in note
    assert note.endswith("; to look again, plan it: --looks 3,...")
    looked = tabulate(plan.model_copy(update={"looks": (3, 5)}), store, toys)
    assert any("looks at 3, 5 seeds, each at 0.0307 (Pocock 1977)" in line for line in looked.about)
    p, stricter = (cell(table, "untuned", "accuracy").p for table in (full, looked))
    assert p < stricter <= 1


def test_one_seed_has_no_verdict_and_says_so(store, plan, toys):
    single = plan.model_copy(update={"arms": tuple(arm.model_copy(update={"runs": arm.runs[:1]}) for arm in plan.arms)})
    for arm in single.arms:
        store_run(store, arm.runs[0], 9 if arm.label == "full" else 2)
    table = tabulate(single, store, toys)
    found = cell(table, "frozen", "accuracy")
    assert (found.text, found.verdict, found.half_width) == ("0.200", "1 seed", None)
    assert [row.label for row in table.rows if row.cells[0].best] == ["full"]


def test_a_difference_that_identical_runs_have_too_is_dimmed(store, plan, toys):
    fill(
        store,
        plan,
        {"untuned": (5, 5, 5), "full": (8, 8, 8), "frozen": (7, 7, 7)},
        {"untuned": 8, "full": 8, "frozen": 8},
    )
    again = plan.arms[1].runs[0].model_copy(update={"repeat": 1})
    arms = [arm.model_copy(update={"repeats": (again,)}) if arm.label == "full" else arm for arm in plan.arms]
    repeated = plan.model_copy(update={"arms": tuple(arms)})
    assert not any(cell(tabulate(repeated, store, toys), label, "accuracy").dimmed for label in ("untuned", "frozen"))
    store_run(store, again, 6)
    table = tabulate(repeated, store, toys)
    assert [cell(table, label, "accuracy").dimmed for label in ("untuned", "frozen")] == [False, True]
    assert any(line.startswith("noise: ") and "accuracy 0.200 and 0.000" in line for line in table.about)


def test_the_same_table_again_asks_no_metric_again(store, plan, toys, full, monkeypatch):
    monkeypatch.setattr(Store, "predictions", None)
    assert tabulate(plan, store, toys) == full


@pytest.mark.parametrize("left", [0, 14, 5000], ids=["nothing", "a word", "its beginning"])
def test_a_damaged_cache_is_made_again(store, plan, toys, full, left):
    path = store.cache / "analysis.sqlite"
    path.write_bytes((b"not a database" if left == 14 else path.read_bytes())[:left])
    assert tabulate(plan, store, toys) == full


def test_what_is_worse_than_the_reference_is_never_bold(store, plan, toys):
    many = [plan.arms[2].model_copy(update={"label": f"alike {number}"}) for number in range(6)]
    crowded = plan.model_copy(update={"arms": (*plan.arms, *many)})
    fill(
        store,
        plan,
        {"untuned": (0, 0, 0), "full": (10, 9, 10), "frozen": (5, 5, 5)},
        {"untuned": 8, "full": 8, "frozen": 8},
    )
    for row in tabulate(crowded, store, toys).rows:
        assert not (row.cells[0].verdict == "worse" and row.cells[0].best)


def test_memory_is_the_highest_peak_of_tuning_with_the_features_that_an_earlier_run_extracted(store, plan, toys):
    phases = {
        name: Phase(peak_memory_bytes=size)
        for name, size in (("tune", 2_000_000), ("features", 3_000_000), ("test", 9_000_000))
    }
    extracted = (Shared(), Shared(seconds=1, peak_memory_bytes=5_000_000), Shared(seconds=1))
    for run, shared in zip(plan.arms[2].runs, extracted, strict=True):
        store_run(store, run, 8, phases=phases, shared=shared)
    found = cell(tabulate(plan, store, toys), "frozen", "peak_memory_bytes")
    assert found.value == pytest.approx((3_000_000 + 5_000_000 + 3_000_000) / 3)


def test_the_main_columns_are_scores_forgetting_and_the_costs_people_ask_for_first(full):
    titles = [column.title for column in with_columns(full).columns]
    assert titles[-3:] == ["time", "memory", "saved size"]
    assert {"compute", "trained"} <= set(with_columns(full).hidden)
    assert len(full.essentials) <= 4


def test_columns_are_chosen_by_title_or_group_with_the_footnotes_they_refer_to(store, plan, toys):
    run = plan.arms[0].runs[0]
    store_run(store, run, 50, after=None)
    table = tabulate(plan, store, toys)
    some = with_columns(table, ["time"])
    assert [column.title for column in with_columns(table, ["time", "score"]).columns] == ["time", "accuracy"]
    assert len(some.footnotes) < len(table.footnotes)
    for row, whole in zip(some.rows, table.rows, strict=True):
        told = {table.footnotes[cell.note - 1] for cell in whole.cells if cell.note is not None}
        assert {some.footnotes[cell.note - 1] for cell in row.cells if cell.note is not None} <= told
    with pytest.raises(HarnessError, match="unknown column 'tme': did you mean 'time'"):
        with_columns(table, ["tme"])
