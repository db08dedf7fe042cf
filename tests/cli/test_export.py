"""From a comparison to models at work elsewhere: exported, loaded by their own libraries alone, asked, and verified."""

import csv
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.cli.app import app
from harness.errors import HarnessError
from harness.testing import ToyDataset, run_command, write_tiny_model
from harness.testing.toys import TELLING

pytestmark = pytest.mark.slow

OPTIONS = (
    "-m", "./model", "-s", "full", "-s", "lora", "-s", "frozen", "--seeds", "0,1", "-w", "none", "-o", "train.epochs=4",
    "-o", "train.learning_rate=0.01", "-o", "train.max_length=32", "-o", "train.batch_size=8",
)  # fmt: skip
READ = """
import csv, json, sys
folder, data = sys.argv[1:3]
rows = list(csv.DictReader(open(data, encoding="utf-8")))
texts = [row["text"] for row in rows]
"""
TELL = """
assert "harness" not in sys.modules
print(json.dumps(said))
"""
LOADERS = {
    "full": """
import transformers
said = [found["label"] for found in transformers.pipeline("text-classification", folder, truncation=True)(texts)]
""",
    "lora": """
import os, peft, torch, transformers
os.chdir(folder)
model = peft.AutoPeftModelForSequenceClassification.from_pretrained(".").eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(".")
with torch.no_grad():
    scores = model(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt")).logits
said = [model.config.id2label[int(number)] for number in scores.argmax(1)]
""",
    "frozen": """
import onnxruntime, transformers
tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
graph = onnxruntime.InferenceSession(folder + "/model.onnx")
inputs = dict(tokenizer(texts, padding=True, truncation=True, return_tensors="np"))
classes = json.load(open(folder + "/harness.json"))["classes"]
said = [classes[number] for number in graph.run(None, inputs)[0].argmax(1)]
""",
    "frozen by sentence-transformers": """
from sentence_transformers import SentenceTransformer
classes = json.load(open(folder + "/harness.json"))["classes"]
said = [classes[number] for number in SentenceTransformer(folder).encode(texts).argmax(1)]
""",
}


def fresh(code: str, *arguments: object) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", READ + code + TELL, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def written(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Path:
    """A folder in which three arms were compared and their models kept."""
    folder = tmp_path_factory.mktemp("compared")
    write_tiny_model(folder / "model", max_position_embeddings=64)
    toy = ToyDataset(rows=150, classes=3).read().splits["train"]
    rows = [(text, f"it is {TELLING[label]}") for text, label in zip(toy["text"], toy["label"], strict=True)]
    written(folder / "train.csv", rows[:120])
    written(folder / "test.csv", rows[120:])
    done = run_command(
        "compare", "train.csv", "-o", "file.test=test.csv", *OPTIONS, "--keep-models", "--cpu", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def exported(compared) -> dict[str, Path]:
    """Of each arm its folder."""
    for arm, extra in (("full", ()), ("lora", ()), ("frozen", ("--onnx",))):
        done = run_command(
            "export",
            "train.csv",
            arm,
            f"out/{arm}",
            "-o",
            "file.test=test.csv",
            *OPTIONS,
            *extra,
            "--cpu",
            cwd=compared,
        )
        assert done.returncode == 0, done.stderr
        assert "30 of 30 test predictions equal the stored ones" in done.stdout
    return {arm: compared / "out" / arm for arm in ("full", "lora", "frozen")}


def stored(compared: Path, folder: Path) -> list[str]:
    """Return the classes that the exported run's stored predictions say, in the order of the test file."""
    manifest = json.loads((folder / "harness.json").read_text(encoding="utf-8"))
    (run,) = compared.glob(f"results/runs/*-{manifest['run']}")
    with np.load(run / "predictions.npz") as arrays:
        order = np.argsort(arrays["ids-1-0"])
        found = [manifest["classes"][number] for number in arrays["outputs-1-0"][order].argmax(1)]
    assert len(set(found)) > 1, "the model says the same of every text, so that nothing is tested"
    return found


@pytest.mark.parametrize("loader", LOADERS)
def test_an_exported_model_answers_by_its_librarys_own_loader_as_it_was_measured(compared, exported, loader):
    folder = exported[loader.split()[0]]
    assert fresh(LOADERS[loader], folder, compared / "test.csv") == stored(compared, folder)


def test_an_exported_folder_can_be_moved_and_still_answers(compared, exported, tmp_path):
    import shutil

    moved = tmp_path / "elsewhere" / "lora"
    shutil.copytree(exported["lora"], moved)
    assert fresh(LOADERS["lora"], moved, compared / "test.csv") == stored(compared, moved)
    for path in exported["lora"].rglob("*.json"):
        assert str(compared) not in path.read_text(encoding="utf-8")


def test_a_merged_adapter_is_a_whole_model(compared, exported):
    done = run_command(
        "export",
        "train.csv",
        "lora",
        "out/merged",
        "-o",
        "file.test=test.csv",
        *OPTIONS,
        "--merged",
        "--cpu",
        cwd=compared,
    )
    assert done.returncode == 0, done.stderr
    assert not (compared / "out/merged/adapter_config.json").exists()
    assert fresh(LOADERS["full"], compared / "out/merged", compared / "test.csv") == stored(compared, exported["lora"])


def test_the_card_has_scores_the_way_to_load_it_and_the_check(exported):
    from huggingface_hub import ModelCard

    card = ModelCard.load(exported["frozen"] / "README.md")
    assert card.data.library_name == "sentence-transformers"
    assert card.data.eval_results[0].metric_type == "accuracy"
    for said in ("SentenceTransformer(", "onnxruntime", "| score | accuracy |", "30 of 30 test items", "## Limits"):
        assert said in card.text


def test_what_was_tuned_on_all_data_says_that_its_scores_are_the_comparisons(compared):
    done = run_command(
        "export",
        "train.csv",
        "lora",
        "out/all",
        "-o",
        "file.test=test.csv",
        *OPTIONS,
        "--all-data",
        "--cpu",
        cwd=compared,
    )
    assert done.returncode == 0, done.stderr
    manifest = json.loads((compared / "out/all/harness.json").read_text(encoding="utf-8"))
    assert manifest["all_data"] is True
    assert manifest["rows"]["train"] == 150
    assert "tuned again on all splits" in (compared / "out/all/README.md").read_text(encoding="utf-8")


def test_predict_writes_the_rows_with_what_is_said_of_each(compared, exported):
    done = run_command("predict", exported["lora"], "test.csv", "-o", "said.csv", cwd=compared)
    assert done.returncode == 0, done.stderr
    with (compared / "said.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["text", "label", "predicted_label", "probability"]
    assert [row["predicted_label"] for row in rows] == stored(compared, exported["lora"])
    lines = run_command(
        "predict", exported["frozen"], "-", "--onnx", cwd=compared, given="the film is good\n\nthe plot is bad\n"
    )
    assert [json.loads(line)["text"] for line in lines.stdout.splitlines()] == ["the film is good", "the plot is bad"]
    assert set(json.loads(lines.stdout.splitlines()[0])) == {"text", "label", "probability"}


def test_a_row_without_a_text_is_left_blank_and_counted(compared, exported):
    (compared / "gaps.csv").write_text('text,n\nthe film is good,1\n"",2\n', encoding="utf-8")
    done = run_command("predict", exported["full"], "gaps.csv", cwd=compared)
    assert done.stdout.splitlines()[2] == ",2,,"
    assert "1 of 2 rows left blank (first: row 2: no text)" in done.stderr


def test_a_mistake_is_one_line_and_writes_nothing(compared, exported, monkeypatch):
    monkeypatch.chdir(compared)
    (compared / "other").mkdir(exist_ok=True)
    (compared / "existing").mkdir(exist_ok=True)
    damaged = compared / "damaged"
    if not damaged.exists():
        import shutil

        shutil.copytree(exported["full"], damaged)
        with (damaged / "config.json").open("a") as file:
            file.write(" ")
    export = ("export", "train.csv", "-o", "file.test=test.csv", *OPTIONS)
    mistakes = {
        ("predict", "other", "test.csv"): "'other' is not an exported model (no harness.json)",
        ("predict", "nowhere", "test.csv"): "'nowhere' is not a folder",
        ("predict", "damaged", "test.csv"): "'damaged/config.json' was changed after delivery",
        ("predict", "out/full", "nothing.csv"): "no data file 'nothing.csv'",
        ("predict", "out/full", "test.csv", "--text", "message"): "unknown column 'message'",
        (
            "predict",
            "out/full",
            "test.csv",
            "-o",
            "test.csv",
        ): "'test.csv' already exists, and predict does not overwrite files",
        ("predict", "out/full", "test.csv", "-o", "said.doc"): "unknown file extension",
        ("predict", "out/full", "test.csv", "--onnx"): "has no model.onnx; export the model with --onnx",
        (*export, "lara", "new"): "unknown arm 'lara': did you mean 'lora'?",
        (*export, "untuned", "new"): "arm 'untuned' is a baseline and has no model to export",
        (*export, "lora", "existing"): "'existing' already exists, and export does not overwrite folders",
        (*export, "lora", "new", "--seed", "7"): "--seed 7: arm 'lora' has only the seeds 0, 1",
        (
            *export,
            "lora",
            "new",
            "-o",
            "train.epochs=3",
        ): "arm 'lora' has no finished run: run harness compare with the same",
        (*export, "lora", "test.csv/new"): "cannot be written: 'test.csv' is not a folder",
        ("verify", "nothing.zip"): "no file 'nothing.zip'",
        ("bundle", "train.csv", "runs.tar"): "the output file must end in .zip",
    }
    for arguments, message in mistakes.items():
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert isinstance(done.exception, HarnessError), (arguments, done.output)
        assert message in str(done.exception)
        assert len(str(done.exception).splitlines()) == 1
    assert not (compared / "new").exists()
    assert not list(compared.glob(".new-*"))


def test_a_model_that_answers_otherwise_is_not_delivered(compared, exported, tmp_path):
    import shutil

    shutil.copytree(compared / "results", tmp_path / "results")
    shutil.copytree(compared / "model", tmp_path / "model")
    shutil.copy(compared / "train.csv", tmp_path)
    shutil.copy(compared / "test.csv", tmp_path)
    (kept,) = tmp_path.glob("results/runs/full-*-s0-*/model")
    assert json.loads((kept / "harness.json").read_text())["kind"] == "whole"
    other = next(tmp_path.glob("results/runs/full-*-s1-*/model"))
    manifest = json.loads((kept / "harness.json").read_text())
    shutil.rmtree(kept)
    shutil.copytree(other, kept)  # another seed's weights under this run's name
    changed = json.loads((kept / "harness.json").read_text())
    (kept / "harness.json").write_text(json.dumps({**changed, "run": manifest["run"], "seed": 0}))
    done = run_command(
        "export",
        "train.csv",
        "full",
        "wrong",
        "-o",
        "file.test=test.csv",
        *OPTIONS,
        "--seed",
        "0",
        "--cpu",
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "of 30 test items (ids " in done.stderr
    assert not (tmp_path / "wrong").exists()


def test_one_changed_byte_is_told_by_report_and_verify_and_a_bundle_verifies_elsewhere(compared, tmp_path):
    import shutil

    asked = ("train.csv", "-o", "file.test=test.csv", *OPTIONS)
    for name in ("train.csv", "test.csv"):
        shutil.copy(compared / name, tmp_path)
    shutil.copytree(compared / "results", tmp_path / "results")
    shutil.copytree(compared / "model", tmp_path / "model")
    done = run_command("verify", *asked, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "runs: 8: 8 intact")
    assert "all equal to the saved table" in done.stdout
    assert run_command("bundle", *asked, "runs.zip", cwd=tmp_path).returncode == 0
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "runs.zip", tmp_path / "elsewhere")
    done = run_command("verify", "runs.zip", cwd=tmp_path / "elsewhere")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "runs: 8: 8 intact")
    with zipfile.ZipFile(tmp_path / "elsewhere" / "runs.zip") as archive:
        assert not any(str(tmp_path) in archive.read(name).decode(errors="replace") for name in archive.namelist())
    run = next(
        path
        for path in tmp_path.glob("results/runs/lora-*-s1-*")
        if not json.loads((path / "run.json").read_text(encoding="utf-8"))["all_data"]
    )
    content = bytearray((run / "predictions.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (run / "predictions.npz").write_bytes(content)
    told = f"stored run 'results/runs/{run.name}': predictions.npz was changed after the run ended"
    done = run_command("verify", *asked, cwd=tmp_path)
    assert done.returncode == 1
    assert told in done.stdout
    done = run_command("report", *asked, "--format", "markdown", cwd=tmp_path)
    assert done.returncode == 0
    assert told in done.stdout
    assert "| lora | 1 |" in done.stdout
    done = run_command("export", *asked, "lora", "new", "--seed", "1", cwd=tmp_path)
    assert (done.returncode, told in done.stderr) == (2, True)
