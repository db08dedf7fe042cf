"""`harness compare --detach`: a comparison that is computed in the background, and followed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from harness.testing import ToyDataset, run_command, write_tiny_model

pytestmark = pytest.mark.slow

ASKED = ("reviews.csv", "-m", "./model", "-s", "full", "-w", "none", "-o", "train.max_length=24")
SHORT = (*ASKED, "--seeds", "0,1", "-o", "train.epochs=40")
LONG = (*ASKED, "--seeds", "0", "-o", "train.epochs=40000")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    write_tiny_model(folder / "model")
    ToyDataset(rows=80).read().splits["train"].to_pandas().to_csv(folder / "reviews.csv", index=False)
    return folder


def process_id(done) -> int:
    """Return the process in the background, as the command tells it."""
    assert done.returncode == 0, done.stderr
    return int(done.stderr.rsplit("kill -INT ", 1)[1])


def test_the_same_command_follows_what_is_computed_in_the_background(place):
    started = run_command("compare", *SHORT, "--results", "followed", "--detach", cwd=place)
    process_id(started)
    assert started.stdout == ""
    assert "the same command without --detach follows it" in started.stderr
    followed = run_command("compare", *SHORT, "--results", "followed", cwd=place)
    assert followed.returncode == 0, followed.stderr
    assert followed.stderr.count(": done in ") == 4  # as the process in the background tells it: two of the baseline
    assert "full" in followed.stdout
    assert "(reference)" in followed.stdout
    again = run_command("compare", *SHORT, "--results", "followed", cwd=place)
    assert ": done in " not in again.stderr
    assert again.stdout == followed.stdout


def test_it_is_not_started_twice_goes_on_when_it_is_left_and_ends_when_it_is_interrupted(place):
    arguments = ("compare", *LONG, "--results", "left")
    process = process_id(run_command(*arguments, "--detach", cwd=place))
    twice = run_command(*arguments, "--detach", cwd=place)
    assert twice.returncode == 2
    assert twice.stderr.endswith("is computed in the background already: follow it by the command without --detach\n")
    command = [sys.executable, "-m", "harness", *arguments]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as follows:
        next(line for line in follows.stderr if ": done in " in line)  # the baseline
        follows.send_signal(signal.SIGINT)
        said = follows.stderr.read()
    assert follows.returncode == 130
    assert said.endswith("is still computed in the background; the same command follows it\n")
    os.kill(process, 0)  # it lives
    os.kill(process, signal.SIGINT)
    deadline = time.monotonic() + 120
    log = next((place / "left" / "background").glob("*/log"))
    while "interrupted; run the same command to resume" not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_mistake_is_told_at_once(place):
    done = run_command("compare", "reviews.csv", "-m", "./nothing", "--results", "wrong", "--detach", cwd=place)
    assert done.returncode == 2
    assert "nothing" in done.stderr.splitlines()[-1]
    found = run_command(
        "compare", "reviews.csv", "-m", "./model", "-o", "train.max_length=100000", "--results", "wrong", "--detach", cwd=place
    )  # fmt: skip
    assert found.returncode == 2
    assert found.stderr.count("error: ") == 1
