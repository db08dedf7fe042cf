"""Processes wait for each other without taking a core from other work."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import reduction

import pytest

from harness import processes
from harness.processes import is_busy

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs a choice of cores")


@pytest.fixture
def neighbour() -> Iterator[None]:
    """Another process that keeps the only core of this one busy."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    code = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as busy:
        assert busy.stdout is not None
        busy.stdout.readline()
        try:
            yield
        finally:
            busy.kill()
            os.sched_setaffinity(0, before)


def spins(connection):
    """Send how often threads of this process look for work before they sleep, and the process it was copied from."""
    connection.send((os.environ.get("GOMP_SPINCOUNT"), os.getppid()))


def hold(connection):
    """Work until told to end."""
    connection.recv()


def asked():
    """Return what `spins` sends from a new process."""
    process, connection = processes.start_process(spins)
    found = connection.recv()
    process.join()
    return found


@pytest.fixture
def warm(monkeypatch):
    """A warm process that was started while the machine was quiet, and may be ended at any age."""
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes, "_LEAST_SECONDS", 0.0)
    asked()
    assert processes._warm._process is not None
    monkeypatch.setattr(processes._warm, "_patient", False)
    monkeypatch.setattr(processes._warm, "_started", 0.0)
    return processes._warm


@needs_affinity
def test_threads_wait_patiently_beside_other_work(warm, neighbour):
    assert is_busy(0.3)
    found, _ = asked()
    assert int(found) < 10_000
    assert "GOMP_SPINCOUNT" not in os.environ


@needs_affinity
def test_the_warm_process_stays_while_a_copy_of_it_is_at_work(warm, neighbour, monkeypatch):
    before = warm._process.pid
    monkeypatch.setattr(warm, "_patient", True)
    at_work, connection = processes.start_process(hold)
    monkeypatch.setattr(warm, "_patient", False)
    _, parent = asked()
    connection.send("end")
    at_work.join()
    assert parent == before


@needs_affinity
def test_the_warm_process_stays_as_long_as_the_load_does(warm, neighbour):
    _, first = asked()
    assert asked()[1] == first


@needs_affinity
def test_what_the_user_has_set_stays(warm, neighbour, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    before = warm._process.pid
    assert asked()[1] == before


@pytest.mark.slow
def test_ctrl_c_while_a_process_is_started_waits_until_it_has_started(monkeypatch):
    before, sent = signal.signal(signal.SIGINT, signal.default_int_handler), reduction.sendfds
    _, warm = asked()

    def interrupted(*asked):
        os.kill(os.getpid(), signal.SIGINT)
        sent(*asked)

    try:
        with monkeypatch.context() as patched:
            patched.setattr(reduction, "sendfds", interrupted)
            with pytest.raises(KeyboardInterrupt):
                asked()
    finally:
        signal.signal(signal.SIGINT, before)
    assert asked()[1] == warm
