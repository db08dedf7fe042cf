import pytest

from harness.errors import HarnessError
from harness.experiment.plan import make_plan
from harness.experiment.spec import make_spec


def plan(catalog, tiny_model, **more):
    table = {"name": "x", "model": str(tiny_model), "stages": ["rotten-tomatoes"], "seeds": [0, 1], **more}
    return make_plan(make_spec(table, "x"), catalog)


def refusal(catalog, tiny_model, **more) -> str:
    with pytest.raises(HarnessError) as error:
        plan(catalog, tiny_model, **more)
    return str(error.value)


def test_arms_stand_floor_first_then_the_reference_then_the_rest_as_asked(catalog, tiny_model):
    made = plan(catalog, tiny_model, strategies=["lora", "full", "frozen"])
    assert [arm.label for arm in made.arms] == ["untuned", "full", "lora", "frozen"]
    assert made.reference == "full"


def test_no_strategy_named_means_the_default_ones(catalog, tiny_model):
    assert {arm.label for arm in plan(catalog, tiny_model).arms} == {"untuned", "full", "frozen", "lora"}


def test_runs_come_seed_by_seed(catalog, tiny_model):
    made = plan(catalog, tiny_model, strategies=["full"])
    assert [(arm.label, run.seed) for arm, run in made.runs] == [
        ("untuned", 0),
        ("full", 0),
        ("untuned", 1),
        ("full", 1),
    ]


def test_a_learning_rate_is_the_arms_own_else_the_experiments_else_the_strategys(catalog, tiny_model):
    strategies = ["full", {"name": "lora", "train": {"learning_rate": 1e-2}}]
    own = {arm.label: arm.runs[0].train.learning_rate for arm in plan(catalog, tiny_model, strategies=strategies).arms}
    assert own == {"untuned": None, "full": 5e-5, "lora": 1e-2}
    shared = plan(catalog, tiny_model, strategies=strategies, train={"learning_rate": 1e-3})
    assert {arm.label: arm.runs[0].train.learning_rate for arm in shared.arms} == {
        "untuned": 1e-3,
        "full": 1e-3,
        "lora": 1e-2,
    }


def test_one_strategy_twice_needs_two_labels(catalog, tiny_model):
    twice = [{"name": "lora", "rank": 4}, {"name": "lora", "rank": 8}]
    assert (
        refusal(catalog, tiny_model, strategies=twice)
        == "two arms have the label 'lora': give one of them another label"
    )
    made = plan(catalog, tiny_model, strategies=[twice[0], {**twice[1], "label": "lora-8"}])
    assert [arm.label for arm in made.arms] == ["untuned", "lora", "lora-8"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"stages": []}, "x: no dataset to tune on: give one with stages = [...] or --dataset"),
        ({"stages": ["rotten-tomatoes", "rotten-tomatoes"]}, "dataset 'rotten-tomatoes' is given as a stage twice"),
        ({"watch": ["rotten-tomatoes"]}, "dataset 'rotten-tomatoes' is tuned on, so it cannot be watched: watch a dataset that is not a stage"),
        ({"watch": ["sotu", "sotu"]}, "dataset 'sotu' is watched with task 'representation' twice"),
        ({"stages": [{"name": "imdb", "task": "probe"}]}, "dataset 'imdb' cannot be tuned on with task 'probe': the task is for watching only"),
        ({"watch": [{"name": "imdb", "task": "text-classification"}]}, "dataset 'imdb' cannot be watched with task 'text-classification': the task needs a head that only tuning creates"),
        ({"reference": "loro", "strategies": ["lora"]}, "unknown reference 'loro': did you mean 'lora'?"),
        ({"metrics": ["acuracy"]}, "unknown metric 'acuracy': did you mean 'accuracy'?"),
        ({"train": {"epoch": 1}}, "train: unknown setting 'epoch': did you mean 'epochs'?"),
        ({"model": "./nowhere"}, "unknown model './nowhere': choose one of: folder, hub, minilm, smollm2"),
    ],
    ids=["no stage", "stage twice", "stage watched", "watched twice", "watch task", "stage task", "reference", "metric", "setting", "model"],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_line(catalog, tiny_model, asked, message):
    assert refusal(catalog, tiny_model, **asked) == message


def test_folds_need_seeds_that_cover_them_and_no_search(catalog, tiny_model):
    folded = {"stages": [{"dataset": "rotten-tomatoes", "folds": 3}]}
    message = "3 folds need the seeds 0 to 2, or 0 to 5 for two repetitions and so on, but seeds are 0, 1"
    assert refusal(catalog, tiny_model, **folded) == message
    assert refusal(catalog, tiny_model, **folded, seeds=[0, 1, 2], tune=3).startswith(
        "folds and a hyperparameter search"
    )
    assert len(plan(catalog, tiny_model, **folded, seeds=[0, 1, 2, 3, 4, 5]).arms[0].runs) == 6


def test_what_is_trained_on_validation_too_cannot_be_stopped_by_it(catalog, tiny_model):
    said = refusal(catalog, tiny_model, train={"refit": True})
    assert said.startswith(
        "train.refit trains on validation too, so nothing can be stopped by it: add a number of epochs"
    )
    assert refusal(catalog, tiny_model, train={"refit": True, "epochs": 3, "patience": 2}) == said
    fixed = {"refit": True, "epochs": 3}
    said = refusal(catalog, tiny_model, train=fixed, strategies=[{"name": "frozen", "selection": "validation"}])
    assert said.startswith("train.refit trains on validation too, on which frozen chooses: let it choose otherwise")
    arms = plan(catalog, tiny_model, train=fixed, strategies=["full", "frozen"]).arms
    assert all(arm.runs[0].train.refit for arm in arms)


def test_a_limit_of_an_unknown_split_is_refused(catalog, tiny_model):
    assert refusal(catalog, tiny_model, stages=[{"name": "imdb", "limit": {"dev": 5}}]).startswith(
        "dataset 'imdb': limit.dev"
    )


def test_paths_are_opened_by_the_component_for_them(catalog, tiny_model, tmp_path):
    (tmp_path / "mine.csv").write_text("text,label\na,x\n")
    made = plan(catalog, tiny_model, stages=[str(tmp_path / "mine.csv")])
    assert made.arms[0].runs[0].model.name == "folder"
    assert made.arms[0].runs[0].stages[0].dataset.name == "file"


def test_every_default_is_resolved_in_the_runs_record(catalog, tiny_model):
    run = plan(catalog, tiny_model, strategies=["lora"]).arms[1].runs[0]
    assert run.strategy.params == {"rank": 8, "alpha": 16.0, "dropout": 0.0, "layers": None}
    assert run.train.learning_rate == 5e-4
    assert run.stages[0].task.name == "text-classification"


def test_two_arms_of_the_same_settings_are_one_and_are_refused(catalog, tiny_model):
    twins = [{"name": "lora", "label": "A"}, {"name": "lora", "rank": 8, "label": "B"}]
    assert refusal(catalog, tiny_model, strategies=twins).startswith("arms 'A' and 'B' have the same settings")


def test_a_blank_learning_rate_is_the_strategys_own(catalog, tiny_model):
    made = plan(catalog, tiny_model, strategies=["full"], train={"learning_rate": None}, tune=2)
    arm = next(arm for arm in made.arms if arm.label == "full")
    assert arm.runs[0].train.learning_rate == 5e-5
    assert "train.learning_rate" in arm.space


def test_an_arm_that_is_searched_for_may_stand_beside_the_one_it_begins_with(catalog, tiny_model):
    arms = [{"name": "full", "label": "fixed", "train": {"learning_rate": 5e-5}}, {"name": "full", "label": "searched"}]
    made = plan(catalog, tiny_model, strategies=arms, tune=2)
    assert {arm.label: bool(arm.space) for arm in made.arms if arm.role != "baseline"} == {
        "fixed": False,
        "searched": True,
    }


def test_settings_that_came_later_change_no_id_where_they_have_their_defaults(catalog, tiny_model):
    def ids(**more):
        return [run.id for _, run in plan(catalog, tiny_model, strategies=["full", "lora"], **more).runs]

    assert ids() == ids(train={"class_weights": None, "label_smoothing": 0.0, "head_learning_rate": None})
    assert not set(ids()[1:3]) & set(ids(train={"label_smoothing": 0.1})[1:3])
    # Of the components, too: their parameters are part of the id.
    arm = plan(catalog, tiny_model, strategies=["lora"]).arms[1].runs[0]
    assert "target_modules" not in arm.strategy.params
    assert "head" not in arm.model.params


def test_what_has_no_effect_on_a_strategy_is_left_out_and_noted(catalog, tiny_model):
    made = plan(
        catalog, tiny_model, strategies=["full", "frozen"], train={"label_smoothing": 0.1, "class_weights": "balanced"}
    )
    by_label = {arm.label: arm.runs[0].train for arm in made.arms}
    assert (by_label["full"].label_smoothing, by_label["full"].class_weights) == (0.1, "balanced")
    assert (by_label["frozen"].label_smoothing, by_label["frozen"].class_weights) == (0.0, "balanced")
    assert by_label["untuned"].class_weights is None
    assert made.notes == (
        "max_length is 64 tokens, the model's limit, instead of 128",
        "train.label_smoothing has no effect on frozen",
    )


def test_a_task_whose_loss_does_not_take_a_setting_refuses_it(catalog, tiny_model):
    stages = [{"dataset": "rotten-tomatoes", "task": "multi-label-classification"}]
    assert refusal(catalog, tiny_model, stages=stages, train={"class_weights": "balanced"}) == (
        "train.class_weights cannot be used: task 'multi-label-classification' does not support it"
    )


@pytest.mark.parametrize(
    ("more", "chosen"),
    [
        ({}, None),
        ({"metrics": ["accuracy", "mcc"]}, None),
        ({"metrics": ["macro-f1", "accuracy"]}, None),
        ({"metrics": ["macro-f1", "accuracy"], "train": {"patience": 1}}, "macro-f1"),
        ({"metrics": ["macro-f1"], "tune": 2}, "macro-f1"),
        ({"metrics": ["macro-f1"], "train": {"select_by": "mcc", "patience": 1}}, "mcc"),
    ],
    ids=["nothing", "the task's first", "nothing to choose", "stopping early", "a search", "named"],
)
def test_choices_are_made_by_the_first_metric_that_is_asked_for(catalog, tiny_model, more, chosen):
    full = next(arm for arm in plan(catalog, tiny_model, strategies=["full"], **more).arms if arm.label == "full")
    assert full.runs[0].train.select_by == chosen


def test_a_head_that_is_chosen_on_validation_is_chosen_by_it_too(catalog, tiny_model):
    made = plan(catalog, tiny_model, strategies=["frozen", "frozen-ridge", "nearest-centroid"], metrics=["macro-f1"])
    assert {arm.label: arm.runs[0].train.select_by for arm in made.arms} == {
        "untuned": None, "frozen": "macro-f1", "frozen-ridge": "macro-f1", "nearest-centroid": None
    }  # fmt: skip


def test_an_unknown_metric_to_choose_by_is_refused(catalog, tiny_model):
    assert (
        refusal(catalog, tiny_model, train={"select_by": "acuracy"})
        == "unknown metric 'acuracy': did you mean 'accuracy'?"
    )


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        ({"name": "last-layers", "layers": 7}, "layers=7 is too many: the model has 2 blocks"),
        ({"name": "lora", "layers": 3}, "layers=3 is too many: the model has 2 blocks"),
        ({"name": "lora", "rank": 64}, "rank=64 is more than the model's width of 32"),
        ({"name": "lora", "target_modules": ["query", "q_proj"]}, "target_modules: the model has no linear layer 'q_proj'; available are dense, key, query, value"),
    ],
)  # fmt: skip
def test_what_is_too_much_for_the_model_is_refused_while_planning(catalog, tiny_model, strategy, reason):
    assert (
        refusal(catalog, tiny_model, strategies=[strategy]) == f"strategy {strategy['name']!r} cannot be used: {reason}"
    )


def test_the_models_own_settings_may_be_given_whatever_it_is_called(catalog, tiny_model):
    from harness.experiment.spec import with_overrides

    spec = make_spec({"name": "x", "model": str(tiny_model), "stages": ["rotten-tomatoes"]}, "x")
    assert with_overrides(spec, ["model.head=keep"]).model.params == {"head": "keep"}


def test_settings_spelled_as_they_were_at_first_work_and_are_noted(catalog, tiny_model):
    old = plan(catalog, tiny_model, strategies=["full"], train={"warmup": 0.3, "accumulation": 2})
    new = plan(catalog, tiny_model, strategies=["full"], train={"warmup_ratio": 0.3, "gradient_accumulation_steps": 2})
    assert [run.id for _, run in old.runs] == [run.id for _, run in new.runs]
    assert set(old.notes) - set(new.notes) == {
        "train.accumulation is now called train.gradient_accumulation_steps",
        "train.warmup is now called train.warmup_ratio",
    }
