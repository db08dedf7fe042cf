import math

import pytest

from harness.contracts import Span
from harness.errors import HarnessError
from harness.experiment.plan import make_plan
from harness.experiment.search import (
    SEED,
    choose,
    default_values,
    first_values,
    parse_budget,
    settle,
    study_id,
    trial_run,
    unsettled,
)
from harness.experiment.spec import make_spec
from harness.records import ComponentRef, Run, TrainConfig, Trial
from harness.store import Store


def plan(catalog, tiny_model, **more):
    table = {"name": "x", "model": str(tiny_model), "stages": ["rotten-tomatoes"], "seeds": [0, 1], "tune": 4, **more}
    return make_plan(make_spec(table, "x"), catalog)


def arm(made, label):
    return next(arm for arm in made.arms if arm.label == label)


@pytest.mark.parametrize(("text", "words"), [(8, "8 trials"), ("1", "1 trial"), ("20m", "1200 s of device time")])
def test_a_budget_is_trials_or_device_time(text, words):
    assert str(parse_budget(text)) == words


@pytest.mark.parametrize("text", ["0", "many", "20", "-3", "0s", "2 years"])
def test_any_other_budget_is_refused_with_an_example(text):
    if text == "20":
        assert parse_budget(text).trials == 20
        return
    with pytest.raises(HarnessError, match="neither a number of trials, such as 8, nor a device time, such as"):
        parse_budget(text)


def test_what_is_searched_is_the_learning_rate_and_what_a_strategy_declares(catalog, tiny_model):
    made = plan(catalog, tiny_model, strategies=["untuned", "full", "frozen"])
    assert arm(made, "full").space == {"train.learning_rate": Span(5e-6, 5e-4, log=True)}
    assert arm(made, "frozen").space == {"pooling": ("mean", "first", "last")}
    assert arm(made, "untuned").space == {}


def test_what_the_user_gave_is_not_searched(catalog, tiny_model):
    strategies = [{"name": "full", "train": {"learning_rate": 1e-4}}, {"name": "frozen", "pooling": "first"}]
    made = plan(catalog, tiny_model, strategies=strategies)
    assert not unsettled(made)
    assert not arm(plan(catalog, tiny_model, train={"learning_rate": 1e-4}), "full").space


def test_the_first_trial_is_the_untuned_run_and_the_next_lie_on_both_sides(catalog, tiny_model):
    full = arm(plan(catalog, tiny_model), "full")
    rates = [values["train.learning_rate"] for values in first_values(full.runs[0], full.space)]
    assert (
        default_values(full.runs[0], full.space) == {"train.learning_rate": rates[0]} == {"train.learning_rate": 5e-5}
    )
    assert rates[1:3] == pytest.approx([5e-5 / math.sqrt(10), 5e-5 * math.sqrt(10)])
    assert all(5e-6 <= rate <= 5e-4 for rate in rates)


def test_few_trials_vary_every_setting():
    run = Run.model_construct(
        train=TrainConfig(learning_rate=1e-3), strategy=ComponentRef(name="x", version=1, params={"pooling": "mean"})
    )
    space = {
        "train.learning_rate": Span(1e-4, 1e-2, log=True),
        "pooling": ("mean", "first", "max"),
        "share": Span(0.0, 1.0),
    }
    tried = first_values(run, space)
    assert tried[0] == {"train.learning_rate": 1e-3, "pooling": "mean", "share": 0.0}
    assert [values["pooling"] for values in tried] == ["mean", "first", "max", "mean", "first"]
    for key in ("train.learning_rate", "share"):
        assert len({values[key] for values in tried}) == 5


def test_a_trial_watches_nothing_has_a_seed_of_its_own_and_another_id_than_any_run(catalog, tiny_model):
    made = plan(catalog, tiny_model, watch=["sotu"])
    full = arm(made, "full")
    trial = trial_run(full.runs[0], {"train.learning_rate": 1e-3}, catalog)
    assert (trial.watch, trial.trial, trial.seed) == ((), True, SEED)
    assert trial.train.learning_rate == 1e-3
    same = full.runs[0].model_copy(update={"seed": SEED, "watch": ()})
    assert trial_run(full.runs[0], {}, catalog).id != same.id


def test_other_seeds_have_their_settings_chosen_anew_and_more_seeds_do_not(catalog, tiny_model):
    first = study_id(arm(plan(catalog, tiny_model), "full"))
    assert study_id(arm(plan(catalog, tiny_model, seeds=[0, 1, 2]), "full")) == first
    assert study_id(arm(plan(catalog, tiny_model, seeds=[5, 6]), "full")) != first
    assert study_id(arm(plan(catalog, tiny_model, tune=9), "full")) == first


def test_a_seed_that_a_trial_may_have_is_refused(catalog, tiny_model):
    with pytest.raises(HarnessError, match="seed 1000001 is reserved for trials"):
        plan(catalog, tiny_model, seeds=[1, SEED + 1])


def test_stages_with_different_scores_cannot_be_chosen_for(catalog, tiny_model, tmp_path):
    (tmp_path / "numbers.csv").write_text("text,label\n" + "".join(f"text {n},{n}.5\n" for n in range(40)))
    numbers = {"dataset": f"file:{tmp_path / 'numbers.csv'}", "numeric": True}
    with pytest.raises(HarnessError, match="needs a single metric, but the stages use"):
        plan(catalog, tiny_model, stages=["rotten-tomatoes", numbers])


def trial(value, score, status="done"):
    return Trial(values={"rate": value}, score=score, status=status, seconds=1.0)


def test_the_best_trial_is_chosen_and_a_value_at_the_end_of_its_span_is_told():
    space = {"rate": Span(1e-4, 1e-2, log=True)}
    inside = choose([trial(1e-4, 0.5), trial(1e-3, 0.8), trial(9e-3, None, "pruned")], space, "x", exhausted=False)
    assert (inside.chosen, inside.edges) == ({"rate": 1e-3}, ())
    assert choose([trial(9e-3, 0.9), trial(1e-3, 0.8)], space, "x", exhausted=False).edges == ("rate",)


def test_nothing_is_chosen_where_no_trial_has_a_score():
    with pytest.raises(HarnessError, match="strategy 'x': none of its 1 trials has a validation score"):
        choose([trial(1e-3, None, "failed")], {"rate": Span(1e-4, 1e-2)}, "x", exhausted=False)


def test_a_plan_that_was_not_searched_for_stays_as_it_is(catalog, tiny_model, tmp_path):
    made = plan(catalog, tiny_model)
    assert settle(made, Store(tmp_path / "results"), catalog) == made
    assert [arm.label for arm in unsettled(made)] == ["full", "frozen", "lora"]
