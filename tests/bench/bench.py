"""The harness against a plain Trainer script, in turn within one run; and how its cost grows with the data.

    python tests/bench/bench.py [--quick] [--seeds 0,1,2,3,4] [--precision fp32,bf16] [--only short|reviews|neighbours|...]

Every measurement is kept under results/bench/ as it is made, so a bench that was interrupted goes on where it stopped; delete
the folder to measure anew. The table goes to results/reports/bench.md; make publish NAME=bench keeps it. With --quick, data is a
quarter, there is one seed, and all is kept under results/bench-quick/.
"""

import argparse
import csv
import dataclasses
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

import harness
from harness.analysis.statistics import mean_of_seeds
from harness.catalog import load_catalog
from harness.contracts import Dataset, Model
from harness.engine.session import has_bf16_units
from harness.experiment.comparisons import keep
from harness.records import Run
from harness.store import Store

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
HARNESS = [sys.executable, "-m", "harness.cli"]
EPOCHS = 3
TIMED_SEEDS = 3
"""Of the whole comparison; further seeds only add to the accuracies."""
SIDE_BY_SIDE = 2

CASES = {
    # dataset, most tokens, rows of train, validation and test, strategies
    "short": ("rotten-tomatoes", 16, (1000, 50, 500), ("full", "lora")),
    "sentences": ("rotten-tomatoes", 64, (1000, 50, 1000), ("full", "frozen", "lora")),
    "reviews": ("imdb", 256, (192, 32, 192), ("full", "lora")),
}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
QUICK = 4
"""By how much data is smaller with --quick."""
SCALES = (1_000, 10_000, 100_000)
NEIGHBOURS = (0, 1, 2)
STARTS = 5
"""How often each command is started; the median is shown."""
ARMS, SEEDS_OF_ARM = 100, 100
"""Of the table over many runs."""
PARTS = (*CASES, "neighbours", "scale", "starts", "many")

say = Console(stderr=True).print


@dataclass(frozen=True)
class Bench:
    """What is measured, and where it is kept."""

    seeds: tuple[int, ...]
    precisions: tuple[str, ...]
    quick: bool

    @property
    def folder(self) -> Path:
        """Return the folder of the measurements."""
        return RESULTS / ("bench-quick" if self.quick else "bench")

    def rows(self, case: str) -> list[int]:
        """Return the rows of a case's train, validation and test splits."""
        return [count // QUICK if self.quick else count for count in CASES[case][2]]

    def seeds_of(self, case: str) -> tuple[int, ...]:
        """Return the seeds of a case: all for sentences, whose accuracy is shown."""
        return self.seeds if case == "sentences" else self.seeds[:TIMED_SEEDS]

    def once(self, name: str, measure: Callable[[], Any]) -> None:
        """Measure, unless an earlier bench has; keep the result."""
        path = self.folder / f"{name}.json"
        if path.exists():
            return
        say(f"{name} …")
        result = measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2), encoding="utf-8")
        say(f"{name}: {result.get('seconds', 0):.1f} s")

    def kept(self, name: str) -> Any:
        """Return a measurement; None if it was not made."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


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


def table(bench: Bench) -> str:
    """Return what was measured as Markdown; what was not is left out."""
    pairs = {(case, precision): measured(bench, case, precision) for case in CASES for precision in bench.precisions}
    machine = next((pair[1]["runs"][0]["device"] for found in pairs.values() for pair in found), "unknown")
    lines = ["# bench: the harness against a plain Trainer script", ""]
    sizes = "; a quarter of the data, one seed" if bench.quick else ""
    lines += [f"`make bench` on: {machine}; {', '.join(bench.precisions)}; batch 16, {EPOCHS} epochs{sizes}.", ""]
    sections = [
        (
            "Time, as a share of the Trainer script's",
            "| case | trainer | harness | ratio |\n|---|--:|--:|--:|",
            ratio_rows(bench, pairs),
            (
                "Wall time of a run, from loading the model to the last test prediction; medians over the seeds, pair by pair. "
                "The whole comparison is the commands from end to end, start-up included, and the harness's baseline, validation "
                "and tables too; the script would also gain by two at a time. Of frozen features, the script trains the head by "
                "gradient descent through the whole model, and the harness fits it to features that are computed once: another "
                "method, not the same made faster. `short` are texts of at most 16 tokens, `sentences` of 27 on average, "
                "`reviews` of 256."
            ),
        ),
        (
            "Use of the machine",
            "| case | precision | strategy | least possible time ÷ time taken |\n|---|---|---|--:|",
            use_rows(pairs),
            rate_note(pairs),
        ),
        (
            "Beside other work",
            "| busy neighbours | full, short | ratio |\n|--:|--:|--:|",
            neighbour_rows(bench),
            "Seconds of tuning, on all cores; each neighbour is a process that keeps one core busy all the time.",
        ),
        (
            "Accuracy",
            "| precision | strategy | trainer | harness | difference, paired by seed |\n|---|---|--:|--:|--:|",
            accuracy_rows(bench, pairs),
            f"On {bench.rows('sentences')[2]:,} sentences of test; intervals of 95 %.",
        ),
        (
            "Starting",
            "| command | time | ÷ importing typer and rich |\n|---|--:|--:|",
            start_rows(bench),
            f"Medians of {STARTS}; the last one is measured once, with nothing cached.",
        ),
        (
            "Growth with the data",
            (
                "| training rows | read and split | tokenise | one epoch | peak memory, tokenising | peak memory, training |\n"
                "|--:|--:|--:|--:|--:|--:|"
            ),
            scale_rows(bench),
            "Sentences of 27 tokens through a BERT of one block, 32 wide; reading includes the start of the command.",
        ),
        (
            "A table over many runs",
            "| command | time |\n|---|--:|",
            many_rows(bench),
            f"{ARMS} arms of {SEEDS_OF_ARM} seeds each, as whole commands; `again` finds the items of every score cached.",
        ),
    ]
    for title, head, rows, note in sections:
        if found := list(rows):
            lines += [f"## {title}", "", head, *found, "", note, ""]
    return "\n".join(lines)


Pairs = dict[tuple[str, str], list[tuple[Any, Any]]]
"""By case and precision, what the script and the harness took, for each seed."""


def measured(bench: Bench, case: str, precision: str) -> list[tuple[Any, Any]]:
    """Return what both took, for each seed of which both were measured."""
    both = [
        [bench.kept(f"{case}-{precision}-{side}-s{seed}") for side in ("trainer", "harness")]
        for seed in bench.seeds_of(case)
    ]
    return [(trainer, ours) for trainer, ours in both if trainer and ours]


def ratio_rows(bench: Bench, pairs: Pairs) -> Iterator[str]:
    """Yield the rows of times; those in bfloat16 against the script in both precisions."""
    for theirs, ours in itertools.product(bench.precisions, repeat=2):
        if (theirs, ours) == ("bf16", "fp32"):
            continue
        named = "" if len(bench.precisions) == 1 else f" ({ours}; script {theirs})"
        for case in CASES:
            first, second = pairs[case, theirs][:TIMED_SEEDS], pairs[case, ours][:TIMED_SEEDS]
            if both := [(one[0], other[1]) for one, other in zip(first, second, strict=False)]:
                yield from case_rows(case, named, both)
                if case == "sentences":
                    yield from whole_rows(named, both, bench.kept(f"sentences-{ours}-at-once"))
    last, timed = bench.kept("sentences-fp32-last-layers"), pairs.get(("sentences", "fp32"), [])[:TIMED_SEEDS]
    if last and timed:
        (cost,) = (run["tuning_seconds"] for run in last["runs"])
        full = [run["tuning_seconds"] for _, ours in timed for run in ours["runs"] if run["strategy"] == "full"]
        name = "last-layers (2 of 6), tuning alone; against full in the harness"
        yield ratio_row(name, [(statistics.median(full), cost)])


def case_rows(case: str, named: str, both: Sequence[tuple[Any, Any]]) -> Iterator[str]:
    """Yield a row for each strategy of a case; two for frozen features, which are computed for the first seed only."""
    for strategy in CASES[case][3]:
        parts = {"": both} if strategy != "frozen" else {"first seed, ": both[:1], "further seeds, ": both[1:]}
        for part, some in parts.items():
            if some:
                yield ratio_row(f"{strategy}, {part}{case}{named}", [seconds_of(pair, strategy) for pair in some])


def whole_rows(named: str, both: Sequence[tuple[Any, Any]], at_once: dict[str, Any] | None) -> Iterator[str]:
    """Yield the rows of the whole comparison."""
    total, one_by_one = (sum(pair[side]["seconds"] for pair in both) for side in (0, 1))
    whole = f"3 strategies x {len(both)} seeds, sentences{named}"
    yield ratio_row(f"{whole}, one run at a time", [(total, one_by_one)])
    if at_once:
        yield ratio_row(f"{whole}, --side-by-side {SIDE_BY_SIDE}", [(total, at_once["seconds"])])


def ratio_row(name: str, both: Sequence[tuple[float, float]]) -> str:
    """Return a row of times for pairs of seconds."""
    first, second = (statistics.median(values) for values in zip(*both, strict=True))
    ratio = statistics.median(second / first for first, second in both)
    return f"| {name} | {first:.1f} s | {second:.1f} s | {ratio:.2f} |"


def seconds_of(pair: tuple[Any, Any], strategy: str) -> tuple[float, float]:
    """Return a run's wall seconds by the script and by the harness, without what the harness alone measures afterwards."""
    runs = (next(run for run in side["runs"] if run["strategy"] == strategy) for side in pair)
    first, second = (run["wall_seconds"] - run.get("phases", {}).get("serve", 0.0) for run in runs)
    return first, second


def use_rows(pairs: Pairs) -> Iterator[str]:
    """Yield how near each strategy's training steps come to the least possible time (the roofline of Williams et al., 2009)."""
    for (case, precision), found in pairs.items():
        for strategy in CASES[case][3]:
            used = [
                floor(r, ours) / r["step_seconds"]
                for _, ours in found
                for r in ours["runs"]
                if r["strategy"] == strategy and r["step_flops"]
            ]
            if used:
                yield f"| {case} | {precision} | {strategy} | {statistics.median(used):.2f} |"


def floor(run: dict[str, Any], machine: dict[str, Any]) -> float:
    """Return the least seconds of a run's steps: its operations at the rate of large products, and one pass of AdamW's state through memory."""
    config = load_catalog().make(Model, "minilm", {}).config()
    words = config.vocab_size * config.hidden_size  # of which few are in the texts
    moved = run["parameters"] - (words if run["parameters"] > words else 0)
    bytes_of_step = 7 * 4 * moved  # reads weight, gradient and two moments; writes all but the gradient
    return float(
        run["step_flops"] / machine["flops_per_second"] + run["steps"] * bytes_of_step / machine["bytes_per_second"]
    )


def rate_note(pairs: Pairs) -> str:
    """Return the machine's rates in words."""
    parts = []
    for precision in dict.fromkeys(precision for _, precision in pairs):
        sides = [side for (_, p), found in pairs.items() if p == precision for pair in found for side in pair]
        values = [side["flops_per_second"] / 1e9 for side in sides]
        if values:
            parts.append(
                f"{statistics.median(values):.0f} GFLOP/s ({min(values):.0f} to {max(values):.0f}) in {precision}"
            )
    copies = [side["bytes_per_second"] / 1e9 for found in pairs.values() for pair in found for side in pair]
    if not copies:
        return ""
    return (
        f"A product of two 2048 x 2048 matrices, measured before and after each: {'; '.join(parts)}. Copies in memory: "
        f"{statistics.median(copies):.1f} GB/s ({min(copies):.1f} to {max(copies):.1f})."
    )


def neighbour_rows(bench: Bench) -> Iterator[str]:
    """Yield what a run took beside busy processes."""
    took = {count: found["runs"] for count in NEIGHBOURS if (found := bench.kept(f"neighbours-{count}"))}
    for count, runs in took.items():
        (seconds,) = (run["tuning_seconds"] for run in runs)
        (quiet,) = (run["tuning_seconds"] for run in took.get(0, runs))
        yield f"| {count} | {seconds:.1f} s | {seconds / quiet:.2f} |"


def start_rows(bench: Bench) -> Iterator[str]:
    """Yield what commands took that compute nothing."""
    found = bench.kept("starts") or {}
    least = next(iter(found.values()), 1.0)
    for command, seconds in found.items():
        yield f"| `{command}` | {seconds:.2f} s | {seconds / least:.1f} |"


def many_rows(bench: Bench) -> Iterator[str]:
    """Yield what a report of many runs took."""
    found = bench.kept("many") or {}
    yield from (f"| {name} | {seconds:.1f} s |" for name, seconds in found.items() if name != "runs")


def accuracy_rows(bench: Bench, pairs: Pairs) -> Iterator[str]:
    """Yield each strategy's mean accuracy both ways and their difference."""
    for precision in bench.precisions:
        both = pairs["sentences", precision]
        for strategy in CASES["sentences"][3] if len(both) > 1 else ():
            first, second = (
                np.array([r["accuracy"] for pair in both for r in pair[side]["runs"] if r["strategy"] == strategy])
                for side in (0, 1)
            )
            gap = mean_of_seeds(list(second - first))
            assert gap.interval is not None
            difference = f"{gap.mean:+.3f} ± {gap.interval.half_width:.3f} (n = {len(both)})"
            yield f"| {precision} | {strategy} | {first.mean():.3f} | {second.mean():.3f} | {difference} |"


def scale_rows(bench: Bench) -> Iterator[str]:
    """Yield what each size of data took."""
    for rows in SCALES:
        if found := bench.kept(f"scale-{rows}"):
            times = (found[f"{name}_seconds"] for name in ("read", "tokenise", "tune"))
            peaks = (found[f"{name}_bytes"] / 1e6 for name in ("tokenise", "tune"))
            cells = [f"{rows:,}", *(f"{time:.1f} s" for time in times), *(f"{peak:.0f} MB" for peak in peaks)]
            yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
