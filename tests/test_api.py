"""The Python API on a real file and the embedded model, as a script, in doctests and in a notebook."""

import doctest
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import harness
from harness import api
from harness.contracts import Strategy
from harness.testing import ToyDataset

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebook.ipynb"
SCRIPT = """
import harness

comparison = harness.compare("reviews.csv", strategies=["frozen"], seeds=[0, 1], watch="none")
print(len(comparison.runs()))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a file of reviews."""
    folder = tmp_path_factory.mktemp("place")
    ToyDataset(rows=120).read().splits["train"].to_pandas().to_csv(folder / "reviews.csv", index=False)
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def comparison(here):
    return harness.compare("reviews.csv", strategies=["frozen"], seeds=[0, 1], watch="none")


@pytest.mark.slow
def test_the_examples_in_the_docstrings_are_true(here, capsys):
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner()
    # What computes comes first.
    tests = sorted(
        finder.find(api, "harness.api", globs={"harness": harness}),
        key=lambda test: ">>> comparison" not in test.docstring,
    )
    for test in tests:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0, capsys.readouterr().out
    tried = {test.name.removeprefix("harness.api.") for test in tests if test.examples}
    assert tried >= {"compare", "plan", "load_experiment", *(f"Comparison.{name}" for name in ("to_frame", "runs", "predictions", "recommend", "table", "save"))}  # fmt: skip


@pytest.mark.slow
def test_a_script_needs_no_guard_and_computes_nothing_twice(here, comparison):
    before = {path: path.stat().st_mtime_ns for path in (here / "results" / "runs").glob("*/outcome.json")}
    (here / "script.py").write_text(SCRIPT)
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=True)
    assert done.stdout == "4\n"
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_a_frame_has_the_numbers_of_the_table(comparison):
    frame, table = comparison.to_frame(), comparison.table()
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            assert frame.loc[row.label, column.key] == pytest.approx(cell.value)


@pytest.mark.slow
def test_the_mean_of_the_runs_is_the_arms_value_and_predictions_give_it_again(comparison):
    runs, frame = comparison.runs(), comparison.to_frame()
    mean = runs[runs["arm"] == "frozen"]["accuracy"].mean()
    assert frame.loc["frozen", "accuracy"] == pytest.approx(mean)
    predictions = comparison.predictions("frozen")
    right = [int(np.argmax(output)) == target or (len(output) == 1 and (output[0] > 0) == target) for output, target in zip(predictions["output"], predictions["target"], strict=True)]  # fmt: skip
    assert len(predictions) == 48
    assert 0 <= np.mean(right) <= 1


@pytest.mark.slow
def test_a_strategy_of_ones_own_is_compared_in_this_process(here):
    class Head(Strategy):
        """Train the head alone, through the whole model."""

        name = "my-head"
        defaults = {"learning_rate": 1e-2}

        def tune(self, stage):
            stage.model.requires_grad_(False)
            stage.head.requires_grad_(True)
            return stage.fit(stage.model)

    class Mine:
        @harness.hookimpl
        def harness_strategies(self):
            return [Head]

    found = harness.compare("reviews.csv", strategies=["my-head", {"name": "my-head", "label": "twice", "train": {"batch_size": 8}}], seeds=[0], watch="none", options="train.epochs=1", plugins=[Mine()])  # fmt: skip
    assert list(found.to_frame().index) == ["untuned", "my-head", "twice"]
    assert set(found.runs()["status"]) == {"done"}


@pytest.mark.slow
def test_folds_test_every_row_once_and_have_intervals(here):
    found = harness.compare("reviews.csv", strategies="nearest-centroid", folds=3, watch="none")
    predictions = found.predictions("nearest-centroid")
    assert sorted(predictions["item"]) == list(range(120))
    row = found.to_frame().loc["nearest-centroid"]
    assert row["n"] == 3
    assert row["accuracy.low"] <= row["accuracy"] <= row["accuracy.high"]
    assert row["accuracy.low"] < row["accuracy.high"]
    assert any("Nadeau and Bengio" in note for note in found.table().about)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "no data to compare on: give an experiment file, a data file or --dataset"),
        ({"target": "reviews.csv", "strategies": ["lorra"]}, "unknown strategy 'lorra': did you mean 'lora'?"),
        ({"target": "reviews.csv", "metric": ["mcc"]}, "unknown argument 'metric': did you mean 'metrics'?"),
        ({"target": "reviews.csv", "executor": "slurmm:x=1"}, "unknown executor 'slurmm'"),
        ({"target": "reviews.csv", "executor": "local:x=1"}, "--executor: executor 'local': unknown setting 'x'"),
        ({"target": "reviews.csv", "price": "cheap"}, "cheap"),
        ({"target": "none.csv"}, "none.csv"),
    ],
)
def test_a_mistake_is_the_sentence_of_the_command_line(here, asked, said):
    with pytest.raises(harness.HarnessError) as error:
        harness.compare(**asked)
    assert said in str(error.value)


def test_a_plugin_object_is_not_known_in_other_processes(here):
    class Head(Strategy):
        """Train nothing."""

        name = "my-head"

        def tune(self, stage):
            return stage.model

    class Mine:
        @harness.hookimpl
        def harness_strategies(self):
            return [Head]

    with pytest.raises(harness.HarnessError, match="computes in other processes, which do not know my-head"):
        harness.compare("reviews.csv", strategies="my-head", plugins=[Mine()], executor="local")


def test_one_of_a_kind_needs_no_list_and_a_path_is_a_name(here):
    Path("prose.txt").write_text("It was a dark night.\n" * 50)
    one = harness.plan(Path("reviews.csv"), strategies="lora", seeds=1, watch=Path("prose.txt"))
    several = harness.plan("reviews.csv", strategies=["lora"], seeds=[1], watch=["prose.txt"])
    assert [arm.runs for arm in one.arms] == [arm.runs for arm in several.arms]


def test_a_limit_that_cannot_be_read_is_told_before_anything_is_analysed(here, tmp_path):
    (tmp_path / "results").mkdir()
    empty = harness.load_experiment("reviews.csv", strategies="lora", seeds=1, results=tmp_path / "results")
    for asked, said in [({"max_memory": "lots"}, "lots"), ({"max_cost": 3}, "needs a price"), ({"prefer": "speed"}, "unknown preference")]:  # fmt: skip
        with pytest.raises(harness.HarnessError, match=said):
            empty.recommend(**asked)


def test_what_is_not_there_is_not_loaded(tmp_path, here):
    with pytest.raises(harness.HarnessError, match="no results folder"):
        harness.load_experiment("reviews.csv", results=tmp_path / "nothing")


@pytest.mark.slow
def test_a_table_is_saved_by_its_ending_and_shown_by_a_notebook(comparison):
    assert comparison.save("answer.csv").read_text().startswith("table,strategy,role,n")
    with pytest.raises(
        harness.HarnessError,
        match=r"'answer.xyz': no reporter writes this file type: use one of \.csv, \.html, \.json, \.md",
    ):
        comparison.save("answer.xyz")
    shown = comparison._repr_html_()
    assert "<td>frozen</td>" in shown
    assert "<summary>notes</summary>" in shown


@pytest.mark.slow
def test_the_notebook_of_the_documents_runs(tmp_path):
    ToyDataset(rows=120).read().splits["train"].to_pandas().to_csv(tmp_path / "reviews.csv", index=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    data = [output["data"] for output in shown if output.output_type == "execute_result"]
    assert any("class='harness'" in part.get("text/html", "") for part in data)
    assert any("frozen" in part.get("text/html", "") and "dataframe" in part["text/html"] for part in data)
    assert any("Use frozen" in part.get("text/plain", "") for part in data)
    assert "runs to compute" in "".join(output.text for output in shown if output.output_type == "stream" and output.name == "stdout")  # fmt: skip
