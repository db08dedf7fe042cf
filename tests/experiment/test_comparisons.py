"""Comparisons are found again by name, and what nothing needs can be deleted."""

import json

import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.errors import HarnessError
from harness.experiment.asked import Asked
from harness.experiment.comparisons import find_experiment, keep, kept
from harness.experiment.spec import read_spec
from harness.experiment.stored import stored_runs, unneeded
from harness.store import Store
from harness.testing import ToyDataset
from harness.testing.toys import runner_here


@pytest.fixture
def asked(tmp_path, tiny_model) -> Asked:
    file = tmp_path / "reviews.csv"
    file.write_text("text,label\n" + "".join(f"review {n},{'good' if n % 2 else 'bad'}\n" for n in range(40)))
    return Asked(target=str(file), model=str(tiny_model), watch=["none"], strategies=["frozen"], seeds="0")


def started(plan, store: Store) -> None:
    """Store the plan's runs as if they had been interrupted."""
    for _, run in plan.runs:
        with store.attempt(run):
            pass


def test_a_comparison_is_found_by_its_name_with_the_same_runs(asked, catalog, tmp_path):
    store = Store(tmp_path / "results")
    plan = asked.plan(catalog)
    keep(plan, store)
    again = Asked(target=plan.name).named_in(store.root).plan(catalog)
    assert [run.id for _, run in again.runs] == [run.id for _, run in plan.runs]
    assert again.name == plan.name
    assert [one.name for one in kept(store)] == [plan.name]


def test_a_name_that_is_given_is_the_name(asked, catalog, tmp_path):
    store = Store(tmp_path / "results")
    first = Asked(**{**vars(asked), "name": "mine"}).plan(catalog)
    keep(first, store)
    more = Asked(**{**vars(asked), "name": "mine", "seeds": "0,1"}).plan(catalog)
    keep(more, store)
    assert [len(one.plan.runs) for one in kept(store) if one.name == "mine"] == [len(more.runs)]
    others = [one for one in kept(store) if one.name != "mine"]
    assert [run.id for one in others for _, run in one.plan.runs] == [run.id for _, run in first.runs]
    assert read_spec(find_experiment(store.root, others[0].name)).seeds == (0,)


def test_an_unknown_name_is_told_with_the_command_that_lists_names(catalog, tmp_path):
    with pytest.raises(HarnessError, match=r"nor the name of a comparison \(harness ls\)"):
        Asked(target="nope").named_in(tmp_path).plan(catalog)


def test_only_runs_that_nothing_needs_are_deleted(asked, catalog, tmp_path):
    store = Store(tmp_path / "results")
    plan = asked.plan(catalog)
    other = Asked(**{**vars(asked), "seeds": "7"}).plan(catalog)
    keep(plan, store)
    started(plan, store)
    started(other, store)
    ids = {run.id for _, run in other.runs}
    assert {run.id for run in unneeded(store)} == ids
    cited = min(ids)
    (store.root / "reports").mkdir()
    (store.root / "reports" / "old.md").write_text(f"- frozen: `{cited}`\n")
    done = CliRunner().invoke(app, ["gc", "--results", str(store.root)], input="n\n")
    assert done.exit_code == 1
    assert {run.id for run in unneeded(store)} == ids - {cited}
    done = CliRunner().invoke(app, ["gc", "--results", str(store.root), "--yes"])
    assert "deleted 1 runs" in done.output
    assert {run.id for run in stored_runs(store)} == {cited, *(run.id for _, run in plan.runs)}


def test_a_run_that_is_being_computed_is_not_deleted(asked, catalog, tmp_path):
    store = Store(tmp_path / "results")
    plan = asked.plan(catalog)
    started(plan, store)
    with store.attempt(plan.runs[0][1]) as folder:
        done = CliRunner().invoke(app, ["gc", "--results", str(store.root), "--yes"])
        assert "left 1 that are being computed" in done.output
        assert (folder / "run.json").is_file()


def test_comparisons_and_runs_are_listed(asked, catalog, tmp_path):
    store = Store(tmp_path / "results")
    plan = asked.plan(catalog)
    keep(plan, store)
    started(plan, store)

    def listed(*arguments: str) -> list[dict]:
        return json.loads(CliRunner().invoke(app, ["ls", *arguments, "--results", str(store.root), "--json"]).output)

    (one,) = listed()
    assert (one["comparison"], one["arms"], one["runs"]) == (plan.name, ["untuned", "frozen"], {"unfinished": 2})
    assert [row["strategy"] for row in listed(plan.name)] == ["frozen", "untuned"]
    assert [row["run"] for row in listed("--runs", "--strategy", "frozen")] == [plan.arms[1].runs[0].id]
    assert listed("--runs", "--status", "done") == []
    done = CliRunner().invoke(app, ["rm", plan.name, "--results", str(store.root), "--yes"])
    assert done.exit_code == 0
    assert listed() == listed("--runs") == []


@pytest.mark.slow
def test_workers_share_the_runs_of_a_comparison_and_compute_each_once(asked, catalog, tmp_path):
    store = Store(tmp_path / "results")
    plan = Asked(**{**vars(asked), "seeds": "0,1"}).plan(catalog)
    keep(plan, store)
    runner = runner_here(store.root, catalog)
    others = store.claim(plan.runs[0][1])
    assert others is not None
    assert store.claim(plan.runs[0][1]) is None
    first = runner.work([plan])
    computed = [next(first)[0].id]
    assert plan.runs[0][1].id not in computed
    # Another worker begins meanwhile: it takes what is neither computed nor held.
    computed += [run.id for run, _ in runner_here(store.root, catalog).work([plan])]
    computed += [run.id for run, _ in first]
    assert sorted(computed) == sorted(run.id for _, run in plan.runs[1:])
    others.release()
    assert [run.id for run, _ in runner.work([plan])] == [plan.runs[0][1].id]
    assert list(runner.work([plan])) == []
    done = CliRunner().invoke(app, ["work", "--results", str(store.root)])
    assert done.output.endswith("0 runs computed, 0 failed\n")


@pytest.mark.slow
def test_runs_with_settings_that_a_search_chose_belong_to_their_comparison_from_the_first_on(asked, catalog, tmp_path):
    store = Store(tmp_path / "results")
    ToyDataset(rows=60).read().splits["train"].to_pandas().to_csv(asked.target, index=False)
    plan = Asked(**{**vars(asked), "tune": 2}).plan(catalog)
    runner = runner_here(store.root, catalog)

    computing = runner.compute
    seen: list[set[str]] = []

    def compute(runs, begin, total, *more):
        if not more:  # not the trials: the runs of the plan
            seen.append({run.id for one in kept(store) for _, run in one.plan.runs} - {run.id for _, run in runs})
        return computing(runs, begin, total, *more)

    object.__setattr__(runner, "compute", compute)
    done = runner.carry_out(plan)
    assert seen == [set()]
    assert [run.trial for run in unneeded(store)] == [True] * len(unneeded(store))
    assert {run.id for _, run in done.plan.runs} <= {run.id for one in kept(store) for _, run in one.plan.runs}


def test_nothing_is_deleted_if_a_comparison_cannot_be_read(asked, catalog, tmp_path):
    store = Store(tmp_path / "results")
    plan = asked.plan(catalog)
    keep(plan, store)
    started(plan, store)
    (store.root / "comparisons" / plan.name / "plan.json").write_text('{"of": "another version"}')
    done = CliRunner().invoke(app, ["gc", "--results", str(store.root), "--yes"])
    assert isinstance(done.exception, HarnessError)
    assert "cannot be read" in str(done.exception)
    assert len(list(stored_runs(store))) == 2
