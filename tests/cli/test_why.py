"""`harness why` on a tiny comparison that was really computed."""

import json
import shutil
from pathlib import Path

import pytest

from harness import HarnessError
from harness.cli.why import why
from harness.contracts import Strategy
from harness.experiment.asked import Asked
from harness.experiment.search import kept_at
from harness.records import Run, SearchResult, Trial
from harness.store import Store, write_atomically
from harness.testing import compute, toy_catalog, toy_run

EXPERIMENT = """
model = {model!r}
stages = [{{ dataset = {data!r} }}]
watch = []
strategies = ["full", {{ name = "frozen", train = {{ max_length = 12 }} }}]
seeds = [0, 1]
train = {{ epochs = 1, batch_size = 8, max_length = 24 }}
"""


@pytest.fixture(scope="module")
def runs(catalog, tiny_model, tmp_path_factory) -> tuple[Path, Run, Run]:
    """A results folder and two runs in it: full with seed 0, frozen with seed 1."""
    toys, results = toy_catalog(catalog), tmp_path_factory.mktemp("why") / "results"
    asked = [
        toy_run(toys, tiny_model, toys.make(Strategy, name, {}), seed=seed, stages=1, epochs=1)
        for seed, name in enumerate(("full", "frozen"))
    ]
    for run in asked:
        compute(run, toys, results)
    return results, asked[0], asked[1]


def told(capsys, *names: str, results: Path) -> dict[str, object]:
    why(list(names), results=results, json_=True)
    return json.loads(capsys.readouterr().out)


def test_two_strategies_differ_in_what_is_compared(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    results, full, frozen = runs
    why([full.id, frozen.id[:8]], results=results)
    text = capsys.readouterr().out
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in text.splitlines() if line.strip()}
    assert lines["strategy.name"] == "full frozen nothing: the compared setting"
    assert lines["strategy.params.pooling"] == "- mean nothing: the compared setting"
    assert lines["seed"] == "0 1 nothing"
    assert text.splitlines()[-1] == "Their scores and their costs can be compared."


def test_a_run_and_itself_are_the_same(runs, capsys):
    results, full, _ = runs
    found = told(capsys, full.id, full.id[:10], results=results)
    assert found["differences"] == []
    assert found["conclusion"] == f"full s0 {full.id} and full s0 {full.id} are the same."


def test_the_same_run_computed_twice_is_held_against_itself_by_its_folders(runs, capsys, tmp_path):
    results, full, _ = runs
    shutil.copytree(results, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("cache"))
    folder = Store(tmp_path / "elsewhere").folder(full)
    outcome = json.loads((folder / "outcome.json").read_text())
    found = told(capsys, full.id, str(folder), results=results)
    assert found["conclusion"] == "They do not differ."
    (folder / "outcome.json").write_text(json.dumps({**outcome, "device": "GPU", "processes": 2}))
    found = told(capsys, full.id, str(folder), results=results)
    assert [(row["field"], row["second"], row["hinders"]) for row in found["differences"]] == [
        ("device", "GPU", ["costs"]),
        ("processes", 2, ["costs"]),
    ]
    assert found["conclusion"] == "Their scores can be compared; their costs cannot: device, processes."


def test_only_another_seed_is_said_so(runs, capsys, tmp_path):
    results, full, _ = runs
    store, other = Store(tmp_path / "results"), full.model_copy(update={"seed": 5})
    shutil.copytree(results, tmp_path / "results", dirs_exist_ok=True)
    with store.attempt(other):
        outcome = store.outcome(full).model_copy(update={"run_id": other.id})
        cells = [(cell.moment, cell.problem) for cell in outcome.evaluations]
        store.finish(other, outcome, {cell: store.predictions(full, *cell) for cell in cells})
    found = told(capsys, full.id, other.id, results=tmp_path / "results")
    assert found["conclusion"] == "They differ only in seed."


def test_a_run_that_has_not_finished_is_known_by_its_settings(runs, capsys, tmp_path):
    results, full, frozen = runs
    shutil.copytree(results, tmp_path / "results")
    (Store(tmp_path / "results").folder(frozen) / "outcome.json").unlink()
    found = told(capsys, full.id, frozen.id, results=tmp_path / "results")
    assert found["conclusion"] == (
        f"Their scores and their costs can be compared. No outcome is stored for frozen s1 {frozen.id} (not run yet)."
    )


def test_two_arms_of_an_experiment_are_held_against_each_other_by_their_labels(runs, capsys, tmp_path, tiny_model):
    (tmp_path / "data.csv").write_text("text,label\n" + "".join(f"text {n},{n % 2}\n" for n in range(40)))
    file = tmp_path / "lengths.toml"
    file.write_text(EXPERIMENT.format(model=str(tiny_model), data=f"file:{tmp_path / 'data.csv'}"))
    found = told(capsys, str(file), "full", "frozen", results=runs[0])
    assert {row["field"]: row["hinders"] for row in found["differences"]}["train.max_length"] == ["scores"]
    assert found["conclusion"].startswith(
        "Their costs can be compared; their scores cannot: train.max_length. No outcome is"
    )
    with pytest.raises(HarnessError) as error:
        why([str(file), "full", "frozn"], results=runs[0])
    assert str(error.value) == "unknown arm 'frozn': did you mean 'frozen'?"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "expected two runs, or an experiment file and two of its arms, but got: a"),
        (["x.toml", "full"], "expected two runs, or an experiment file and two of its arms, but got: x.toml full"),
        (["zz", "zz"], "no run 'zz' in "),
    ],
    ids=["one", "one arm", "unknown"],
)
def test_what_cannot_be_compared_is_said_in_one_line(runs, names, message):
    with pytest.raises(HarnessError) as error:
        why(names, results=runs[0])
    assert str(error.value).startswith(message)


def test_a_results_folder_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(HarnessError, match="no results folder"):
        why(["a", "b"], results=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_arms_whose_settings_were_searched_for_are_held_against_each_other_as_they_were_chosen(
    runs, capsys, tmp_path, tiny_model, catalog
):
    (tmp_path / "data.csv").write_text("text,label\n" + "".join(f"text {n},{n % 2}\n" for n in range(40)))
    file = tmp_path / "searched.toml"
    text = EXPERIMENT.format(model=str(tiny_model), data=f"file:{tmp_path / 'data.csv'}")
    file.write_text(text.replace("seeds", "tune = 1\nseeds", 1))
    store = Store(tmp_path / "results")
    made = Asked(str(file)).plan(catalog)
    arm = next(arm for arm in made.arms if arm.label == "full")
    trial = Trial(values={"train.learning_rate": 0.0123}, score=0.9, status="done", seconds=1)
    tuning = SearchResult(trials=(trial,), chosen=trial.values)
    write_atomically(kept_at(arm, made.budget, store), tuning.model_dump_json())
    found = told(capsys, str(file), "full", "frozen", results=store.root)
    rates = next(row for row in found["differences"] if row["field"] == "train.learning_rate")
    assert rates["first"] == 0.0123
