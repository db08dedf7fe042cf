import pytest

from harness.contracts import Dataset, Strategy
from harness.engine.cache import Cache
from harness.engine.data import prepare
from harness.records import Failure, Phase
from harness.runner.rehearse import Rehearsal, cut, extrapolate
from harness.store import Store
from harness.testing import ToyDataset, compute, runner_here, toy_catalog, toy_run

pytestmark = pytest.mark.slow

LONGEST = {"train": 8, "validation": 2, "test": 2}


@pytest.fixture
def toys():
    return toy_catalog()


def rehearsed(run, catalog, results):
    with Rehearsal([run], Cache(Store(results).cache), runner_here(results, catalog)) as rehearsal:
        return rehearsal.rehearse(run)


def larger(run, rows):
    data = [problem.model_copy(update={"dataset": ToyDataset(rows=rows).reference()}) for problem in run.stages]
    return run.model_copy(update={"stages": tuple(data), "watch": ()})


@pytest.mark.parametrize(("rows", "whole"), [(60, True), (1200, False)])
def test_a_rehearsal_takes_a_share_of_the_data_or_all_of_little(toys, tiny_model, tmp_path, rows, whole):
    run = larger(toy_run(toys, tiny_model, toys.make(Strategy, "full", {}), stages=1, epochs=1), rows)
    found = rehearsed(run, toys, tmp_path / "rehearsed")
    examples = compute(run, toys, tmp_path / "computed").examples
    assert (found.share == 1, found.outcome.examples == examples) == (whole, whole)
    assert found.seconds >= found.outcome.wall_seconds  # to tell by how much is left to `extrapolate`
    assert found.outcome.examples >= found.share * examples


def test_a_rehearsal_leaves_no_run_and_no_folder_behind(toys, tiny_model, tmp_path):
    run = toy_run(toys, tiny_model, toys.make(Strategy, "frozen", {}))
    rehearsed(run, toys, tmp_path / "results")
    assert Store(tmp_path / "results").outcome(run) is None
    assert [path.name for path in (tmp_path / "results" / "cache").iterdir()] == ["data"]


def test_why_a_run_would_fail_is_known_before_it_does(toys, tiny_model, tmp_path):
    strategy = toys.make(Strategy, "full", {})
    run = toy_run(toys, tiny_model, strategy, learning_rate=1e30, max_grad_norm=1e30, epochs=4)
    found = rehearsed(run, toys, tmp_path / "results")
    assert isinstance(found, Failure)
    assert "try a lower learning rate" in found.reason


def test_both_shares_hold_the_longest_rows_and_the_larger_holds_the_smaller(toys, tmp_path):
    reference = ToyDataset(rows=400).reference()
    prepared = prepare(toys.restore(Dataset, reference), reference, Cache(tmp_path), seed=0)
    small, large = (cut(prepared, LONGEST, share).splits["train"] for share in (0.05, 0.2))
    texts = sorted(prepared.splits["train"]["text"][:], key=len)
    assert set(small["id"][:]) < set(large["id"][:])
    assert sorted(map(len, small["text"][:]))[-8:] == [len(text) for text in texts[-8:]]
    assert len(large) == 8 + round(0.2 * (len(texts) - 8))


def test_what_grows_with_the_rows_grows_on_and_what_does_not_is_taken_as_it_was(toys, tiny_model, tmp_path):
    outcome = compute(toy_run(toys, tiny_model, toys.make(Strategy, "untuned", {})), toys, tmp_path)

    def took(**seconds):
        phases = {name: Phase(wall_seconds=value) for name, value in seconds.items()}
        return outcome.model_copy(update={"phases": phases, "wall_seconds": sum(seconds.values())})

    small, large = took(load=3, tune=2, test=1, validate=0.5), took(load=4, tune=7, test=2, validate=0.4)
    # On all rows, nine times what came with the second tenth is still to come, of tuning and the test alone.
    assert extrapolate(small, large, (0.0, 0.1)) == pytest.approx(13.4 + 9 * (5 + 1))
