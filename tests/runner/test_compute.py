"""What the runner makes of what executors and observers do, with real runs of a tiny model in this process."""

import sys
from dataclasses import replace

import pytest

import harness
from harness.catalog import with_plugin
from harness.contracts import Executor, Strategy
from harness.records import Failure, Outcome
from harness.testing import runner_here, toy_catalog, toy_run

pytestmark = pytest.mark.slow


class Fickle(Executor):
    """Computes each run here, and says what a test wants it to say of it."""

    name = "fickle"
    here = True

    def run(self, jobs, host):
        for job in jobs:
            yield from self.answers(job, host)

    def answers(self, job, host):
        yield job, host.compute(job, cpu=True)


@pytest.fixture
def said():
    return []


@pytest.fixture
def runner(tmp_path, said):
    return runner_here(tmp_path / "results", toy_catalog(), said.append)


@pytest.fixture
def runs(runner, tiny_model):
    strategy = runner.catalog.make(Strategy, "frozen", {})
    return [("frozen", toy_run(runner.catalog, tiny_model, strategy, seed, stages=1)) for seed in (0, 1)]


def computed(runner, runs, executor=None):
    runner = replace(runner, executor=executor or runner.executor)
    return {run.seed: result for run, result in runner.compute(runs, "begin", len(runs))}


def test_a_run_that_is_lost_once_is_computed_again(runner, runs, said):
    class Losing(Fickle):
        seen: list[int] = []

        def answers(self, job, host):
            self.seen.append(job.run.seed)
            if self.seen.count(1) == 1 and job.run.seed == 1:
                yield job, Failure(run_id=job.run.id, status="lost", reason="the node went away")
            else:
                yield from super().answers(job, host)

    results = computed(runner, runs, Losing())
    assert all(isinstance(result, Outcome) for result in results.values())
    assert "frozen seed 1 was lost and is tried again: the node went away" in said


def test_runs_that_are_lost_again_and_again_are_told_and_not_stored_as_done(runner, runs):
    class Half(Fickle):
        def answers(self, job, host):
            if job.run.seed == 0:
                yield from super().answers(job, host)

    results = computed(runner, runs, Half())
    assert isinstance(results[0], Outcome)
    assert (results[1].status, results[1].reason) == ("lost", "executor 'fickle' ended without a result for this run")
    assert runner.store.outcome(runs[1][1]) is None
    assert runner.store.failure(runs[1][1]).status == "lost"


def test_an_executor_that_returns_nothing_at_all_leaves_every_run_lost(runner, runs):
    class Nothing(Fickle):
        def run(self, jobs, host):
            list(jobs)
            return iter(())

    assert [result.status for result in computed(runner, runs, Nothing()).values()] == ["lost", "lost"]


def test_a_run_that_nobody_asked_for_is_told_and_left_alone(runner, runs, said):
    class Eager(Fickle):
        def answers(self, job, host):
            answer = (job, host.compute(job, cpu=True))
            yield from (answer, answer, "done")

    assert len(computed(runner, runs[:1], Eager())) == 1
    run_id = runs[0][1].id
    assert [line for line in said if line.startswith("executor")] == [
        f"executor 'fickle' yielded a run that was not requested, which is ignored: {run_id}",
        "executor 'fickle' yielded something other than a job and its result: 'done'",
    ]


def test_what_is_said_to_be_done_must_be_stored(runner, runs, tmp_path):
    class Boasting(Fickle):
        def answers(self, job, host):
            yield job, host.compute(job.model_copy(update={"results": tmp_path / "elsewhere"}), cpu=True)

    [result] = computed(runner, runs[:1], Boasting()).values()
    assert result.status == "lost"
    assert "reports the run as done, but nothing is stored" in result.reason


@pytest.mark.parametrize("result", [None, "fine", 0.9])
def test_a_result_that_is_none_is_a_failure(runner, runs, result):
    class Odd(Fickle):
        def answers(self, job, host):
            del host
            yield job, result

    [found] = computed(runner, runs[:1], Odd()).values()
    assert found.status == "failed"
    assert f"executor 'fickle' yielded a {type(result).__name__}" in found.reason


@pytest.mark.parametrize("error", [ValueError("no idea"), SystemExit(3)])
def test_an_observer_that_raises_is_told_once_and_ends_nothing(runner, runs, said, error):
    class Raising:
        @harness.hookimpl
        def harness_run_logged(self):
            raise error

    runner = replace(runner, catalog=with_plugin(runner.catalog, Raising(), "raising"))
    assert all(isinstance(result, Outcome) for result in computed(runner, runs).values())
    told = [line for line in said if line.startswith("observer")]
    assert told == [f"observer 'raising' failed and is disabled: {type(error).__name__}: {error}"]


def test_a_strategy_that_exits_fails_alone(runner, runs, tiny_model):
    class Exiting(Strategy):
        """Exits."""

        name = "exiting"

        def tune(self, stage):
            del stage
            sys.exit("enough")

    class Plugin:
        @harness.hookimpl
        def harness_strategies(self):
            return [Exiting]

    catalog = with_plugin(runner.catalog, Plugin(), "exiting")
    run = toy_run(catalog, tiny_model, Exiting(), 2, stages=1)
    results = computed(replace(runner, catalog=catalog), [("exiting", run), *runs])
    assert (results[2].status, results[2].reason) == ("failed", "SystemExit: enough")
    assert isinstance(results[0], Outcome)


def test_what_a_run_prints_here_does_not_reach_standard_output(runner, runs, tiny_model, capsys):
    class Talking(Strategy):
        """Prints."""

        name = "talking"

        def tune(self, stage):
            sys.stdout.write("I am tuning\n")
            return stage.fit(stage.model)

    class Plugin:
        @harness.hookimpl
        def harness_strategies(self):
            return [Talking]

    catalog = with_plugin(runner.catalog, Plugin(), "talking")
    run = toy_run(catalog, tiny_model, Talking(), 2, stages=1)
    computed(replace(runner, catalog=catalog), [("talking", run)])
    assert capsys.readouterr().out == ""
