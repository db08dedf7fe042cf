"""Runs computed by a real Slurm of two nodes, which these tests start on this machine where it is installed."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import HarnessError
from harness.contracts import Executor, Strategy
from harness.records import Job
from harness.testing import ToyDataset, check_executor, run_command, toy_catalog, toy_run, write_tiny_model

pytestmark = pytest.mark.slow
pytest.importorskip("submitit")

ASKED = ["reviews.csv", "-m", "./model", "--seeds", "0,1", "-s", "full,frozen", "-w", "none", "-o", "train.epochs=1",
         "-o", "train.max_length=24", "-f", "json"]  # fmt: skip
SLURM = "slurm:workers=2,gpus=0,cpus=1"
CONFIGURATION = """\
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node-%n.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/node-%n.log
SlurmctldPort={ports[0]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
JobRequeue=1
SlurmdTimeout=5
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
SlurmctldParameters=preempt_send_user_signal
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=4000
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=2
PartitionName=urgent Nodes=n1,n2 MaxTime=INFINITE State=UP PriorityTier=10
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def slurm(tmp_path_factory) -> Iterator[Path]:
    """A running Slurm, whose folder this is."""
    if not (shutil.which("slurmctld") and shutil.which("munged") and os.getuid() == 0):
        pytest.skip("needs Slurm and munge, and to be root")
    folder, host = tmp_path_factory.mktemp("slurm"), socket.gethostname().partition(".")[0]
    (folder / "state").mkdir()
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder, host=host, ports=free_ports(3)))
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    Path("/run/munge").mkdir(exist_ok=True)
    shutil.chown("/run/munge", "munge", "munge")
    if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
        subprocess.run(["su", "-s", "/bin/sh", "munge", "-c", shutil.which("munged")], check=True)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    subprocess.run(["slurmctld", "-f", folder / "slurm.conf"], check=True, capture_output=True)
    for node in ("n1", "n2"):
        start(folder, node)
    ready = 'test "$(sinfo --noheader --format=%t | sort -u)" = idle'
    for _ in range(60):
        if not subprocess.run(["sh", "-c", ready], capture_output=True, check=False).returncode:
            break
        time.sleep(0.5)
    yield folder
    for path in (*folder.glob("node-*.pid"), folder / "controller.pid"):
        os.kill(int(path.read_text()), signal.SIGTERM)
    os.environ.pop("SLURM_CONF")
    if before:
        os.environ["SLURM_CONF"] = before


def start(folder: Path, node: str) -> None:
    subprocess.run(["slurmd", "-N", node, "-f", folder / "slurm.conf"], check=True, capture_output=True)


@pytest.fixture(autouse=True)
def unchanged_environment() -> None:
    """SLURM_CONF stays for all tests of this file."""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    write_tiny_model(folder / "model", hidden_dropout_prob=0.0)
    ToyDataset(rows=80).read().splits["train"].to_pandas().to_csv(folder / "reviews.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def expected(place) -> dict[str, list[object]]:
    return scores(run_command("compare", *ASKED, "--results", "here", "--cpu", cwd=place))


def scores(done) -> dict[str, list[object]]:
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    return {row["label"]: [row["runs"], row["cells"][0]["value"], row["cells"][1]["value"]] for row in rows}


def test_workers_without_slurm_keep_the_contract(catalog):
    check_executor(catalog.make(Executor, "slurm", {"cluster": "local", "cpu": True}))


def test_two_nodes_give_the_scores_of_this_machine(place, slurm, expected):
    done = run_command("compare", *ASKED, "--results", "there", "--executor", SLURM, cwd=place)
    assert scores(done) == expected
    assert done.stderr.count(": done in ") == 6
    assert not list((place / "there" / "cache" / "slurm").iterdir())  # nothing is left of the workers


def test_a_node_that_dies_and_jobs_that_are_preempted_lose_nothing(place, slurm):
    command = ["compare", *ASKED, "-o", "train.epochs=60"]
    whole = scores(run_command(*command, "--results", "whole", "--cpu", cwd=place))
    cut = [sys.executable, "-m", "harness", *command, "--results", "cut", "--executor", SLURM]
    with subprocess.Popen(cut, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stderr if line.startswith("[1/6]"))
        kill_node(slurm, "n1")
        next(line for line in process.stderr if line.startswith("[2/6]"))
        start(slurm, "n1")
        urgent = ["sbatch", "--partition=urgent", "--nodes=1", "--output=/dev/null", "--wrap", "sleep 2"]
        subprocess.run(urgent, cwd=place, check=True, capture_output=True)
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    done = subprocess.CompletedProcess(cut, process.returncode, output, errors)
    assert scores(done) == whole


def kill_node(slurm: Path, node: str) -> None:
    """Kill all that runs on a node, as a power failure would."""
    os.kill(int((slurm / f"node-{node}.pid").read_text()), signal.SIGKILL)
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"SLURMD_NODENAME={node}\0".encode() in path.read_bytes():
                os.kill(int(path.parent.name), signal.SIGKILL)


def test_a_mistake_is_one_line(place, slurm):
    done = run_command("compare", *ASKED, "--results", "none", "--executor", f"{SLURM},partition=nowhere", cwd=place)
    assert done.returncode == 2
    assert "invalid partition" in done.stderr
    assert not list((place / "none" / "cache" / "slurm").iterdir())
    assert len([line for line in done.stderr.splitlines() if line.startswith("error: ")]) == 1


def test_without_slurm_it_is_said_how_to_go_on(catalog, place, monkeypatch):
    monkeypatch.setenv("PATH", "")
    job = Job(
        run=toy_run(toy_catalog(), place / "model", catalog.make(Strategy, "full", {})), results=place / "refused"
    )
    with pytest.raises(HarnessError, match="there is no sbatch on this machine"):
        list(catalog.make(Executor, "slurm", {}).run(iter([job]), None))
