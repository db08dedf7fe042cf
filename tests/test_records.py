import pytest

from harness.records import ComponentRef, Outcome, Run, Shared, TaskData, TrainConfig
from harness.reports import Row


def ref(name: str, **more: object) -> ComponentRef:
    return ComponentRef(name=name, version=1, **more)


def a_run(**more: object) -> Run:
    problem = TaskData(dataset=ref("data", fingerprint="f"), task=ref("task"))
    return Run(
        **{
            "model": ref("model"),
            "stages": (problem,),
            "strategy": ref("full"),
            "train": TrainConfig(epochs=3),
            "seed": 0,
            **more,
        }
    )


def test_equal_runs_have_one_id():
    assert a_run().id == a_run().id
    assert len(a_run().id) == 12


def test_a_copy_with_another_seed_has_another_id():
    run = a_run()
    assert run.id != run.model_copy(update={"seed": 1}).id


WATCHED = TaskData(dataset=ref("seen", fingerprint="f"), task=ref("task"))


@pytest.mark.parametrize(
    "change",
    [
        {"strategy": ref("full", params={"rank": 8})},
        {"strategy": ComponentRef(name="full", version=2)},
        {"model": ref("model", fingerprint="other weights")},
        {"train": TrainConfig(epochs=4)},
        {"train": TrainConfig(attention_dropout=None)},
        {"watch": (WATCHED,)},
        {"stages": (WATCHED,)},
    ],
    ids=["parameter", "version", "weights", "epochs", "dropout", "watch", "data"],
)
def test_whatever_can_change_the_numbers_changes_the_id(change):
    assert a_run(**change).id != a_run().id


def test_where_a_component_was_found_is_no_part_of_the_id():
    assert (
        a_run(model=ref("model", location={"path": "here"})).id
        == a_run(model=ref("model", location={"path": "there"})).id
    )


def test_a_run_comes_back_from_json_with_its_id():
    assert Run.model_validate_json(a_run().model_dump_json()).id == a_run().id


def test_shared_energy_is_known_only_where_all_of_it_is():
    known, unknown = Shared(seconds=2, energy_joules=3), Shared(seconds=1)
    assert (Shared() + known + known).energy_joules == 6
    assert (known + unknown).energy_joules is None
    assert (Shared() + Shared()).energy_joules is None


def test_what_was_stored_before_energy_and_inference_were_measured_can_be_read():
    stored = {
        "run_id": "0" * 12, "started": "2026-01-01T00:00:00Z", "wall_seconds": 1.0, "phases": {"tune": {"wall_seconds": 1.0}},
        "parameters_total": 1, "parameters_trained": 1, "ship_bytes": 1, "steps": 1, "examples": 1, "evaluations": [],
        "data": [], "device": "CPU", "processes": 1, "versions": {}, "plugins": {},
    }  # fmt: skip
    found = Outcome.model_validate(stored)
    assert (found.energy, found.inference, found.phases["tune"].device_seconds) == (None, None, None)


def test_the_peak_of_what_is_shared_is_the_highest_that_is_known():
    found = Shared(peak_memory_bytes=5) + Shared(peak_memory_bytes=9, peak_device_bytes=3) + Shared()
    assert (found.peak_memory_bytes, found.peak_device_bytes, found.peak_reserved_bytes) == (9, 3, None)


def test_a_run_that_an_earlier_version_stored_keeps_its_id():
    # As the version before settings were renamed computed them.
    old = TrainConfig.model_validate({"epochs": 3, "accumulation": 2, "warmup": 0.3})
    new = TrainConfig(epochs=3, gradient_accumulation_steps=2, warmup_ratio=0.3)
    assert a_run().id == "ed8638144097"
    assert a_run(train=old).id == a_run(train=new).id == "b18ab0025974"
    assert a_run(train=TrainConfig(epochs=3, fast=False)).id != a_run().id


def test_a_table_that_an_earlier_version_stored_can_be_read():
    row = Row.model_validate(
        {"label": "untuned", "role": "floor", "cells": [{"text": "0.5", "value": 0.5}], "runs": []}
    )
    assert row.role == "baseline"
