"""The search as `compare` makes it: real trials of a tiny model, in this process."""

import json

import pytest

from harness.contracts import Executor
from harness.errors import HarnessError
from harness.experiment.plan import make_plan
from harness.experiment.search import find_search, settle, unsettled
from harness.experiment.spec import make_spec
from harness.records import Failure
from harness.runner.plans import Runner
from harness.runner.search import Search
from harness.store import Store
from harness.testing import ToyDataset, runner_here, toy_catalog
from harness.testing import compute as compute_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def toys():
    return toy_catalog()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def plan(toys, tiny_model, tmp_path, tune, **more):
    if not (tmp_path / "reviews.csv").exists():
        ToyDataset(rows=60).read().splits["train"].to_pandas().to_csv(tmp_path / "reviews.csv", index=False)
    table = {
        "name": "x", "model": str(tiny_model), "stages": [f"file:{tmp_path / 'reviews.csv'}"], "seeds": [0], "tune": tune,
        "strategies": ["full", "frozen"], "train": {"epochs": 2, "max_length": 24, "batch_size": 8}, **more,
    }  # fmt: skip
    return make_plan(make_spec(table, "x"), toys)


def searched(made, store, toys, *, stop_after: int | None = None, judge=None) -> list[str]:
    """Search, and return what the trials are called; stop without a word after so many, as if the command were killed."""
    called: list[str] = []
    with Search(unsettled(settle(made, store, toys)), made.budget, store, toys, processes=1) as search:

        def runs():
            for label, run in search.runs():
                called.append(label)
                yield label, run

        hook = search.heard if judge is None else judge
        answers = runner_here(store.root, toys).compute(runs(), "searching", None, hook)
        for count, (run, result) in enumerate(answers, 1):
            if stop_after is not None and count >= stop_after:
                return called
            search.told(run, result)
        search.finish()
    return called


def test_every_strategy_gets_the_same_trials_and_a_finite_space_no_more_than_it_has(toys, tiny_model, tmp_path, store):
    made = plan(toys, tiny_model, tmp_path, tune=4)
    searched(made, store, toys)
    after = settle(made, store, toys)
    full, frozen = (next(arm for arm in after.arms if arm.label == label) for label in ("full", "frozen"))
    assert (len(full.search.trials), full.search.exhausted) == (4, False)
    assert (len(frozen.search.trials), frozen.search.exhausted) == (3, True)
    best = max((trial for trial in full.search.trials if trial.status == "done"), key=lambda trial: trial.score)
    assert full.runs[0].train.learning_rate == best.values["train.learning_rate"]
    assert full.runs[0].seed == 0
    assert not full.runs[0].trial
    assert not unsettled(after)


def test_a_trial_is_scored_on_validation_alone(toys, tiny_model, tmp_path, store):
    searched(plan(toys, tiny_model, tmp_path, tune=1), store, toys)
    for path in (store.root / "runs").glob("*/outcome.json"):
        outcome = json.loads(path.read_text())
        assert 0 <= outcome["validation"] <= 1
        assert outcome["evaluations"] == []
        assert outcome["inference"] is None
        assert not {"test", "watch", "serve"} & outcome["phases"].keys()


def test_what_a_killed_command_has_tried_counts_and_what_it_left_half_done_is_tried_again(
    toys, tiny_model, tmp_path, store
):
    made = plan(toys, tiny_model, tmp_path, tune=3, strategies=["full"])
    assert len(searched(made, store, toys, stop_after=2)) == 2
    log = next((store.root / "studies").glob("full-*/trials.log"))
    with log.open("ab") as file:
        file.write(b'{"op_code": 5, "worker')  # the last line of a command that was killed as it wrote
    # The second was computed and not told: its run is there, so that only the third is left to compute.
    assert searched(made, store, toys) == ["full trial 3"]
    trials = find_search(made.arms[1], made.budget, store).trials
    assert [trial.status for trial in trials] == ["done"] * 3
    assert trials[0].values == {"train.learning_rate": 5e-5}


def test_more_trials_go_on_from_those_there_are(toys, tiny_model, tmp_path, store):
    searched(plan(toys, tiny_model, tmp_path, tune=2, strategies=["full"]), store, toys)
    made = plan(toys, tiny_model, tmp_path, tune=3, strategies=["full"])
    assert searched(made, store, toys) == ["full trial 3"]


def test_device_time_is_a_budget_too(toys, tiny_model, tmp_path, store):
    made = plan(toys, tiny_model, tmp_path, tune="1s", strategies=["full"])
    searched(made, store, toys)
    trials = find_search(made.arms[1], made.budget, store).trials
    assert sum(trial.seconds for trial in trials) >= 1
    assert sum(trial.seconds for trial in trials[:-1]) < 1


def test_a_trial_whose_curve_is_below_the_others_is_pruned_and_counts(toys, tiny_model, tmp_path, store):
    made = plan(toys, tiny_model, tmp_path, tune=2, strategies=["full"])
    judged = iter(range(100))

    def judge(run, event):
        return "no good" if "epoch" in event and next(judged) == 0 else None

    searched(made, store, toys, judge=judge)
    trials = find_search(made.arms[1], made.budget, store).trials
    assert [trial.status for trial in trials] == ["pruned", "done"]
    pruned = [json.loads(path.read_text()) for path in (store.root / "runs").glob("*/failure.json")]
    assert [(failure["status"], failure["reason"]) for failure in pruned] == [("pruned", "no good")]


def test_strategies_of_which_no_trial_has_a_score_are_an_error_that_says_why(toys, tiny_model, tmp_path, store):
    made = plan(toys, tiny_model, tmp_path, tune=1, strategies=["full"])
    with Search(unsettled(made), made.budget, store, toys, processes=1) as search:
        for _, run in search.runs():
            search.told(run, Failure(run_id=run.id, status="failed", reason="the loss is nan"))
        with pytest.raises(HarnessError, match=r"none of its 1 trials has a validation score.*the loss is nan"):
            search.finish()


@pytest.mark.slow
def test_a_run_that_need_not_go_on_is_ended_in_its_own_process(toys, tiny_model, tmp_path, store):
    made = plan(toys, tiny_model, tmp_path, tune=1, strategies=["full"], train={"epochs": 500, "max_length": 24})

    def heard(_, event):
        return "seen enough" if "epoch" in event else None

    run = made.arms[1].runs[0]
    runner = Runner(store, toys, toys.make(Executor, "local", {"cpu": True}), lambda _: None)
    [(_, result)] = runner.compute([("full", run)], "one", 1, heard)
    assert (result.status, result.reason) == ("pruned", "seen enough")
    assert store.outcome(run) is None


def test_more_that_was_tried_before_is_no_larger_budget(toys, tiny_model, tmp_path, store):
    rich = plan(toys, tiny_model, tmp_path, tune=4, strategies=["full"])
    searched(rich, store, toys)
    poor = plan(toys, tiny_model, tmp_path, tune=2, strategies=["full"])
    assert searched(poor, store, toys) == []
    first, more = (find_search(made.arms[1], made.budget, store) for made in (poor, rich))
    assert first.trials == more.trials[:2]


def test_what_failed_is_tried_again_by_the_next_command_and_what_others_chose_is_kept(
    toys, tiny_model, tmp_path, store
):
    made = plan(toys, tiny_model, tmp_path, tune=3)

    def failing(search):
        for label, run in search.runs():
            if label.startswith("full"):
                search.told(run, Failure(run_id=run.id, status="out of memory", reason="no room"))
            else:
                search.told(run, compute_run(run, toys, store.root))

    with Search(unsettled(made), made.budget, store, toys, processes=1) as search:
        failing(search)
        with pytest.raises(HarnessError, match=r"'full': none of its 3 trials has a validation score.*no room"):
            search.finish()
    assert [arm.label for arm in unsettled(settle(made, store, toys))] == ["full"]
    # The same command says why, if all fails again, and else has what it asked for.
    assert searched(made, store, toys) == ["full trial 1", "full trial 2", "full trial 3"]
    trials = find_search(made.arms[1], made.budget, store).trials
    assert [trial.status for trial in trials] == ["done"] * 3
    assert trials[0].values == {"train.learning_rate": 5e-5}


def test_an_arm_all_of_whose_first_trials_fail_is_given_up_however_much_time_is_left(toys, tiny_model, tmp_path, store):
    made = plan(toys, tiny_model, tmp_path, tune="1h", strategies=["full"])
    count = 0
    with Search(unsettled(made), made.budget, store, toys, processes=1) as search:
        for _, run in search.runs():
            count += 1
            search.told(run, Failure(run_id=run.id, status="failed", reason="texts are too long"))
    assert count == 5


def test_what_two_arms_come_to_try_at_once_is_made_once_and_told_to_both(toys, tiny_model, tmp_path, store):
    made = plan(toys, tiny_model, tmp_path, tune=1, strategies=["frozen"])
    spaces = {"A": ("mean", "first"), "B": ("mean", "last")}
    arms = [
        made.arms[1].model_copy(update={"label": label, "space": {"pooling": values}})
        for label, values in spaces.items()
    ]
    with Search(arms, made.budget, store, toys, processes=1) as search:
        runs = search.runs()
        label, run = next(runs)
        search.heard(run, {"validation": 0.5, "step": 1, "steps": 2})
        assert next(runs, None) is None  # B is to try the same, which is under way
        search.heard(run, {"validation": 0.6, "step": 2, "steps": 2})
        search.told(run, compute_run(run, toys, store.root))
        search.finish()
    first, second = (find_search(arm, made.budget, store) for arm in arms)
    assert label == "A trial 1"
    assert [trial.score for trial in first.trials] == [trial.score for trial in second.trials]
    assert first.chosen == second.chosen == {"pooling": "mean"}
