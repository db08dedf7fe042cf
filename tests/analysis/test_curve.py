import pytest

from harness.analysis.curve import Point, mean_curve, reach, read_curve, target
from harness.contracts import Strategy
from harness.store import Store
from harness.testing import compute, toy_catalog, toy_run

SLOW = [Point(1, 10, 0.5), Point(2, 20, 0.7), Point(3, 30, 0.8)]
FAST = [Point(1, 10, 0.9), Point(2, 20, 0.6)]


def test_what_is_to_be_reached_is_a_share_of_the_mean_best():
    assert target([SLOW, FAST], 0.9) == pytest.approx(0.9 * 0.85)
    losses = [[Point(1, 1, -2.0), Point(2, 2, -1.8)]]
    assert target(losses, 0.9) == pytest.approx(-2.0)  # 1.8 / 0.9: a loss may be higher by as much


def test_the_first_validated_point_counts_and_nothing_between_points():
    found = reach([SLOW, FAST], 0.65)
    assert (found.seconds, found.flops, found.seeds, found.censored) == (1.5, 15.0, 2, False)


def test_what_a_seed_never_reached_is_censored_and_not_left_out():
    found = reach([SLOW, FAST], 0.85)
    assert (found.seconds, found.flops, found.seeds, found.of, found.censored) == (
        2,
        20,
        1,
        2,
        True,
    )  # 1 and at least 3


def test_the_mean_goes_as_far_as_all_seeds_do():
    assert mean_curve([SLOW, FAST]) == [Point(1, 10, 0.7), Point(2, 20, pytest.approx(0.65))]


@pytest.mark.parametrize(("strategy", "points"), [("full", 2), ("frozen", 1), ("untuned", 0)])
def test_a_stored_run_has_a_point_for_every_epoch_or_one_without_any(tiny_model, tmp_path, strategy, points):
    catalog = toy_catalog()
    run = toy_run(catalog, tiny_model, catalog.make(Strategy, strategy, {}))
    outcome = compute(run, catalog, tmp_path / "results")
    curve = read_curve(Store(tmp_path / "results"), run)
    assert len(curve) == points
    assert [point.seconds for point in curve] == sorted(point.seconds for point in curve)
    tuned = sum(outcome.phases[name].wall_seconds for name in ("tune", "features") if name in outcome.phases)
    assert all(0 < point.seconds <= tuned + outcome.shared.seconds for point in curve)


def test_a_run_stored_before_curves_told_costs_has_none(tiny_model, tmp_path):
    catalog = toy_catalog()
    run = toy_run(catalog, tiny_model, catalog.make(Strategy, "full", {}))
    store = Store(tmp_path / "results")
    with store.attempt(run) as folder:
        (folder / "log.jsonl").write_text('{"epoch": 1, "validation": 0.8, "step": 3, "steps": 6}\n')
    assert read_curve(store, run) == []
    (folder / "log.jsonl").unlink()
    assert read_curve(store, run) == []
