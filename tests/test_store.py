from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.records import ComponentRef, Evaluation, Failure, Outcome, Predictions, Run, TaskData, TrainConfig
from harness.store import Store, replacing


def ref(name: str) -> ComponentRef:
    return ComponentRef(name=name, version=1)


def a_run(seed: int = 0, strategy: str = "full", dataset: str = "data") -> Run:
    problem = TaskData(dataset=ref(dataset), task=ref("task"))
    return Run(model=ref("model"), stages=(problem,), strategy=ref(strategy), train=TrainConfig(epochs=3), seed=seed)


def an_outcome(run: Run) -> Outcome:
    return Outcome(
        run_id=run.id, started=datetime(2026, 1, 1, tzinfo=UTC), wall_seconds=1, phases={}, parameters_total=1,
        parameters_trained=1, ship_bytes=1, steps=1, examples=1, evaluations=(Evaluation(moment=1, problem=0, items=2),),
        data=(), device="CPU", processes=1, versions={}, plugins={},
    )  # fmt: skip


def finish(store: Store, run: Run) -> Predictions:
    predictions = Predictions(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 0]), np.array([7, 9]))
    with store.attempt(run):
        store.finish(run, an_outcome(run), {(1, 0): predictions})
    return predictions


def test_a_finished_run_comes_back_as_it_was_stored(tmp_path):
    store, run = Store(tmp_path / "results"), a_run()
    stored = finish(store, run)
    again = Store(tmp_path / "results").outcome(run)
    assert again is not None
    assert again.predictions_sha256 == sha256((store.folder(run) / "predictions.npz").read_bytes()).hexdigest()
    (cell,) = again.evaluations
    assert cell.ids_crc32 == store.item_sums(run)[1, 0]
    unsealed = cell.model_copy(update={"ids_crc32": None})
    assert again.model_copy(update={"predictions_sha256": None, "evaluations": (unsealed,)}) == an_outcome(run)
    found = store.predictions(run, 1, 0)
    assert found.outputs.tolist() == stored.outputs.tolist()
    assert found.ids.tolist() == [7, 9]


def test_the_items_of_a_cell_are_known_by_a_checksum_and_by_their_ids(tmp_path):
    store, run = Store(tmp_path / "results"), a_run()
    finish(store, run)
    finish(store, a_run(seed=1))
    assert store.item_sums(run) == store.item_sums(a_run(seed=1))
    assert set(store.item_sums(run)) == {(1, 0)}
    assert store.item_ids(run, 1, 0).tolist() == [7, 9]


def test_predictions_that_are_gone_are_said_in_one_line(tmp_path):
    store, run = Store(tmp_path / "results"), a_run()
    finish(store, run)
    (store.folder(run) / "predictions.npz").unlink()
    with pytest.raises(HarnessError, match="move the run's folder away to compute the run again"):
        store.item_sums(run)


def test_a_run_is_found_by_the_beginning_of_its_id_or_folder(tmp_path):
    store, runs = Store(tmp_path / "results"), [a_run(), a_run(strategy="lora")]
    for run in runs:
        finish(store, run)
    for run in runs:
        assert store.find(run.id) == store.find(run.id[:6]) == store.find(store.folder(run).name) == run
    assert store.find("lora") == runs[1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{id}0", "no run '{id}0' in 'results': did you mean {id}?"),
        ("?", "no run '?' in 'results': harness plan --json lists the ids of an experiment"),
        ("full", "'full' matches 2 runs ({ids}): give a longer prefix of the id"),
    ],
    ids=["a slip", "nothing like it", "several"],
)
def test_a_run_that_is_not_there_or_not_alone_is_said_with_its_neighbours(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    store, runs = Store(Path("results")), [a_run(), a_run(seed=1)]
    for run in runs:
        finish(store, run)
    with pytest.raises(HarnessError) as error:
        store.find(name.format(id=runs[0].id))
    assert str(error.value) == message.format(id=runs[0].id, ids=", ".join(run.id for run in runs))


def test_a_run_whose_record_was_edited_is_not_found_as_what_it_says(tmp_path):
    store, run = Store(tmp_path / "results"), a_run()
    finish(store, run)
    path = store.folder(run) / "run.json"
    path.write_text(path.read_text().replace('"epochs": 3', '"epochs": 30'))
    with pytest.raises(HarnessError, match="was edited"):
        store.find(run.id)


def test_a_run_without_its_outcome_has_not_finished(tmp_path):
    store, run = Store(tmp_path / "results"), a_run()
    finish(store, run)
    (store.folder(run) / "outcome.json").unlink()
    assert store.outcome(run) is None


def test_a_failure_is_kept_until_the_run_finishes(tmp_path):
    store, run = Store(tmp_path / "results"), a_run()
    failure = Failure(run_id=run.id, status="out of memory", reason="too large")
    store.fail(run, failure)
    assert store.failure(run) == failure
    finish(store, run)
    assert store.failure(run) is None


@pytest.mark.parametrize("name", ["../../escape", "/etc/passwd", "..", "a/b", "x" * 300])
def test_no_name_leads_outside_the_results_folder(tmp_path, name):
    store = Store(tmp_path / "results")
    for run in (a_run(strategy=name), a_run(dataset=name)):
        assert store.folder(run).parent == tmp_path / "results" / "runs"
        assert store.folder(run).resolve().parent == (tmp_path / "results" / "runs").resolve()


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(HarnessError) as error:
        Store(tmp_path)
    assert (
        str(error.value)
        == f"{str(tmp_path)!r} is not empty and not a results folder of harness: give another folder with --results"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(HarnessError):
        Store(tmp_path / "results")


def test_a_folder_of_another_format_is_refused(tmp_path):
    Store(tmp_path / "results")
    (tmp_path / "results" / ".harness").write_text("2\n")
    with pytest.raises(HarnessError, match="written by another version of harness"):
        Store(tmp_path / "results")


def test_a_run_whose_record_was_edited_is_not_taken_for_what_it_says(tmp_path):
    store, run = Store(tmp_path / "results"), a_run()
    finish(store, run)
    path = store.folder(run) / "run.json"
    path.write_text(path.read_text().replace('"epochs": 3', '"epochs": 30'))
    with pytest.raises(HarnessError, match="was edited"):
        store.outcome(run)


def test_an_outcome_of_another_run_is_noticed(tmp_path):
    store, run, other = Store(tmp_path / "results"), a_run(), a_run(seed=1)
    finish(store, run)
    finish(store, other)
    (store.folder(run) / "outcome.json").write_text((store.folder(other) / "outcome.json").read_text())
    with pytest.raises(HarnessError, match="was edited"):
        store.outcome(run)


def test_a_file_that_is_being_replaced_stays_whole_when_the_writer_fails(tmp_path: Path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
