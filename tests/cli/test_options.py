import pytest

from harness.errors import HarnessError
from harness.experiment.asked import Asked
from harness.testing import write_tiny_model


@pytest.fixture
def reviews(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.csv").write_text("text,label\na,x\nb,y\n")
    (tmp_path / "mine.toml").write_text('stages = ["imdb"]\nstrategies = ["full"]\n')
    return "reviews.csv"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Asked(), "no data to compare on: give an experiment file, a data file or --dataset"),
        (Asked(target="reviews.csv", datasets=["imdb"]), "both a data file ('reviews.csv') and --dataset are given: use only one"),
        (Asked(target="mine.toml", text="review"), "--text and --label need a data file, not an experiment file"),
        (Asked(datasets=["imdb"], label="x"), "--text and --label need a data file: give its path as the first argument"),
        (Asked(target="reviews.doc"), "'reviews.doc' is neither an experiment file (.toml, .yaml, .json) nor a data file (.bz2, .conll, .conllu, .csv, .gz, .json, .jsonl, .ndjson, .ods, .parquet, .tab, .tsv, .txt, .xls, .xlsx, .xz, .zst) nor the name of a comparison (harness ls)"),
        (Asked(target="reviews.csv", seeds="one"), "--seeds 'one' is not a list of whole numbers, such as 0,1,2"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_one_line(catalog, reviews, asked, message):
    with pytest.raises(HarnessError) as error:
        asked.spec(catalog)
    assert str(error.value) == message


def test_an_experiment_keeps_its_name_until_an_option_changes_the_question(catalog, reviews):
    plain = Asked(target="mine.toml").spec(catalog)
    other = Asked(target="mine.toml", options=["train.epochs=1"]).spec(catalog)
    assert plain.name == "mine"
    assert other.name.startswith("mine-")


def test_two_questions_on_one_data_file_have_two_names(catalog, reviews):
    names = {
        Asked(target=reviews, options=options).spec(catalog).name
        for options in ([], ["train.epochs=1"], ["file.text_pair=label"])
    }
    assert len(names) == 3


def test_flags_take_the_place_of_what_an_experiment_says(catalog, reviews):
    spec = Asked(target="mine.toml", strategies=["lora,frozen"], seeds="7", limit=["train=5"]).spec(catalog)
    assert [entry.name for entry in spec.strategies] == ["lora", "frozen"]
    assert spec.seeds == (7,)
    assert spec.stages[0].params == {"limit": {"train": 5}}


def test_a_data_file_by_itself_draws_rows_by_seed_and_an_experiment_does_as_it_says(catalog, reviews):
    assert Asked(target=reviews).spec(catalog).stages[0].params["draws"] == "seeds"
    fixed = Asked(target=reviews, options=["file.draws=fixed"]).spec(catalog)
    assert fixed.stages[0].params["draws"] == "fixed"
    assert "draws" not in Asked(target="mine.toml").spec(catalog).stages[0].params
    assert "draws" not in Asked(datasets=["rotten-tomatoes"]).spec(catalog).stages[0].params


def test_folds_bring_their_seeds_and_looks_must_be_planned(catalog, reviews):
    folded = Asked(target=reviews, folds=4).spec(catalog)
    assert folded.stages[0].params["folds"] == 4
    assert "draws" not in folded.stages[0].params
    assert folded.seeds == (0, 1, 2, 3)
    assert Asked(target="mine.toml", folds=2, seeds="0,1,2,3").spec(catalog).seeds == (0, 1, 2, 3)
    assert Asked(target=reviews, looks="3,5").spec(catalog).looks == (3, 5)
    for looks, said in (
        ("4,5", "looks are planned with 4, 5 seeds, but there are 3"),
        ("5,3", "looks must be ascending"),
        ("3,x", "--looks '3,x' is not a list"),
    ):
        with pytest.raises(HarnessError, match=said):
            Asked(target=reviews, looks=looks).spec(catalog)


def test_what_is_tuned_on_is_not_watched_by_default(catalog):
    assert [entry.name for entry in Asked(datasets=["sotu-era"]).spec(catalog).watch] == ["sotu"]
    assert Asked(datasets=["sotu-era"], watch=["none"]).spec(catalog).watch == ()


def test_strategies_that_nobody_named_are_left_out_where_they_do_not_suit_whatever_else_is_given(
    catalog, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_tiny_model(tmp_path / "gpt2", "GPT2LMHeadModel")
    (tmp_path / "prose.txt").write_text("\n\n".join(f"paragraph {number}" for number in range(40)))
    plain, other = (
        Asked(target="prose.txt", model="./gpt2", options=options).plan(catalog)
        for options in (None, ["train.epochs=1"])
    )
    assert [arm.label for arm in plain.arms] == [arm.label for arm in other.arms]
    assert "frozen" not in {arm.label for arm in plain.arms}
    with pytest.raises(HarnessError, match="'frozen' cannot be used"):
        Asked(target="prose.txt", model="./gpt2", strategies=["frozen"], options=["train.epochs=1"]).plan(catalog)


@pytest.mark.parametrize(
    "asked",
    [{"target": "names.bio"}, {"datasets": ["file:names.bio"]}, {"datasets": ["names.bio"]}],
    ids=["alone", "named", "as a dataset"],
)
def test_a_data_file_obeys_the_same_options_however_it_is_given(catalog, tmp_path, monkeypatch, asked):
    monkeypatch.chdir(tmp_path)
    write_tiny_model(tmp_path / "model")
    (tmp_path / "names.bio").write_text("Anna B-PER\nleft O\n\nShe O\nsaw O\n")
    plan = Asked(**asked, model="./model", watch=["none"], options=["file.format=conll"]).plan(catalog)
    (stage,) = plan.arms[0].runs[0].stages
    assert (stage.dataset.name, stage.task.name) == ("file", "token-classification")
