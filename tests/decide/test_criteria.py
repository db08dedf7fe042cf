"""What a comparison offers to judge by: invented numbers of one arm."""

import numpy as np
import pytest

from harness.analysis.comparison import Compared, Figure, Measured
from harness.analysis.measures import Measure
from harness.analysis.parts import Part
from harness.decide.choice import SCORE
from harness.decide.criteria import Source, candidate, limit_on, read_bounds, sources
from harness.errors import HarnessError
from harness.experiment.plan import Arm, Plan
from harness.quantities import parse_duration
from harness.reports import Column

NOTHING = {"min_score": None, "max_forgetting": (), "max_memory": None, "max_time": None, "max_size": None, "max_cost": None}  # fmt: skip
COSTS = {"tune_seconds": 20.0, "peak_memory_bytes": 5e8, "ship_bytes": 4000.0}


def table(
    scores: dict[str, float | None], forgotten: dict[str, float | None], **costs: float | None
) -> dict[Column, float | None]:
    """Return the columns of a comparison, each with an arm's value; the scores' titles are their keys with a space for the dot."""
    groups = {"score": scores, "forgetting": forgotten, "cost": costs}
    return {
        Column(
            key=key, group=group, title=key.replace(".", " "), better="higher" if group == "score" else "lower"
        ): value
        for group, values in groups.items()
        for key, value in values.items()
    }


def compared(invented: dict[Column, float | None], sampled: dict[str, dict[str, list[float]]]) -> Compared:
    """Return the numbers of an arm `full`, and whatever was resampled of it or of others."""

    def figure(value: float | None, draws: list[float] | None) -> Figure:
        drawn = None if draws is None else np.array(draws)
        return Figure((), value, None, {}, None, drawn, ())

    def measured(column: Column, value: float | None) -> Measured:
        drawn = sampled.get(column.key, {})
        others = {label: figure(0.5, draws) for label, draws in drawn.items() if label != "full"}
        return Measured(Measure(column, None), {"full": figure(value, drawn.get("full")), **others}, None)

    columns = tuple(measured(column, value) for column, value in invented.items())
    return Compared(plan(), Part(ARM), dict.fromkeys(["full", "frozen", "lora", "untuned"], (None, None)), columns)


ARM = Arm(label="full", role="reference", runs=())


def plan(*metrics: str) -> Plan:
    return Plan(name="p", question="", arms=(), reference="full", stage_metrics=tuple((name,) for name in metrics), watch_metrics=())  # fmt: skip


WATCHED = {"forgetting.sotu.cka": 0.3, "forgetting.sts.v1.similarity": 0.1}


def keys(found: list[Source]) -> list[str]:
    return [source.criterion.key for source in found]


def test_one_stage_is_judged_by_the_metric_that_counts():
    invented = table({"accuracy": 0.8, "mcc": 0.6}, WATCHED, **COSTS)
    found = sources(plan("accuracy"), list(invented), [], "time")
    assert keys(found) == [SCORE, *WATCHED, "forgetting", "time", "memory"]
    assert found[0].columns == ("accuracy",)


def test_several_stages_are_judged_by_the_mean_and_the_worst_of_what_is_forgotten():
    invented = table({"a.accuracy": 0.8, "b.accuracy": 0.6}, WATCHED, **COSTS)
    found = sources(plan("accuracy", "accuracy"), list(invented), [], "time")
    sampled = {
        "a.accuracy": {"full": [0.7, 0.9]}, "b.accuracy": {"full": [0.5, 0.7]},
        "forgetting.sotu.cka": {"full": [0.3, 0.0]}, "forgetting.sts.v1.similarity": {"full": [0.1, 0.2]},
    }  # fmt: skip
    arm = candidate(ARM, compared(invented, sampled), found)
    assert found[0].criterion.title == "mean accuracy"
    assert arm.points[SCORE] == pytest.approx(0.7)
    assert arm.draws[SCORE] == pytest.approx([0.6, 0.8])
    assert arm.draws["forgetting"] == pytest.approx([0.3, 0.2])
    assert arm.draws["time"] == pytest.approx([20, 20])


def test_stages_of_different_metrics_have_no_mean():
    invented = table({"a.accuracy": 0.8, "b.f1": 0.6}, {}, **COSTS)
    with pytest.raises(HarnessError) as error:
        sources(plan("accuracy", "f1"), list(invented), [], "time")
    assert str(error.value) == (
        "the stages use different metrics (accuracy and f1), which cannot be averaged: choose one for all stages with "
        "--metric"
    )


def test_forgetting_that_is_not_measured_cannot_be_limited_or_preferred():
    invented = table({"accuracy": 0.8}, {}, **COSTS)
    bounds = read_bounds(**NOTHING | {"max_forgetting": ["0.1"]})
    for asked, prefer in ((bounds, "time"), ([], "forgetting")):
        with pytest.raises(HarnessError, match="this comparison measures no forgetting"):
            sources(plan("accuracy"), list(invented), asked, prefer)


def test_a_datasets_forgetting_is_limited_by_its_name():
    invented = table({"accuracy": 0.8}, WATCHED, **COSTS)
    bounds = read_bounds(**NOTHING | {"max_forgetting": ["sts.v1=0.02"]})
    found = sources(plan("accuracy"), list(invented), bounds, "time")
    assert str(limit_on(bounds[0], found)) == "--max-forgetting sts.v1=0.02"
    assert found[-3].columns == ("forgetting.sts.v1.similarity",)


def test_a_price_takes_the_place_of_time():
    found = sources(plan("accuracy"), list(table({"accuracy": 0.8}, {}, money=3.0, **COSTS)), [], "cost")
    assert keys(found) == [SCORE, "cost", "memory"]


def test_what_a_table_leaves_blank_is_absent():
    invented = table(
        {"accuracy": 0.8}, WATCHED | {"forgetting.sotu.cka": None}, tune_seconds=20.0, peak_memory_bytes=None
    )
    found = sources(plan("accuracy"), list(invented), [], "time")
    sampled = {"accuracy": {"full": [0.8]}, "forgetting.sts.v1.similarity": {"full": [0.1]}}
    arm = candidate(ARM, compared(invented, sampled), found)
    assert sorted(arm.points) == sorted(arm.draws) == ["forgetting.sts.v1.similarity", SCORE, "time"]


def test_what_could_be_resampled_for_the_others_only_is_absent_and_for_nobody_is_taken_as_measured():
    invented = table({"accuracy": 0.8, "mcc": 0.1}, {}, **COSTS)
    found = sources(plan("accuracy"), list(invented), [], "time")
    others = candidate(ARM, compared(invented, {"accuracy": {"lora": [0.8, 0.9]}}), found)
    nobody = candidate(ARM, compared(invented, {"mcc": {"full": [0.1, 0.2]}}), found)
    assert SCORE not in others.points
    assert nobody.draws[SCORE] == pytest.approx([0.8, 0.8])


def test_limits_are_written_as_they_would_be_typed():
    given = {"min_score": "0.98x", "max_forgetting": ["0.02"], "max_memory": "16GB", "max_time": "20m", "max_size": "10MB", "max_cost": "5"}  # fmt: skip
    written = [f"{bound.option}{bound.write(bound.value)}" for bound in read_bounds(**given)]
    assert written == [
        "--min-score 0.98x", "--max-forgetting 0.02", "--max-memory 16GB", "--max-time 20m", "--max-size 10MB", "--max-cost 5",
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [90, 1200, 5400, 9000, 2480, 36100, 0.25, 3661, 12345.678, 1_010_000])
def test_a_limit_on_time_is_written_as_it_is_typed_and_neither_looser_nor_tighter(seconds):
    (bound,) = read_bounds(**{**NOTHING, "max_time": f"{seconds}s"})
    assert parse_duration(bound.write(bound.value)) == seconds
