import pytest

from harness.contracts import Strategy
from harness.experiment.plan import Arm
from harness.results.estimates import estimate
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


def test_nothing_stored_is_no_estimate(arm, tmp_path):
    found = estimate(arm, Store(tmp_path / "results"))
    assert (found.missing, found.stored, found.seconds, found.memory_bytes) == (3, 0, None, None)
