"""`harness plan --estimate`, with runs computed in this process."""

import pytest

from harness.cli.estimate import estimates, show_estimates
from harness.contracts import Strategy
from harness.experiment.plan import Arm, Plan
from harness.experiment.search import Budget
from harness.runner.rehearse import rehearse_unknown
from harness.runner.understood import say
from harness.store import Store
from harness.testing import compute, runner_here, toy_catalog, toy_run


@pytest.fixture
def asked(tiny_model):
    catalog = toy_catalog()

    def arm(name, **train):
        strategy = catalog.make(Strategy, name, {})
        runs = tuple(toy_run(catalog, tiny_model, strategy, seed, stages=1, **train) for seed in (0, 1))
        return Arm(label=name, role=strategy.role, runs=runs)

    return Plan(
        name="toys",
        question="",
        arms=(arm("frozen"), arm("full", learning_rate=1e30, max_grad_norm=1e30, epochs=4)),
        reference=None,
        stage_metrics=(("accuracy",),),
        watch_metrics=(),
    )


def test_what_is_unknown_is_rehearsed_once_and_held_against_what_it_took(asked, tmp_path, capsys):
    catalog, store = toy_catalog(), Store(tmp_path / "results")
    runner = runner_here(store.root, catalog, say)
    reasons = rehearse_unknown(asked, runner)
    assert "try a lower learning rate" in reasons["full"]
    told = estimates(asked, store, reasons)
    assert (told["frozen"]["missing"], told["frozen"]["stored"], told["frozen"]["reason"]) == (2, 0, None)
    assert told["frozen"]["seconds"] == told["frozen"]["prediction"]["seconds"] > 0
    assert (told["full"]["seconds"], told["full"]["reason"]) == (None, reasons["full"])
    show_estimates(asked, store, reasons, price=1.0)
    said = capsys.readouterr()
    assert "trial runs of 2 strategies" in said.err
    assert "100% of" in said.out
    assert "money" in said.out

    compute(asked.arms[0].runs[0], catalog, store.root)
    known = asked.model_copy(update={"arms": asked.arms[:1]})
    assert rehearse_unknown(known, runner) == {}
    show_estimates(known, store, {}, None)
    said = capsys.readouterr()
    assert said.err == ""
    assert "1 stored" in said.out
    assert "per run, measured" in said.out
    assert "(n = 1)" in said.out
    assert "hyperparameter search" not in said.out

    searched = known.arms[0].model_copy(update={"space": {"pooling": ("mean", "first", "last")}})
    tuned = known.model_copy(update={"arms": (searched,), "budget": Budget(trials=5)})
    show_estimates(tuned, store, {}, None)
    assert "5 trials per strategy: frozen" in " ".join(capsys.readouterr().out.split())
    told = estimates(tuned, store, {})["frozen"]
    assert told["search_seconds"] == pytest.approx(3 * told["device_seconds"])
