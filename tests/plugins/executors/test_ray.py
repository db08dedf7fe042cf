"""Runs computed on a real Ray cluster of two nodes, which these tests start on this machine where Ray is installed."""

import json
import os
from pathlib import Path

import pytest

import harness
from harness import HarnessError
from harness.catalog import Catalog
from harness.contracts import Executor
from harness.experiment.asked import Asked
from harness.records import Job, Run
from harness.store import Store
from harness.testing import ToyDataset, check_executor, run_command, write_tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of Ray, about itself
# Read when Ray is imported; the first, so that nodes of one machine find each other by 127.0.0.1.
os.environ.update(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_USAGE_STATS_ENABLED="0")
ray = pytest.importorskip("ray")

ASKED = ["reviews.csv", "-m", "./model", "--seeds", "0,1", "-s", "full,frozen", "-w", "none", "-o", "train.epochs=1",
         "-o", "train.max_length=24", "-f", "json"]  # fmt: skip
NODE = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False, "node_ip_address": "127.0.0.1"}


@pytest.fixture(autouse=True)
def unchanged_environment() -> None:
    """Ray's variables stay for all tests of this file."""


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two nodes, to which this process is not connected."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args=NODE)
    made.add_node(**{name: value for name, value in NODE.items() if name != "include_dashboard"})
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    write_tiny_model(folder / "model", hidden_dropout_prob=0.0)
    ToyDataset(rows=80).read().splits["train"].to_pandas().to_csv(folder / "reviews.csv", index=False)
    return folder


def scores(done) -> dict[str, list[object]]:
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    return {row["label"]: [row["runs"], row["cells"][0]["value"], row["cells"][1]["value"]] for row in rows}


def test_two_nodes_give_the_scores_of_this_machine(place, cluster):
    expected = scores(run_command("compare", *ASKED, "--results", "here", "--cpu", cwd=place))
    done = run_command(
        "compare", *ASKED, "--results", "there", "--executor", f"ray:address={cluster.address}", "--cpu", cwd=place
    )
    assert scores(done) == expected
    assert done.stderr.count(": done in ") == 6
    assert not list((place / "there" / "cache").glob("ray-*"))


def test_an_actor_keeps_the_contract(catalog, cluster):
    check_executor(catalog.make(Executor, "ray", {"address": cluster.address, "cpu": True, "workers": 1}))


def runs_of(place: Path, catalog: Catalog) -> list[Run]:
    plan = Asked(
        target=str(place / "reviews.csv"), model=str(place / "model"), watch=["none"], strategies=["full"], seeds=[0, 1],
        options=["train.epochs=1", "train.max_length=24"],
    ).plan(catalog)  # fmt: skip
    return [run for arm, run in plan.runs if arm.label == "full"]


def test_a_run_whose_actor_is_killed_is_lost_and_the_next_one_is_computed(place, cluster, catalog, tmp_path):
    runs = runs_of(place, catalog)
    results = tmp_path / "results"
    Store(results)
    killed: list[str] = []

    class Host:
        def tell(self, job, event):
            if not killed:
                killed.append(job.run.id)
                for path in Path("/proc").glob("[0-9]*/cmdline"):
                    if path.read_bytes().startswith(b"ray::Worker"):
                        os.kill(int(path.parent.name), 9)

    executor = catalog.make(Executor, "ray", {"address": cluster.address, "cpu": True, "workers": 1})
    jobs = (Job(run=run, results=results) for run in runs)
    found = {job.run.id: result for job, result in executor.run(jobs, Host())}
    assert found[runs[0].id].status == "lost"
    assert Store(results).outcome(runs[1]) is not None


def test_results_travel_where_no_folder_is_shared(place, catalog, tmp_path):
    from harness_plugins.executors.ray import Worker

    run = runs_of(place, catalog)[0]
    job = Job(run=run, results=tmp_path / "nowhere")
    text, files = Worker(cpu=True).compute(job.model_dump_json(), str(tmp_path / "no-token"), harness.versions())
    assert harness.parse_result(text).run_id == run.id
    assert {Path(name).name for name in files} >= {"outcome.json", "predictions.npz", "run.json", "log.jsonl"}
    assert not (tmp_path / "nowhere").exists()


def test_a_mistake_is_one_line(place, cluster):
    for asked, told in (
        (f"ray:address={cluster.address}", "the cluster has 0 GPUs, and a run needs 1: use --cpu for the CPU"),
        ("ray:address=127.0.0.1:9", "no cluster at '127.0.0.1:9'"),
    ):
        done = run_command("compare", *ASKED, "--results", "none", "--executor", asked, cwd=place)
        assert done.returncode == 2
        assert told in done.stderr


def test_a_node_with_other_versions_is_named(place):
    from harness_plugins.executors.ray import Worker

    with pytest.raises(HarnessError, match=r"has torch .*: install the versions of the command's machine"):
        Worker(cpu=True).compute("", "", {**harness.versions(), "torch": "1.0"})
