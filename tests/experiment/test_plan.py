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
        refusal(catalog, tiny_model, strategies=twice) == "two arms are called 'lora': give one of them another label"
    )
    made = plan(catalog, tiny_model, strategies=[twice[0], {**twice[1], "label": "lora-8"}])
    assert [arm.label for arm in made.arms] == ["untuned", "lora", "lora-8"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"stages": []}, "x: no dataset to tune on: name one with stages = [...] or --dataset"),
        ({"stages": ["rotten-tomatoes", "rotten-tomatoes"]}, "dataset 'rotten-tomatoes' is asked for as a stage twice"),
        ({"watch": ["rotten-tomatoes"]}, "dataset 'rotten-tomatoes' is tuned on, so it cannot be watched: only what nobody tunes on can"),
        ({"watch": ["sotu", "sotu"]}, "dataset 'sotu' is watched by 'representation' twice"),
        ({"stages": [{"name": "imdb", "task": "probe"}]}, "dataset 'imdb' cannot be tuned on by task 'probe': it is only for watching"),
        ({"watch": [{"name": "imdb", "task": "text-classification"}]}, "dataset 'imdb' cannot be watched by task 'text-classification': it needs a head that tuning makes"),
        ({"reference": "loro", "strategies": ["lora"]}, "unknown reference 'loro': did you mean 'lora'?"),
        ({"metrics": ["acuracy"]}, "unknown metric 'acuracy': did you mean 'accuracy'?"),
        ({"train": {"epoch": 1}}, "train: unknown setting 'epoch': did you mean 'epochs'?"),
        ({"model": "./nowhere"}, "unknown model './nowhere': choose one of: folder, hub, minilm, smollm2"),
    ],
    ids=["no stage", "stage twice", "stage watched", "watched twice", "watch task", "stage task", "reference", "metric", "setting", "model"],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_line(catalog, tiny_model, asked, message):
    assert refusal(catalog, tiny_model, **asked) == message


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
    assert {arm.label: bool(arm.space) for arm in made.arms if arm.role != "floor"} == {
        "fixed": False,
        "searched": True,
    }
