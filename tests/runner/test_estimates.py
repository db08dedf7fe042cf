import pytest

from harness.contracts import Span, Strategy
from harness.experiment.plan import Arm
from harness.experiment.search import Budget
from harness.runner.estimates import Estimate, estimate, search_seconds
from harness.store import Store
from harness.testing import compute, toy_catalog, toy_run


@pytest.fixture
def arm(tiny_model):
    catalog = toy_catalog()
    strategy = catalog.make(Strategy, "frozen", {})
    return Arm(
        label="frozen", role="contender", runs=tuple(toy_run(catalog, tiny_model, strategy, seed) for seed in (0, 1, 2))
    )


def test_what_is_missing_takes_what_the_same_arm_took(arm, tmp_path):
    done = [compute(run, toy_catalog(), tmp_path / "results") for run in arm.runs[:2]]
    found = estimate(arm, Store(tmp_path / "results"))
    assert (found.missing, found.stored) == (1, 2)
    assert found.seconds == pytest.approx(sum(outcome.wall_seconds for outcome in done) / 2)
    assert found.devices == (done[0].device,)
    assert found.memory_bytes == max(
        phase.peak_memory_bytes for outcome in done for phase in outcome.phases.values() if phase.peak_memory_bytes
    )


@pytest.mark.parametrize(
    ("space", "budget", "seconds"),
    [
        ({"pooling": ("mean", "last")}, Budget(trials=5), 20),
        ({"train.learning_rate": Span(1e-5, 1e-3)}, Budget(trials=5), 50),
        ({"pooling": ("mean", "last")}, Budget(seconds=15), 15),
        ({"pooling": ("mean", "last")}, Budget(seconds=60), 20),
        ({"train.learning_rate": Span(1e-5, 1e-3)}, Budget(seconds=60), 60),
    ],
    ids=["all there is to try", "as many as asked", "as long as asked", "all before the time is up", "no end but time"],
)
def test_choosing_takes_what_as_many_runs_take_or_the_time_that_is_given(arm, space, budget, seconds):
    known = Estimate(3, 0, 10, 10, None, (), None)
    assert search_seconds(arm.model_copy(update={"space": space}), budget, known) == seconds


def test_choosing_by_trials_takes_nobody_knows_how_long_where_a_run_does(arm):
    space = {"pooling": ("mean", "last")}
    unknown = Estimate(3, 0, None, None, None, (), None)
    assert search_seconds(arm.model_copy(update={"space": space}), Budget(trials=5), unknown) is None


def test_nothing_stored_is_no_estimate(arm, tmp_path):
    found = estimate(arm, Store(tmp_path / "results"))
    assert (found.missing, found.stored, found.seconds, found.memory_bytes) == (3, 0, None, None)
