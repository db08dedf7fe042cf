"""Two invented runs that differ in one thing: what of them can be compared."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.analysis.comparability import (
    Difference,
    Finished,
    compare_outcomes,
    compare_settings,
    conclude,
    listed,
)  # fmt: skip
from harness.records import (
    ComponentRef,
    DataNote,
    Evaluation,
    Outcome,
    Predictions,
    Run,
    SplitNote,
    TaskData,
    TrainConfig,
)  # fmt: skip
from harness.store import Store


def problem(name: str, fingerprint: str = "f", task: str = "classify", **params: Any) -> TaskData:
    dataset = ComponentRef(name=name, version=1, params=params, location={"path": "here"}, fingerprint=fingerprint)
    return TaskData(dataset=dataset, task=ComponentRef(name=task, version=1))


RUN = Run(
    model=ComponentRef(name="model", version=1),
    stages=(problem("reviews", limit={"train": 100, "test": 50}),),
    watch=(problem("prose", task="loss"), problem("eras", task="probe")),
    strategy=ComponentRef(name="full", version=1),
    train=TrainConfig(epochs=3),
    seed=0,
)


def changed(**update: Any) -> Run:
    return RUN.model_copy(update=update)


def trained(**update: Any) -> Run:
    return changed(train=RUN.train.model_copy(update=update))


def finished(folder: Path, run: Run = RUN, ids: tuple[int, ...] = (1, 2, 3), **update: Any) -> Finished:
    """Return a run that was scored on these items, stored."""
    store = Store(folder)
    note = DataNote(dataset="any", splits={"train": SplitNote(items=90), "test": SplitNote(items=len(ids))})
    outcome = {
        "run_id": run.id, "started": datetime(2026, 1, 1, tzinfo=UTC), "wall_seconds": 1, "phases": {},
        "parameters_total": 1, "parameters_trained": 1, "ship_bytes": 1, "steps": 1, "examples": 1,
        "evaluations": (Evaluation(moment=1, problem=0, items=len(ids)),), "data": (note,) * len(run.task_data),
        "device": "CPU one", "processes": 1, "versions": {"torch": "2.13"}, "plugins": {"full": "ours 1"}, **update,
    }  # fmt: skip
    predictions = Predictions(np.zeros((len(ids), 2)), np.zeros(len(ids)), np.array(ids))
    with store.attempt(run):
        store.finish(run, Outcome(**outcome), {(1, 0): predictions})
    found = store.outcome(run)
    assert found is not None
    return Finished(run, found, store)


def summed(differences: list[Difference]) -> list[tuple[Any, ...]]:
    return [(found.field, found.first, found.second, found.hinders) for found in differences]


def test_a_run_does_not_differ_from_itself(tmp_path):
    assert compare_settings(RUN, RUN) == []
    assert compare_outcomes(finished(tmp_path / "a"), finished(tmp_path / "b")) == []
    assert conclude([]) == "Their scores and their costs can be compared"


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (changed(seed=1), ("seed", 0, 1, ())),
        (changed(repeat=1), ("repeat", 0, 1, ())),
        (changed(engine=2), ("engine", 1, 2, ("scores", "costs"))),
        (changed(trial=True), ("trial", False, True, ("scores", "costs"))),
        (changed(strategy=ComponentRef(name="lora", version=1)), ("strategy.name", "full", "lora", ())),
        (trained(max_length=64), ("train.max_length", 128, 64, ("scores",))),
        (trained(precision="bf16"), ("train.precision", "fp32", "bf16", ("scores",))),
        (trained(epochs=5), ("train.epochs", 3, 5, ("budget",))),
        (trained(batch_tokens=512), ("train.batch_tokens", None, 512, ("budget",))),
        (trained(learning_rate=0.1), ("train.learning_rate", None, 0.1, ())),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_setting_hinders_what_it_hinders(other, expected):
    assert summed(compare_settings(RUN, other)) == [expected]


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (problem("reviews", "g", limit={"train": 100, "test": 50}), ("stages.0.dataset.fingerprint", "f", "g", ("scores", "costs"))),
        (problem("reviews", limit={"train": 90, "test": 50}), ("stages.0.dataset.params.limit.train", 100, 90, ("scores", "costs"))),
        (problem("reviews", limit={"train": 100}), ("stages.0.dataset.params.limit.test", 50, None, ("scores",))),
    ],
    ids=["other data", "other rows of train", "other rows of test"],
)  # fmt: skip
def test_other_data_makes_scores_incomparable(stage, expected):
    assert summed(compare_settings(RUN, changed(stages=(stage,)))) == [expected]


def test_where_data_lies_hinders_nothing():
    moved = RUN.stages[0].dataset.model_copy(update={"location": {"path": "there"}})
    other = changed(stages=(RUN.stages[0].model_copy(update={"dataset": moved}),))
    assert summed(compare_settings(RUN, other)) == [("stages.0.dataset.location.path", "here", "there", ())]


def test_a_stage_more_is_one_difference():
    found = compare_settings(RUN, changed(stages=(*RUN.stages, problem("more"))))
    assert summed(found) == [("stages.1", None, "more by classify", ("scores", "costs"))]


def test_what_is_watched_in_another_order_is_the_same():
    assert compare_settings(RUN, changed(watch=RUN.watch[::-1])) == []


def test_what_only_one_watches_hinders_only_what_is_said_of_forgetting():
    found = compare_settings(RUN, changed(watch=RUN.watch[1:]))
    assert summed(found) == [("watch.0", "prose by loss", None, ("forgetting",))]
    assert conclude(found) == (
        "Their scores and their costs can be compared; their forgetting of watched datasets cannot: watch.0"
    )


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({"device": "CPU two"}, ("device", "CPU one", "CPU two", ("costs",))),
        ({"processes": 2}, ("processes", 1, 2, ("costs",))),
        ({"versions": {"torch": "2.14"}}, ("versions.torch", "2.13", "2.14", ("costs",))),
        ({"plugins": {"full": "ours 2"}}, ("plugins.full", "ours 1", "ours 2", ("costs",))),
    ],
    ids=["device", "processes", "library", "plugin"],
)
def test_where_a_run_happened_hinders_comparing_costs(tmp_path, update, expected):
    found = compare_outcomes(finished(tmp_path / "a"), finished(tmp_path / "b", **update))
    assert summed(found) == [expected]
    assert conclude(found) == f"Their scores can be compared; their costs cannot: {expected[0]}"


def test_plugins_of_components_that_only_one_used_are_no_difference(tmp_path):
    other = finished(tmp_path / "b", plugins={"lora": "theirs 1"})
    assert compare_outcomes(finished(tmp_path / "a"), other) == []


def test_test_items_are_compared_by_their_ids(tmp_path):
    first, second = finished(tmp_path / "a", ids=(1, 2, 3, 4)), finished(tmp_path / "b", ids=(1, 7, 4, 3))
    assert summed(compare_outcomes(first, second)) == [
        ("stages.0.test.ids", "1 only here: 2", "1 only here: 7", ("scores",))
    ]


def test_the_same_test_items_in_another_order_are_the_same(tmp_path):
    assert compare_outcomes(finished(tmp_path / "a", ids=(1, 2, 3)), finished(tmp_path / "b", ids=(3, 1, 2))) == []


def test_fewer_test_items_are_told_by_number_and_by_id(tmp_path):
    first, second = finished(tmp_path / "a", ids=tuple(range(9))), finished(tmp_path / "b", ids=(0, 1))
    assert summed(compare_outcomes(first, second)) == [
        ("stages.0.test.items", 9, 2, ("scores",)),
        ("watch.0.test.items", 9, 2, ("forgetting",)),
        ("watch.1.test.items", 9, 2, ("forgetting",)),
        ("stages.0.test.ids", "7 only here: 2, 3, 4, and 4 more", "0 only here", ("scores",)),
    ]


def test_the_conclusion_names_every_hindrance():
    other = trained(max_length=64, epochs=5).model_copy(update={"engine": 2})
    assert conclude(compare_settings(RUN, other)) == (
        "Their scores cannot be compared: train.max_length, engine; their costs cannot: engine; "
        "their budgets differ: train.epochs"
    )


def test_a_long_list_is_cut_and_counted():
    assert listed("abca") == "a, b, c"
    assert listed("abcde") == "a, b, c, and 2 more"


def test_seeds_with_their_own_training_rows_must_have_the_same_test_items_and_folds_need_not(tmp_path):
    def drawn(seed: int, **params: Any) -> Run:
        return changed(stages=(problem("tickets", **params),), watch=(), seed=seed)

    other = (DataNote(dataset="any", splits={"train": SplitNote(items=88), "test": SplitNote(items=3)}),)
    for at, (params, ids, fields) in enumerate(
        [
            ({"draws": "seeds"}, (1, 2, 3), []),
            ({"draws": "seeds"}, (1, 2, 4), ["stages.0.test.ids"]),
            ({"folds": 5}, (1, 2, 4), []),
            ({}, (1, 2, 3), ["stages.0.train.items"]),
        ]
    ):
        first = finished(tmp_path / f"a{at}", drawn(0, **params))
        second = finished(tmp_path / f"b{at}", drawn(1, **params), ids=ids, data=other)
        assert [found.field for found in compare_outcomes(first, second)] == fields
