"""The harness against a plain Trainer script, in turn within one run; and how its cost grows with the data.

    python tests/bench/bench.py [--quick] [--seeds 0,1,2,3,4] [--precision fp32,bf16] [--only short|reviews|neighbours|...]

Every measurement is kept under results/bench/ as it is made, so a bench that was interrupted goes on where it stopped; delete
the folder to measure anew. The table goes to results/reports/bench.md; make publish NAME=bench keeps it. With --quick, data is a
quarter, there is one seed, and all is kept under results/bench-quick/.
"""

import argparse
import csv
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from kept import (
    ARMS,
    CASES,
    DEVICE,
    EPOCHS,
    HARNESS,
    NEIGHBOURS,
    PARTS,
    RESULTS,
    ROOT,
    SCALES,
    SEEDS_OF_ARM,
    SIDE_BY_SIDE,
    STARTS,
    TIMED_SEEDS,
    Bench,
    say,
)
from table import table

import harness
from harness.catalog import load_catalog
from harness.contracts import Dataset, Model
from harness.engine.session import has_bf16_units
from harness.experiment.comparisons import keep
from harness.records import Run
from harness.store import Store


def main() -> None:
    """Measure what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--precision", default="fp32,bf16" if has_bf16_units(DEVICE) else "fp32")
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    seeds = tuple(int(seed) for seed in asked.seeds.split(","))
    bench = Bench(seeds[:1] if asked.quick else seeds, tuple(asked.precision.split(",")), asked.quick)
    wanted = [asked.only] if asked.only else list(PARTS)
    for case in CASES:
        for seed in bench.seeds_of(case) if case in wanted else ():
            for precision in bench.precisions:
                compare(bench, case, seed, precision)
    if "sentences" in wanted:
        for precision in bench.precisions:
            compare_at_once(bench, precision)
        also_last_layers(bench)
    for count in NEIGHBOURS if "neighbours" in wanted else ():
        bench.once(f"neighbours-{count}", lambda count=count: beside(bench, count))
    for rows in (SCALES[: -1 if bench.quick else None]) if "scale" in wanted else ():
        bench.once(f"scale-{rows}", lambda rows=rows: scale(bench, rows))
    if "starts" in wanted:
        bench.once("starts", lambda: starts(bench))
    if "many" in wanted and not bench.quick:
        bench.once("many", lambda: many(bench))
    path = RESULTS / "reports" / f"{bench.folder.name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(table(bench), encoding="utf-8")
    say(f"written to {path}")


def compare(bench: Bench, case: str, seed: int, precision: str) -> None:
    """Measure one seed both ways, the one that goes first alternating."""
    sides = [
        ("trainer", lambda: by_trainer(bench, case, seed, precision)),
        ("harness", lambda: by_harness(bench, case, [seed], precision)),
    ]
    for side, measure in sides if seed % 2 == 0 else sides[::-1]:
        bench.once(f"{case}-{precision}-{side}-s{seed}", lambda measure=measure: with_rates(measure, precision))


def compare_at_once(bench: Bench, precision: str) -> None:
    """Measure the whole comparison as one command, two runs at a time, with nothing in its cache."""
    options, seeds = ["--side-by-side", SIDE_BY_SIDE], bench.seeds[:TIMED_SEEDS]
    bench.once(
        f"sentences-{precision}-at-once",
        lambda: by_harness(bench, "sentences", seeds, precision, store="at-once", options=options),
    )


def also_last_layers(bench: Bench) -> None:
    """Measure two trained blocks of six, in the harness alone."""
    bench.once(
        "sentences-fp32-last-layers", lambda: by_harness(bench, "sentences", [0], "fp32", strategies=["last-layers"])
    )


def beside(bench: Bench, neighbours: int) -> dict[str, Any]:
    """Measure a run while so many other processes keep a core busy each."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(neighbours)]
    try:
        return by_harness(bench, "short", [0], "fp32", strategies=["full"], store=f"beside-{neighbours}")
    finally:
        for process in busy:
            process.kill()
            process.wait()


def with_rates(measure: Callable[[], dict[str, Any]], precision: str) -> dict[str, Any]:
    """Measure the machine's rates before and after: of matrix products, and of copies in memory."""
    before = rates(precision)
    result = measure()
    after = rates(precision)
    return {**result, **{name: statistics.mean([before[name], after[name]]) for name in before}}


def rates(precision: str) -> dict[str, float]:
    """Return operations per second of a product of two matrices of 2048 x 2048, and bytes per second read and written."""
    program = (
        "import json, sys, time, torch\n"
        "d = 'cuda' if torch.cuda.is_available() else 'cpu'\n"
        "a = torch.randn(2048, 2048, device=d).to(getattr(torch, sys.argv[1])); a @ a\n"
        "m = torch.ones(1 << 26, device=d); n = torch.empty_like(m)\n"
        "def seconds(work):\n"
        "    times = []\n"
        "    for _ in range(7):\n"
        "        start = time.perf_counter(); float(work()); times.append(time.perf_counter() - start)\n"
        "    return sorted(times)[3]\n"
        "product, copy = seconds(lambda: (a @ a)[0, 0]), seconds(lambda: n.copy_(m)[0])\n"
        "print(json.dumps({'flops_per_second': 2 * 2048**3 / product, 'bytes_per_second': 2 * 4 * 2**26 / copy}))"
    )
    dtype = {"fp32": "float32", "bf16": "bfloat16"}[precision]
    found: dict[str, float] = json.loads(run([sys.executable, "-c", program, dtype]).stdout)
    return found


def by_trainer(bench: Bench, case: str, seed: int, precision: str) -> dict[str, Any]:
    """Run the plain script on one seed."""
    _, length, _, strategies = CASES[case]
    files = data_files(bench, case)
    model = load_catalog().make(Model, "minilm", {}).locate().path
    command = [sys.executable, ROOT / "tests/bench/trainer.py", "--model", model, "--strategies", *strategies]
    command += ["--train", files["train"], "--test", files["test"], "--seed", seed, "--epochs", EPOCHS]
    command += ["--max-length", length, "--precision", precision]
    start = time.perf_counter()
    lines = run(command).stdout.splitlines()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "runs": [json.loads(line) for line in lines if line.startswith('{"strategy"')]}


def by_harness(
    bench: Bench,
    case: str,
    seeds: Iterable[int],
    precision: str,
    strategies: Sequence[str] | None = None,
    store: str = "store",
    options: Sequence[object] = (),
) -> dict[str, Any]:
    """Run `harness compare`; what earlier seeds have cached serves it, as it does within one command."""
    _, length, _, all_strategies = CASES[case]
    files = data_files(bench, case)
    folder = bench.folder / f"{store}-{case}-{precision}"
    wanted, seeds = list(strategies or all_strategies), list(seeds)
    command = [*HARNESS, "compare", files["train"], "--seeds", ",".join(map(str, seeds)), "-w", "none", *options]
    command += [f"--strategy={name}" for name in wanted]
    settings = {"train.max_length": length, "train.epochs": EPOCHS, "train.precision": precision}
    settings |= {"file.validation": files["validation"], "file.test": files["test"]}
    command += [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    start = time.perf_counter()
    run([*command, "--results", folder, "--format", "json"])
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "runs": [r for r in stored_runs(folder) if r["seed"] in seeds and r["strategy"] in wanted],
    }


def stored_runs(root: Path) -> list[dict[str, Any]]:
    """Return what the finished runs of a store took, and how accurate they are."""
    store, found = Store(root), []
    for folder in sorted((root / "runs").iterdir()):
        asked = Run.model_validate_json((folder / "run.json").read_text(encoding="utf-8"))
        outcome = store.outcome(asked)
        if outcome is None:
            continue
        predicted = store.predictions(asked, 1, 0)
        phases = outcome.phases
        tuning = [phases[name] for name in ("tune", "features") if name in phases]
        found.append(
            {
                "strategy": asked.strategy.name,
                "seed": asked.seed,
                "wall_seconds": outcome.wall_seconds,
                "tuning_seconds": sum(phase.wall_seconds for phase in tuning) + outcome.shared.seconds,
                "step_seconds": phases["tune"].wall_seconds,
                "step_flops": phases["tune"].flops,
                "steps": outcome.steps,
                "parameters": outcome.parameters_trained,
                "phases": {name: phase.wall_seconds for name, phase in phases.items()},
                "examples": outcome.examples,
                "device": outcome.device,
                "accuracy": float((predicted.outputs.argmax(1) == predicted.targets).mean()),
            }
        )
    return found


def scale(bench: Bench, rows: int) -> dict[str, Any]:
    """Run everything once over so many rows with a small model; what each part took, and its peak memory."""
    import transformers

    folder = bench.folder / "scale"
    small = folder / "model"
    if not small.exists():
        minilm = load_catalog().make(Model, "minilm", {})
        shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
        config = transformers.BertConfig(vocab_size=minilm.config().vocab_size, max_position_embeddings=128, **shape)
        transformers.BertModel(config).save_pretrained(small)
        minilm.tokenizer().save_pretrained(small)
    sentences = load_catalog().make(Dataset, "rotten-tomatoes", {}).read().splits["train"]
    random = np.random.default_rng(rows)
    texts, labels = sentences["text"][:], sentences["label"][:]
    for name, count in (("train", rows), ("validation", 100), ("test", 100)):
        # Halves of two sentences make one that stands nowhere else; the label is the first's.
        pairs = random.integers(len(texts), size=(count, 2))
        halves = [(texts[a][: len(texts[a]) // 2], texts[b][len(texts[b]) // 2 :], labels[a]) for a, b in pairs]
        write(folder / f"{name}-{rows}.csv", [(f"{first} {second}", label) for first, second, label in halves])
    store = folder / f"store-{rows}"
    command = [*HARNESS, "compare", folder / f"train-{rows}.csv", "-m", small, "-s", "full", "--seeds", 0, "-w", "none"]
    settings = {"train.max_length": 64, "train.epochs": 1, "train.batch_size": 128}
    settings |= {f"file.{name}": folder / f"{name}-{rows}.csv" for name in ("validation", "test")}
    command += [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    start = time.perf_counter()
    run([*command, "--results", store, "--format", "json"])
    seconds = time.perf_counter() - start
    outcomes = [json.loads(path.read_text(encoding="utf-8")) for path in (store / "runs").glob("*/outcome.json")]
    full = next(outcome for outcome in outcomes if outcome["steps"])
    return {
        "seconds": seconds,
        "read_seconds": seconds - sum(outcome["wall_seconds"] for outcome in outcomes),
        "tokenise_seconds": sum(outcome["phases"]["tokenise"]["wall_seconds"] for outcome in outcomes),
        "tune_seconds": full["phases"]["tune"]["wall_seconds"],
        "tune_bytes": full["phases"]["tune"]["peak_memory_bytes"],
        "tokenise_bytes": max(outcome["phases"]["tokenise"]["peak_memory_bytes"] or 0 for outcome in outcomes),
    }


def starts(bench: Bench) -> dict[str, Any]:
    """Return the median seconds of commands that compute nothing, and from a command to the start of its first run."""

    def seconds(command: Sequence[object]) -> float:
        times = []
        for _ in range(STARTS):
            start = time.perf_counter()
            run(command)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    folder, files = bench.folder / "starts", data_files(bench, "short")
    compared = [*HARNESS, "compare", files["train"], "-w", "none", "-s", "untuned,frozen,frozen-ridge,nearest-centroid"]
    compared += ["--seeds", "0,1,2", "-o", "train.max_length=16", "--results", folder]
    shutil.rmtree(folder, ignore_errors=True)
    began = time.time()
    run(compared)
    outcomes = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("runs/*/outcome.json")]
    first = min(datetime.fromisoformat(outcome["started"]).timestamp() for outcome in outcomes)
    return {
        "import typer, rich": seconds([sys.executable, "-c", "import typer, rich"]),
        "harness --help": seconds([*HARNESS, "--help"]),
        "harness list": seconds([*HARNESS, "list"]),
        f"harness compare of {len(outcomes)} stored runs": seconds(compared),
        "harness compare until its first run begins": first - began,
    }


def many(bench: Bench) -> dict[str, Any]:
    """Return what a report of many stored runs takes: the first time, and again. All are copies of a real one, with errors drawn."""
    folder, files = bench.folder / "many", data_files(bench, "short")
    shutil.rmtree(folder, ignore_errors=True)
    given: dict[str, Any] = {"watch": ["none"], "options": [f"file.test={files['test']}", "train.max_length=16"]}
    real = harness.compare(files["train"], strategies=["lora"], seeds=[0], results=folder, **given)
    (arm,) = (arm for arm in real.plan.arms if arm.label == "lora")
    outcome, predicted = real.store.outcome(arm.runs[0]), real.store.predictions(arm.runs[0], 1, 0)
    assert outcome is not None
    log = real.store.folder(arm.runs[0]) / "log.jsonl"
    planned = harness.plan(
        files["train"], strategies=[f"lora:rank={rank + 1}" for rank in range(ARMS)],
        seeds=range(SEEDS_OF_ARM), name="many", **given,
    )  # fmt: skip
    random = np.random.default_rng(0)
    for _, run_ in planned.runs:
        wrong = random.random((len(predicted.targets), 1)) < random.uniform(0.2, 0.3)
        right = np.eye(2)[predicted.targets.astype(int)]
        drawn = dataclasses.replace(predicted, outputs=np.where(wrong, 1 - right, right))
        with real.store.attempt(run_) as own:
            shutil.copy(log, own)
            real.store.finish(run_, outcome.model_copy(update={"run_id": run_.id}), {(1, 0): drawn})
    keep(planned, real.store)
    page = folder / "page.html"
    commands = {"report": ["report", "many"], "page": ["report", "many", "--format", "html", "-O", page]}
    took = {}
    for when in ("first", "again"):
        for name, command in commands.items():
            start = time.perf_counter()
            run([*HARNESS, *command, "--results", folder])
            took[f"{name}, {when}"] = time.perf_counter() - start
    return {"runs": len(planned.runs), **took}


def data_files(bench: Bench, case: str) -> dict[str, Path]:
    """Write the case's splits as CSV files, the same every time."""
    dataset, sizes = CASES[case][0], bench.rows(case)
    files = {name: bench.folder / "data" / f"{case}-{name}.csv" for name in ("train", "validation", "test")}
    if not all(path.exists() for path in files.values()):
        rows = load_catalog().make(Dataset, dataset, {}).read().splits["train"]
        order = np.random.default_rng(0).permutation(len(rows))
        for (name, path), start in zip(files.items(), np.cumsum([0, *sizes]), strict=False):
            chosen = rows.select(order[start : start + dict(zip(files, sizes, strict=True))[name]])
            write(path, list(zip(chosen["text"][:], chosen["label"][:], strict=True)))
    return files


def write(path: Path, rows: Sequence[tuple[str, int]]) -> None:
    """Write texts and labels as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *rows])


def run(command: Sequence[object]) -> subprocess.CompletedProcess[str]:
    """Run a command; what it said is shown if it fails."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise SystemExit(done.returncode)
    return done


if __name__ == "__main__":
    main()
