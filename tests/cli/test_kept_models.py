"""What `--keep-models` keeps, loaded in a fresh process by transformers and PEFT alone."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.contracts import Dataset, Model
from harness.testing import run_command, write_tiny_model

ADAPTER = """
import csv, json, sys, numpy, peft, torch, transformers
base, kept, data = sys.argv[1:]
torch.manual_seed(424242)  # another than any run's: what is in no file would be drawn anew
model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
model = peft.PeftModel.from_pretrained(model, kept).eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(kept)
with torch.no_grad():
    print(json.dumps([model(**tokenizer(row["text"], truncation=True, max_length=64, return_tensors="pt")).logits[0].tolist()
                      for row in csv.DictReader(open(data, encoding="utf-8"))]))
"""
WHOLE = """
import csv, json, sys, transformers
kept, data = sys.argv[1:]
answer = transformers.pipeline("text-classification", kept, top_k=None)
print(json.dumps([{part["label"]: part["score"] for part in answer([row["text"]])[0]} for row in csv.DictReader(open(data, encoding="utf-8"))]))
"""


def fresh(code: str, *arguments: object) -> list:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def written(path: Path, rows: list[tuple[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path


def compared(
    folder: Path, train: Path, test: Path, model: Path, strategy: str, *options: str
) -> tuple[Path, np.ndarray]:
    """Return what a run keeps of its model, and its stored predictions."""
    settings = [part for option in ("train.epochs=1", *options) for part in ("-o", option)]
    done = run_command("compare", str(train), "-o", f"file.test={test}", "-m", str(model), "-s", strategy, "--seeds", "0", "-w", "none",
                       *settings, "--keep-models", "--cpu", cwd=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "results" / "runs").glob(f"{strategy}-*")
    with np.load(run / "predictions.npz") as stored:
        return run / "model", stored["outputs-1-0"]


@pytest.mark.slow
def test_an_adapter_beside_a_body_without_its_pooler_answers_as_it_was_measured(catalog, tmp_path):
    import transformers

    published = catalog.make(Model, "minilm", {})
    masked = transformers.AutoModelForMaskedLM.from_pretrained(published.locate().path)
    masked.save_pretrained(tmp_path / "masked")
    published.tokenizer().save_pretrained(tmp_path / "masked")
    reviews = catalog.make(Dataset, "rotten-tomatoes", {}).read().splits["train"].shuffle(seed=0).select(range(500))
    rows = [(row["text"], ("bad", "good")[row["label"]]) for row in reviews]
    train, test = written(tmp_path / "train.csv", rows[:450]), written(tmp_path / "test.csv", rows[450:])
    kept, stored = compared(tmp_path, train, test, tmp_path / "masked", "lora", "train.max_length=64")
    answered = np.array(fresh(ADAPTER, tmp_path / "masked", kept, test))
    assert np.ptp(stored, axis=0).min() > 0.01  # not the same for every text
    assert np.abs(answered - stored).max() < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["full", "last-layers"])
def test_a_whole_model_reads_texts_as_it_was_tuned_to(tmp_path, strategy):
    model = write_tiny_model(tmp_path / "model", initializer_range=0.3)
    words = ("film", "plot", "actor", "scene", "the", "a")
    rows = [
        (f"{words[n % 6]} {words[n // 6 % 6]} {words[n // 36]} {('bad', 'good')[n % 2]}", ("bad", "good")[n % 2])
        for n in range(200)
    ]
    train, test = written(tmp_path / "train.csv", rows[:160]), written(tmp_path / "test.csv", rows[160:])
    kept, stored = compared(
        tmp_path, train, test, model, strategy, "train.max_length=16", "train.learning_rate=1e-2", "train.epochs=6"
    )
    scores = np.exp(stored) / np.exp(stored).sum(axis=1, keepdims=True)
    assert np.ptp(scores[:, 0]) > 1e-3  # not the same for every text, as if every word were unknown
    answered = [[scored["bad"], scored["good"]] for scored in fresh(WHOLE, kept, test)]
    assert np.abs(answered - scores).max() < 1e-4
