"""Processes wait for each other without taking a core from other work."""

import os
import subprocess
import sys
from collections.abc import Iterator

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


@needs_affinity
def test_threads_wait_patiently_beside_other_work(neighbour, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    assert is_busy(0.3)
    with processes._waiting_policy():
        assert int(os.environ["GOMP_SPINCOUNT"]) < 10_000
    assert "GOMP_SPINCOUNT" not in os.environ


@needs_affinity
def test_what_the_user_has_set_stays(neighbour, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    with processes._waiting_policy():
        assert "GOMP_SPINCOUNT" not in os.environ
