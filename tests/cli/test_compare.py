"""`harness compare` as a user runs it: a tiny model in a folder, small files; in a process of its own where it is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from harness.testing import ToyDataset, run_command, write_tiny_model

pytestmark = pytest.mark.slow

QUICK = ["-o", "train.epochs=1", "-o", "train.max_length=24", "-o", "train.batch_size=8", "-w", "none"]


def with_plugins(path: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, in which the plugins in a folder are installed."""
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments],
        cwd=cwd, env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def table(cwd: Path, *arguments: str) -> dict[str, object]:
    done = run_command("report", *arguments, "--format", "json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def computed(done: subprocess.CompletedProcess[str]) -> int:
    """Return how many runs a command says it computed."""
    return sum(": done in " in line for line in done.stderr.splitlines())


def losses(folder: Path) -> list[float]:
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if "loss" in event]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model, without dropout, and a data file."""
    folder = tmp_path_factory.mktemp("place")
    write_tiny_model(folder / "model", hidden_dropout_prob=0.0)
    frame = ToyDataset(rows=80).read().splits["train"].to_pandas()
    frame["label"] = frame["label"].map({0: "good", 1: "bad"})
    frame.to_csv(folder / "reviews.csv", index=False)
    return folder


@pytest.mark.slow
def test_a_data_file_alone_ends_in_a_table_and_the_same_again_computes_nothing(place):
    arguments = ["reviews.csv", "-m", "./model", "--seeds", "0,1", *QUICK, "--results", "first"]
    first = run_command("compare", *arguments, cwd=place)
    assert first.returncode == 0, first.stderr
    assert computed(first) == 8
    for label in ("untuned (baseline)", "full (reference)", "frozen", "lora"):
        assert label in first.stdout
    again = run_command("compare", *arguments, cwd=place)
    assert again.returncode == 0
    assert again.stdout == first.stdout
    assert again.stderr == ""
    kept = list((place / "first" / "reports").glob("reviews-*.md"))
    assert len(kept) == 1
    assert "full (reference)" in kept[0].read_text(encoding="utf-8")

    # More seeds and another strategy compute only what is new.
    more = run_command(
        "compare",
        *arguments,
        "--seeds",
        "0,1,2",
        "-s",
        "full,frozen,last-layers",
        "-o",
        "last-layers.layers=1",
        cwd=place,
    )
    assert more.returncode == 0, more.stderr
    assert computed(more) == 1 + 1 + 1 + 3


@pytest.mark.slow
def test_two_processes_see_the_same_batches_and_take_the_same_steps_as_one(place):
    arguments = [
        "reviews.csv",
        "-m",
        "./model",
        "--seeds",
        "0",
        "-s",
        "full,frozen",
        *QUICK,
        "-o",
        "train.learning_rate=0.005",
    ]
    for processes in ("1", "2"):
        done = run_command(
            "compare", *arguments, "--processes-per-run", processes, "--results", f"by-{processes}", "--cpu", cwd=place
        )
        assert done.returncode == 0, done.stderr
    for strategy in ("full", "frozen"):
        one, two = (next((place / f"by-{n}" / "runs").glob(f"{strategy}-*")) for n in (1, 2))
        assert one.name == two.name
        outcomes = [json.loads((folder / "outcome.json").read_text()) for folder in (one, two)]
        assert [outcome["processes"] for outcome in outcomes] == [1, 2]
        assert [outcome["steps"] for outcome in outcomes] == [outcomes[0]["steps"]] * 2
        assert [outcome["phases"]["tune"]["flops"] for outcome in outcomes] == pytest.approx(
            [outcomes[0]["phases"]["tune"]["flops"]] * 2, rel=0.02
        )  # each process pads its own part
        assert losses(one) == pytest.approx(losses(two), abs=1e-4)
        with np.load(one / "predictions.npz") as single, np.load(two / "predictions.npz") as shared:
            assert set(single) == set(shared)
            assert np.array_equal(single["ids-1-0"], shared["ids-1-0"])
            assert single["outputs-1-0"] == pytest.approx(shared["outputs-1-0"], abs=2e-3)


@pytest.mark.slow
def test_runs_side_by_side_are_the_runs_one_after_another(place):
    arguments = ["reviews.csv", "-m", "./model", "--seeds", "0,1", "-s", "full,frozen", *QUICK]
    scores = []
    for number in ("1", "3"):
        done = run_command(
            "compare",
            *arguments,
            "--side-by-side",
            number,
            "--results",
            f"beside-{number}",
            "--format",
            "json",
            cwd=place,
        )
        assert done.returncode == 0, done.stderr
        assert computed(done) == 6
        rows = json.loads(done.stdout)["rows"]
        scores.append({row["label"]: (row["cells"][0]["value"], sorted(row["runs"])) for row in rows})
    assert scores[0] == scores[1]


@pytest.fixture
def interruptible():
    """Have what is started heed interrupts, even where these tests were started in the background, which ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_an_interrupt_cancels_what_is_under_way_and_loses_nothing(place, interruptible):
    arguments = ["reviews.csv", "-m", "./model", "--seeds", "0,1", "-s", "full", *QUICK, "-o", "train.epochs=400"]
    command = [
        sys.executable,
        "-m",
        "harness.cli",
        "compare",
        *arguments,
        "--side-by-side",
        "2",
        "--results",
        "stopped",
    ]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stderr if line.startswith("[2/4]"))
        os.kill(process.pid, signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert "interrupted; run the same command to resume" in said
    folders = list((place / "stopped" / "runs").iterdir())
    finished = [folder for folder in folders if (folder / "outcome.json").exists()]
    failures = [json.loads((folder / "failure.json").read_text()) for folder in folders if folder not in finished]
    assert len(finished) >= 2
    assert failures
    assert {failure["status"] for failure in failures} == {"cancelled"}


@pytest.mark.slow
def test_an_interrupt_from_a_terminal_is_one_line_whatever_is_being_done(place, interruptible):
    arguments = ["reviews.csv", "-m", "./model", "--seeds", "0", "-s", "full", *QUICK, "--results", "early"]
    command = [sys.executable, "-m", "harness.cli", "compare", *arguments]
    with subprocess.Popen(
        command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        said = [next(line for line in process.stderr if line.startswith("examining the model"))]
        os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to all processes
        said += process.stderr.readlines()  # until the last process has ended
    assert said == ["examining the model\n", "interrupted; run the same command to resume\n"]


@pytest.mark.slow
def test_after_kill_9_no_finished_run_is_computed_again_and_the_table_is_the_uninterrupted_one(place):
    arguments = ["reviews.csv", "-m", "./model", "--seeds", "0,1", "-s", "full,frozen", *QUICK]
    whole = run_command("compare", *arguments, "--results", "whole", cwd=place)
    assert whole.returncode == 0, whole.stderr

    command = [sys.executable, "-m", "harness.cli", "compare", *arguments, "--results", "cut"]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stderr if line.startswith("[3/6]"))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    time.sleep(1)  # the run in hand notices that its command is gone
    finished = {path.parent.name: path.stat().st_mtime_ns for path in (place / "cut" / "runs").glob("*/outcome.json")}
    assert 3 <= len(finished) < 6

    rest = run_command("compare", *arguments, "--results", "cut", cwd=place)
    assert rest.returncode == 0, rest.stderr
    after = {path.parent.name: path.stat().st_mtime_ns for path in (place / "cut" / "runs").glob("*/outcome.json")}
    assert {name: after[name] for name in finished} == finished
    assert len(after) == 6
    expected, found = (table(place, *arguments, "--results", name) for name in ("whole", "cut"))
    timed = {"tune_seconds", "peak_memory_bytes", "energy_joules", "latency_p50_ms", "throughput"}
    keep = [number for number, column in enumerate(expected["columns"]) if column["key"] not in timed]
    for a, b in zip(expected["rows"], found["rows"], strict=True):
        assert a["runs"] == b["runs"]
        assert [a["cells"][number] for number in keep] == [b["cells"][number] for number in keep]


FAULTY = """
import os
import harness

class Crash(harness.Strategy):
    "Ends its process without a word."
    name = "crash"
    def tune(self, stage):
        os._exit(7)

class Raise(harness.Strategy):
    "Raises."
    name = "raise"
    def tune(self, stage):
        raise ValueError("no idea")

@harness.hookimpl
def harness_strategies():
    return [Crash, Raise]
"""


def install(folder: Path, name: str, code: str) -> Path:
    """Lay out an installed distribution with one plugin module."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[harness]\n{name} = {name}\n")
    return folder


@pytest.mark.slow
def test_a_run_that_fails_or_crashes_takes_no_other_with_it_and_is_a_row_with_its_reason(place, tmp_path):
    plugins = install(tmp_path, "faulty", FAULTY)
    arguments = [
        "reviews.csv",
        "-m",
        "./model",
        "--seeds",
        "0",
        "-s",
        "crash,raise,frozen",
        *QUICK,
        "--results",
        "faulty",
    ]
    done = with_plugins(plugins, "compare", *arguments, cwd=place)
    assert done.returncode == 1
    assert "crash seed 0: failed: its process ended without a result (exit code 7)" in done.stderr
    assert "raise seed 0: failed: ValueError: no idea" in done.stderr
    assert "frozen seed 0: done in" in done.stderr
    assert "[1] crash: seed 0 failed: its process ended without a result (exit code 7)" in done.stdout
    assert computed(done) == 2
    again = with_plugins(plugins, "compare", *arguments, cwd=place)
    assert again.returncode == 1
    assert "2 runs to compute; 2 already stored" in again.stderr


KILLED = """
import os
import pathlib
import signal
import harness

class Vanish(harness.Strategy):
    "Has its process killed, the first time."
    name = "vanish"
    def tune(self, stage):
        print("I am about to vanish", flush=True)
        marker = pathlib.Path("vanished")
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        stage.model.requires_grad_(False)
        stage.head.requires_grad_(True)
        return stage.fit(stage.model)

class Segfault(harness.Strategy):
    "Crashes."
    name = "segfault"
    def tune(self, stage):
        os.kill(os.getpid(), signal.SIGSEGV)

@harness.hookimpl
def harness_strategies():
    return [Vanish, Segfault]
"""


@pytest.mark.slow
def test_a_run_that_is_killed_is_computed_again_and_what_it_prints_is_in_its_log(place, tmp_path):
    plugins = install(tmp_path, "killed", KILLED)
    arguments = ["reviews.csv", "-m", "./model", "--seeds", "0", "-s", "vanish,segfault", *QUICK, "--results", "killed"]
    done = with_plugins(plugins, "compare", *arguments, "-f", "json", cwd=place)
    (told,) = (line for line in done.stderr.splitlines() if line.startswith("vanish seed 0 was lost"))
    assert "SIGKILL" in told
    assert "vanish seed 0: done in" in done.stderr
    assert "segfault seed 0: failed: its process crashed (SIGSEGV)" in done.stderr
    json.loads(done.stdout)
    (log,) = (place / "killed" / "runs").glob("vanish-*/worker.log")
    assert log.read_text().count("I am about to vanish") == 2


@pytest.mark.slow
def test_what_libraries_log_is_in_the_log_of_each_run_when_asked_for(place):
    arguments = ["reviews.csv", "-m", "./model", "--seeds", "0", "-s", "frozen", *QUICK, "--results", "logged"]
    assert run_command("compare", *arguments, "--log-level", "debug", cwd=place).returncode == 0
    (log,) = (place / "logged" / "runs").glob("frozen-*/worker.log")
    assert "DEBUG " in log.read_text()


@pytest.mark.slow
def test_what_would_be_delivered_is_kept_when_asked_for_and_loads_with_plain_transformers(place):
    arguments = ["reviews.csv", "-m", "./model", "--seeds", "0", "-s", "full,lora", *QUICK, "--results", "kept"]
    assert run_command("compare", *arguments, cwd=place).returncode == 0
    done = run_command("compare", *arguments, "--keep-models", cwd=place)
    assert done.returncode == 0, done.stderr
    import peft
    import transformers

    full, lora = (next((place / "kept" / "runs").glob(f"{name}-*")) / "model" for name in ("full", "lora"))
    model = transformers.AutoModelForSequenceClassification.from_pretrained(full)
    assert model.config.id2label == {0: "bad", 1: "good"}
    base = transformers.AutoModelForSequenceClassification.from_pretrained(place / "model", num_labels=2)
    assert peft.PeftModel.from_pretrained(base, lora).peft_config["default"].r == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv"], "error: no data file 'missing.csv'"),
        (["missing.toml"], "error: no experiment file 'missing.toml'"),
        (["reviews.csv", "--label", "lable"], "error: reviews.csv: unknown column 'lable': did you mean 'label'?; the columns are text, label; set the column with --label"),
        (["reviews.csv", "-s", "lorra"], "error: unknown strategy 'lorra': did you mean 'lora'?"),
        (["reviews.csv", "-m", "minlm"], "error: unknown model 'minlm': did you mean 'minilm'?"),
        (["-d", "imbd"], "error: unknown dataset 'imbd': did you mean 'imdb'?"),
        (["reviews.csv", "-o", "lora.rnk=4"], "error: strategy 'lora': unknown setting 'rnk': did you mean 'rank'?"),
        (["reviews.csv", "-o", "lora.rank=many"], "error: strategy 'lora': rank: input should be a valid integer, unable to parse string as an integer, but got 'many'"),
        (["reviews.csv", "-o", "train.epochs=0"], "error: train: epochs: input should be greater than 0 or 'flat', but got 0"),
        (["reviews.csv", "--metric", "acuracy"], "error: unknown metric 'acuracy': did you mean 'accuracy'?"),
        (["reviews.csv", "--format", "mardown"], "error: unknown reporter 'mardown': did you mean 'markdown'?"),
        (["reviews.csv", "--without", "loro"], "error: unknown plugin 'loro': did you mean 'lora'?"),
        (["reviews.csv", "--without", "lora", "-s", "lora"], "error: unknown strategy 'lora': did you mean 'adalora'?"),
        (["one-class.csv"], "error: dataset 'file' does not fit task 'text-classification': needs at least two classes, but the data has only 'a'"),
        (["latin.csv"], "error: latin.csv: not UTF-8 (line 2); it looks like cp1252 (a line would read 'été,a'): if that is right, use -o file.encoding=cp1252, or save the file as UTF-8"),
        (["empty.csv"], "error: empty.csv: the file is empty"),
        ([], "error: no data to compare on: give an experiment file, a data file or --dataset"),
        (["reviews.csv", "-m", "hub:bert"], "error: model: 'hub:bert' has no revision: write hub:<id>@<revision>, so that the run is reproducible"),
        (["reviews.csv", "--results", "model"], "error: 'model' is not empty and not a results folder of harness: give another folder with --results"),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else "",
)  # fmt: skip
def test_a_users_mistake_is_one_line_and_exit_status_2(place, arguments, message):
    (place / "one-class.csv").write_text("text,label\n" + "".join(f"text {number},a\n" for number in range(30)))
    (place / "latin.csv").write_bytes("text,label\n\xe9t\xe9,a\n".encode("latin-1"))
    (place / "empty.csv").write_text("")
    model = [] if "-m" in arguments else ["-m", "./model"]
    results = [] if "--results" in arguments else ["--results", "mistakes"]
    done = run_command("compare", *arguments, *model, *results, "-w", "none", cwd=place)
    assert done.returncode == 2
    assert [line for line in done.stderr.splitlines() if line.startswith("error")] == [message]
    assert "Traceback" not in done.stderr


def test_no_room_on_the_disk_is_said_before_anything_is_computed(place, monkeypatch):
    import shutil
    from types import SimpleNamespace

    from typer.testing import CliRunner

    from harness.cli.app import app
    from harness.errors import HarnessError

    monkeypatch.chdir(place)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    result = CliRunner().invoke(
        app, ["compare", "reviews.csv", "-m", "./model", "-w", "none", "--in-process", "--results", "full-disk"]
    )
    assert isinstance(result.exception, HarnessError)
    assert str(result.exception) == "not enough disk space at 'full-disk': 1 MB free, 200 MB needed"
