"""Which tables are kept."""

from harness.api import Comparison
from harness.cli.tables import Output, find_reporter, show
from harness.contracts import Strategy
from harness.experiment.plan import Arm, Plan
from harness.store import Store
from harness.testing import compute, toy_catalog, toy_run


def test_a_table_is_kept_once_every_seed_is_there_whatever_was_run_again(tiny_model, tmp_path, capsys):
    catalog, store = toy_catalog(), Store(tmp_path / "results")
    strategy = catalog.make(Strategy, "frozen", {})
    asked = [toy_run(catalog, tiny_model, strategy, seed, stages=1) for seed in (0, 1)]
    runs = tuple(run.model_copy(update={"watch": ()}) for run in asked)
    again = runs[0].model_copy(update={"repeat": 1})
    arm = Arm(label="frozen", role="contender", runs=runs, repeats=(again,))
    plan = Plan(name="kept", question="", arms=(arm,), reference=None, stage_metrics=(("accuracy",),), watch_metrics=())
    kept = store.root / "reports" / "kept.md"
    compute(runs[0], catalog, store.root)
    compute(again, catalog, store.root)
    show(Comparison(plan, store, catalog), Output(find_reporter(catalog, "csv")))
    assert not kept.exists()
    compute(runs[1], catalog, store.root)
    show(Comparison(plan, store, catalog), Output(find_reporter(catalog, "csv")))
    assert "noise: the largest difference between runs with the same seed" in kept.read_text()
    assert capsys.readouterr().out
