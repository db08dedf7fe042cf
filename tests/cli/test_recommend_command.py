"""`harness recommend` on real stored runs of a tiny model, and every way of asking it wrongly."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from harness.cli.app import app
from harness.errors import HarnessError
from harness.testing import ToyDataset, write_tiny_model

ASKED = ["reviews.csv", "-m", "./model", "--seeds", "0,1", "-s", "untuned,full,frozen", "-w", "prose.txt", "-o",
         "train.epochs=3", "-o", "train.max_length=24", "-o", "train.batch_size=8", "-o", "train.learning_rate=0.01"]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stored runs of three arms, two seeds and a watched text."""
    folder = tmp_path_factory.mktemp("place")
    write_tiny_model(folder / "model", hidden_dropout_prob=0.0)
    texts = ToyDataset(rows=120).read().splits["train"].to_pandas()
    texts.to_csv(folder / "reviews.csv", index=False)
    (folder / "prose.txt").write_text("\n\n".join(texts["text"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(app, ["compare", *ASKED, "--in-process"])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "160")
    return place


def recommend(*arguments: str) -> Result:
    """Ask about the stored runs; what is given again takes the place of what was asked."""
    pairs = zip(ASKED[1::2], ASKED[2::2], strict=True)
    asked = [part for pair in pairs if pair[0] not in arguments for part in pair]
    return CliRunner().invoke(app, ["recommend", ASKED[0], *asked, *arguments])


def advice(*arguments: str) -> dict[str, object]:
    done = recommend(*arguments, "--json")
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


@pytest.mark.slow
def test_words_come_first_then_numbers_then_what_they_mean(here):
    done = recommend("--min-score", "0.5")
    assert done.exit_code == 0, done.exception
    places = [
        done.stdout.index(text)
        for text in ("Use ", "P(front)", "P(meets all): probability of meeting --min-score 0.5 ", "learned: ")
    ]
    assert places == sorted(places)
    assert "probabilities are over 2 seeds and over test items" in done.stdout.replace("\n", " ")


@pytest.mark.slow
def test_a_program_reads_the_same(here):
    found = advice(
        "--min-score", "0.5x", "--max-forgetting", "1.5", "--price", "3600/h", "--max-cost", "1000", "--max-size", "1TB"
    )
    assert {arm["label"] for arm in found["arms"]} == {"untuned", "full", "frozen"}
    baseline = next(arm for arm in found["arms"] if arm["role"] == "baseline")
    assert (baseline["learned"], baseline["front"]) == (False, None)
    assert list(baseline["meets"]) == ["--min-score 0.5x", "--max-forgetting 1.5", "--max-size 1TB", "--max-cost 1000"]
    assert "cost" in baseline["values"]
    assert "size" in baseline["values"]


@pytest.mark.slow
def test_frozen_features_forget_nothing_and_so_keep_to_no_forgetting(here):
    meets = {arm["label"]: arm["meets"] for arm in advice("--max-forgetting", "file=0")["arms"]}
    assert meets["frozen"] == {"--max-forgetting file=0": 1.0}


@pytest.mark.slow
def test_the_floor_stays_the_floor_when_the_others_are_compared_with_it(here):
    baseline = next(
        arm for arm in advice("--reference", "untuned", "--min-score", "1x")["arms"] if arm["label"] == "untuned"
    )
    assert (baseline["role"], baseline["learned"], baseline["verdict"]) == ("baseline", False, "excluded")


@pytest.mark.slow
def test_what_nobody_meets_is_no_mistake_and_says_what_would_help(here):
    found = advice("--max-memory", "1kB")
    assert found["choice"] is None
    assert any(line.startswith("No strategy meets --max-memory 1kB; the nearest is ") for line in found["reasons"])
    assert any("would be chosen with --max-memory " in line for line in found["changes"])


@pytest.mark.slow
def test_one_seed_and_missing_runs_are_said(here):
    assert any(note.startswith("1 seed: ") for note in advice("--seeds", "0")["notes"])
    notes = advice("--seeds", "0,1,2")["notes"]
    assert "full: 2 of 3 seeds have finished; run harness compare to compute the rest" in notes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-cost", "5"], "--max-cost 5 needs a price: add --price 2.50/h"),
        (["--price", "2.50"], "--price '2.50' is not a price per unit of time, such as --price 2.50/h"),
        (["--max-cost", "5EUR", "--price", "2/h"], "--max-cost '5EUR' is not a number, such as 0.02"),
        (["--min-score", "98%"], "--min-score '98%' is neither a value, such as 0.85, nor a multiple of the reference's value, such as 0.98x"),
        (["--max-memory", "16"], "--max-memory '16' is not a size with a unit, such as 16GB, 800MB or 2GiB"),
        (["--max-size", "big"], "--max-size 'big' is not a size with a unit, such as 16GB, 800MB or 2GiB"),
        (["--max-time", "20"], "--max-time '20' is not a duration with a unit, such as 300s, 20m or 2h"),
        (["--max-forgetting", "nan"], "--max-forgetting 'nan' is not a number, such as 0.02"),
        (["--max-forgetting", "files=0.1"], "unknown dataset in --max-forgetting 'files': did you mean 'file'?"),
        (["--baseline", "half"], "--baseline 'half' is not a number, such as 0.02"),
        (["--prefer", "speed"], "unknown preference 'speed': choose one of: cost, forgetting, memory, score, size, time"),
        (["--min-score", "0.9x", "-s", "frozen,untuned"], "--min-score 0.9x is relative to the reference's accuracy, which is not known: give an absolute value, or name another strategy with --reference"),
        (["--results", "nowhere"], "no results folder 'nowhere': run harness compare first, or give another folder with --results"),
        (["--seeds", "7"], "no run of "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_users_mistake_is_one_line(here, arguments, message):
    error = recommend(*arguments).exception
    assert isinstance(error, HarnessError)
    assert str(error).startswith(message)
    assert "\n" not in str(error)


def test_it_takes_what_report_takes():
    takes = {
        name: {parameter.name for parameter in command.whole.params}
        for name, command in typer.main.get_command(app).commands.items()
    }
    shown = {"matrix", "curve", "reach", "format_", "output", "plot", "columns", "everything", "notes", "texts"}
    assert takes["report"] - takes["recommend"] <= shown
