"""`harness report`, `diff` and `ls` on real stored runs of a tiny model."""

import csv
import io
import json
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner, Result

from harness.cli.app import app
from harness.errors import HarnessError
from harness.testing import ToyDataset, write_tiny_model

pytestmark = pytest.mark.slow

ASKED = ("reviews.csv", "-m", "./model", "-w", "none", "-o", "train.epochs=2", "-o", "train.max_length=24",
         "-o", "train.learning_rate=0.01")  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two comparisons, of which the second has one more arm and another epoch."""
    folder = tmp_path_factory.mktemp("place")
    write_tiny_model(folder / "model", hidden_dropout_prob=0.0)
    ToyDataset(rows=120).read().splits["train"].to_pandas().to_csv(folder / "reviews.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for more in (
            ("--name", "first", "--seeds", "0,1", "-s", "full,frozen"),
            ("--name", "second", "--seeds", "0,1", "-s", "full,lora", "-o", "train.epochs=3"),
        ):
            done = CliRunner().invoke(app, ["compare", *ASKED, *more, "--in-process", "-q"])
            assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "160")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_comparison_is_reported_by_its_name_with_the_answer_first():
    shown = run("report", "first").stdout
    lines = shown.splitlines()
    assert lines[0].strip() == "first"
    assert lines[1].startswith(("Use ", "No recommendation"))
    assert "not shown: " in shown
    assert "compute" not in shown.partition("not shown: ")[0]
    whole = run("report", "first", "--all", "-v").stdout
    assert "not shown: " not in whole
    assert "versions: torch" in whole
    assert (
        "time"
        not in run("report", "first", "--columns", "accuracy").stdout.partition("not shown: ")[0].partition("SCORE")[2]
    )


def test_a_file_is_written_in_the_format_of_its_suffix():
    for name in ("a.html", "b.tex", "c.xlsx", "d.csv", "e.md"):
        done = run("report", "first", "-O", name)
        assert done.exit_code == 0, done.exception
        assert done.stdout == f"saved as {name}\n"
        assert Path(name).stat().st_size > 500
    assert run("report", "first", "--format", "html").stdout == "saved as results/reports/first.html\n"
    assert run("report", "first", "--plot", "scores", "-O", "f.svg").exit_code == 0
    assert Path("f.svg").read_text(encoding="utf-8").startswith("<svg")
    assert run("report", "first", "--plot", "curve").stdout == "saved as results/reports/first-curve.svg\n"


def test_a_page_shows_texts_of_the_data_only_if_they_may_be_shown():
    texts = [row["text"] for row in csv.DictReader(io.StringIO(Path("reviews.csv").read_text(encoding="utf-8")))]
    run("report", "second", "-O", "with.html")
    run("report", "second", "-O", "without.html", "--no-texts")
    with_, without = (Path(name).read_text(encoding="utf-8") for name in ("with.html", "without.html"))
    assert not any(text in without for text in texts)
    if "test items on which strategies differ most" in with_:
        assert any(text in with_ for text in texts)
    assert "harness compare second.json" in with_


def test_the_experiment_that_a_page_tells_repeats_the_comparison():
    import html
    import re

    run("report", "first", "-O", "page.html")
    page = Path("page.html").read_text(encoding="utf-8")
    Path("first.json").write_text(html.unescape(re.search(r"<pre[^>]*>(.*?)</pre>", page, flags=re.DOTALL)[1]))
    assert (
        json.loads(run("plan", "first.json", "--json").stdout)["runs"]
        == json.loads(run("plan", "first", "--json").stdout)["runs"]
    )
    assert all(one["state"] == "done" for one in json.loads(run("plan", "first.json", "--json").stdout)["runs"])


def test_json_follows_its_schema():
    schema = json.loads(run("schema", "--table").stdout)
    table = json.loads(run("report", "first", "--format", "json").stdout)
    jsonschema.validate(table, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**table, "rows": "none"}, schema)


def test_two_comparisons_stand_side_by_side_with_verdicts_against_the_first():
    rows = json.loads(run("diff", "first", "second", "--format", "json").stdout)["rows"]
    assert [row["label"] for row in rows] == [
        f"{arm}: {name}" for arm in ("untuned", "full") for name in ("first", "second")
    ]
    assert all(rows[at]["cells"][0]["verdict"] is None for at in (0, 2))
    assert all(rows[at]["cells"][0]["verdict"] for at in (1, 3))
    with pytest.raises(HarnessError, match="neither an experiment file"):
        CliRunner().invoke(app, ["diff", "first", "third"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "first", "-O", "a.docx"], "'a.docx': no reporter writes this file type: use one of .csv, .html"),
        (["report", "first", "--plot", "pie", "-O", "a.svg"], "--format: reporter 'svg': plot: choose one of scores"),
        (["report", "first", "--plot", "stages", "-O", "a.svg"], "first: there is nothing to show in plot 'stages'"),
        (["report", "first", "--plot", "scores", "-O", "a.md"], "'a.md': no reporter writes a plot as this file type"),
        (["report", "first", "--columns", "acuracy"], "unknown column 'acuracy': did you mean 'accuracy'"),
        (["report", "first", "-O", "reviews.csv/a.md"], "'reviews.csv/a.md' cannot be written: "),
        (["ls", "third"], "no comparison 'third' in 'results': harness ls lists them"),
        (["rm", "third"], "no comparison 'third' in 'results': harness ls lists them"),
        (["ls", "--status", "done"], "--status and --strategy choose runs: add --runs"),
    ],
)
def test_a_users_mistake_is_one_line(arguments, message):
    error = run(*arguments).exception
    assert isinstance(error, HarnessError)
    assert str(error).startswith(message)
    assert "\n" not in str(error)
