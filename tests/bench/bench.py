"""The harness against a plain Trainer script, in turn within one run; and how its cost grows with the data.

    python tests/bench/bench.py [--seeds 0,1,2,3,4] [--precision bf16] [--only sentences|reviews|scale]

Every measurement is kept under results/bench/ as it is made, so a bench that was interrupted goes on where it stopped; delete
the folder to measure anew. The table goes to results/reports/bench.md; make publish NAME=bench keeps it.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from harness.analysis.statistics import mean_of_seeds
from harness.catalog import load_catalog
from harness.contracts import Dataset, Model
from harness.records import Run
from harness.store import Store

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "results" / "bench"
TABLE = ROOT / "results" / "reports" / "bench.md"
HARNESS = [sys.executable, "-m", "harness.cli"]
EPOCHS = 3
TIMED_SEEDS = 3
"""Of the whole comparison; further seeds only add to the accuracies."""
SIDE_BY_SIDE = 2

CASES = {
    # dataset, tokens, rows of train, validation and test, strategies
    "sentences": ("rotten-tomatoes", 64, (1000, 50, 1000), ("full", "frozen", "lora")),
    "reviews": ("imdb", 256, (192, 32, 192), ("full", "lora")),
}
RUN_AIMS = (
    ("sentences", "full", "0.60"),
    ("sentences", "lora", "0.50"),
    ("reviews", "full", "0.50"),
    ("reviews", "lora", "0.40"),
)
SCALES = (1_000, 10_000, 100_000)

say = Console(stderr=True).print


def main() -> None:
    """Measure what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--only", choices=[*CASES, "scale"])
    asked = parser.parse_args()
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    for case in CASES:
        if asked.only in (None, case):
            for seed in seeds if case == "sentences" else seeds[:1]:
                compare(case, seed, asked.precision)
    if asked.only in (None, "sentences"):
        compare_at_once(asked.precision)
        also_last_layers(asked.precision)
    if asked.only in (None, "scale"):
        for rows in SCALES:
            once(f"scale-{rows}", lambda rows=rows: scale(rows))
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(table(seeds, asked.precision), encoding="utf-8")
    say(f"written to {TABLE}")


def compare(case: str, seed: int, precision: str) -> None:
    """Measure one seed both ways, the one that goes first alternating."""
    sides = [
        ("trainer", lambda: by_trainer(case, seed, precision)),
        ("harness", lambda: by_harness(case, [seed], precision)),
    ]
    for side, measure in sides if seed % 2 == 0 else sides[::-1]:
        once(f"{case}-{precision}-{side}-s{seed}", lambda measure=measure: with_rate(measure))


def compare_at_once(precision: str) -> None:
    """Measure the whole comparison as one command, two runs at a time, with nothing in its cache."""
    options = ["--side-by-side", SIDE_BY_SIDE]
    seeds = range(TIMED_SEEDS)
    once(
        f"sentences-{precision}-at-once",
        lambda: with_rate(lambda: by_harness("sentences", seeds, precision, store="at-once", options=options)),
    )


def also_last_layers(precision: str) -> None:
    """Measure two trained blocks of six, in the harness alone."""
    once(
        f"sentences-{precision}-last-layers",
        lambda: with_rate(lambda: by_harness("sentences", [0], precision, strategies=["last-layers"])),
    )


def once(name: str, measure: Callable[[], Any]) -> None:
    """Measure, unless an earlier bench has; keep the result."""
    path = FOLDER / f"{name}.json"
    if path.exists():
        return
    say(f"{name} …")
    result = measure()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2), encoding="utf-8")
    say(f"{name}: {result.get('seconds', 0):.1f} s")


def kept(name: str) -> Any:
    """Return a measurement; None if it was not made."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def with_rate(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Measure the machine's matrix-product rate before and after."""
    before = matrix_rate()
    result = measure()
    return {**result, "flops_per_second": statistics.mean([before, matrix_rate()])}


def matrix_rate() -> float:
    """Return floating point operations per second of a product of two float32 matrices of 2048 x 2048."""
    program = (
        "import time, torch\n"
        "d = 'cuda' if torch.cuda.is_available() else 'cpu'\n"
        "a = torch.randn(2048, 2048, device=d); a @ a\n"
        "times = []\n"
        "for _ in range(7):\n"
        "    start = time.perf_counter(); b = a @ a; float(b[0, 0]); times.append(time.perf_counter() - start)\n"
        "print(2 * 2048**3 / sorted(times)[3])"
    )
    return float(run([sys.executable, "-c", program]).stdout)


def by_trainer(case: str, seed: int, precision: str) -> dict[str, Any]:
    """Run the plain script on one seed."""
    dataset, length, sizes, strategies = CASES[case]
    files = data_files(case, dataset, sizes)
    model = load_catalog().make(Model, "minilm", {}).locate().path
    command = [sys.executable, ROOT / "tests/bench/trainer.py", "--model", model, "--strategies", *strategies]
    command += ["--train", files["train"], "--test", files["test"], "--seed", seed, "--epochs", EPOCHS]
    command += ["--max-length", length, "--precision", precision]
    start = time.perf_counter()
    lines = run(command).stdout.splitlines()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "runs": [json.loads(line) for line in lines if line.startswith('{"strategy"')]}


def by_harness(
    case: str,
    seeds: Iterable[int],
    precision: str,
    strategies: Sequence[str] | None = None,
    store: str = "store",
    options: Sequence[object] = (),
) -> dict[str, Any]:
    """Run `harness compare`; what earlier seeds have cached serves it, as it does within one command."""
    dataset, length, sizes, all_strategies = CASES[case]
    files = data_files(case, dataset, sizes)
    folder = FOLDER / f"{store}-{case}-{precision}"
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
                "phases": {name: phase.wall_seconds for name, phase in phases.items()},
                "examples": outcome.examples,
                "device": outcome.device,
                "accuracy": float((predicted.outputs.argmax(1) == predicted.targets).mean()),
            }
        )
    return found


def scale(rows: int) -> dict[str, Any]:
    """Run everything once over so many rows with a small model; what each part took, and its peak memory."""
    import transformers

    folder = FOLDER / "scale"
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


def data_files(case: str, dataset: str, sizes: Sequence[int]) -> dict[str, Path]:
    """Write the case's splits as CSV files, the same every time."""
    files = {name: FOLDER / "data" / f"{case}-{name}.csv" for name in ("train", "validation", "test")}
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


def table(seeds: Sequence[int], precision: str) -> str:
    """Return what was measured as Markdown; what was not is left out."""
    pairs = {
        case: [
            (trainer, harness)
            for seed in seeds
            if (trainer := kept(f"{case}-{precision}-trainer-s{seed}"))
            and (harness := kept(f"{case}-{precision}-harness-s{seed}"))
        ]
        for case in CASES
    }
    machine = next((pair[1]["runs"][0]["device"] for found in pairs.values() for pair in found), "unknown")
    lines = ["# bench: the harness against a plain Trainer script", ""]
    lines += [f"`make bench` on: {machine}; {precision}; batch 16, {EPOCHS} epochs.", ""]
    sections = [
        (
            "Time, as a share of the Trainer script's",
            "| case | trainer | harness | ratio | aim |\n|---|--:|--:|--:|--:|",
            ratio_rows(pairs, precision),
            (
                "Wall time of a run, from loading the model to the last test prediction; medians over the seeds, pair by pair. "
                "The whole comparison is the commands from end to end, start-up included, and the harness's baseline, validation "
                "and tables too; the script would also gain by two at a time. The aims were set before anything was measured. Of "
                "frozen features, the script trains the head by gradient descent through the whole model, and the harness fits it "
                "to features that are computed once: another method, not the same made faster."
            ),
        ),
        (
            "Use of the machine",
            "| case | strategy | counted operations ÷ time ÷ matrix-product rate |\n|---|---|--:|",
            use_rows(pairs),
            rate_note(pairs),
        ),
        (
            "Accuracy",
            "| strategy | trainer | harness | difference, paired by seed |\n|---|--:|--:|--:|",
            accuracy_rows(pairs["sentences"]),
            "On 1,000 sentences of test; intervals of 95 %.",
        ),
        (
            "Growth with the data",
            (
                "| training rows | read and split | tokenise | one epoch | peak memory, tokenising | peak memory, training |\n"
                "|--:|--:|--:|--:|--:|--:|"
            ),
            scale_rows(),
            "Sentences of 27 tokens through a BERT of one block, 32 wide; reading includes the start of the command.",
        ),
    ]
    for title, head, rows, note in sections:
        if found := list(rows):
            lines += [f"## {title}", "", head, *found, "", note, ""]
    return "\n".join(lines)


def ratio_rows(pairs: dict[str, list[tuple[Any, Any]]], precision: str) -> Iterator[str]:
    """Yield the rows of times."""
    timed = pairs["sentences"][:TIMED_SEEDS]
    if len(timed) == TIMED_SEEDS:
        total, one_by_one = (sum(pair[side]["seconds"] for pair in timed) for side in (0, 1))
        whole = "3 strategies x 3 seeds, sentences"
        yield ratio_row(f"{whole}, one run at a time", [(total, one_by_one)], "0.40")
        if at_once := kept(f"sentences-{precision}-at-once"):
            yield ratio_row(f"{whole}, --side-by-side {SIDE_BY_SIDE}", [(total, at_once["seconds"])], "0.40")
    for case, strategy, aim in RUN_AIMS:
        if pairs[case]:
            both = [seconds_of(pair, strategy) for pair in pairs[case][:TIMED_SEEDS]]
            yield ratio_row(f"{strategy}, {case}", both, aim)
    for name, some, aim in (("first seed", timed[:1], "0.25"), ("further seeds", timed[1:], "0.03")):
        if some:
            yield ratio_row(f"frozen, {name}, sentences", [seconds_of(pair, "frozen") for pair in some], aim)
    last = kept(f"sentences-{precision}-last-layers")
    if last and timed:
        (cost,) = (run["tuning_seconds"] for run in last["runs"])
        full = [run["tuning_seconds"] for _, harness in timed for run in harness["runs"] if run["strategy"] == "full"]
        name = "last-layers (2 of 6), tuning alone; against full in the harness"
        yield ratio_row(name, [(statistics.median(full), cost)], "0.40")


def ratio_row(name: str, both: Sequence[tuple[float, float]], aim: str) -> str:
    """Return a row of times for pairs of seconds."""
    first, second = (statistics.median(values) for values in zip(*both, strict=True))
    ratio = statistics.median(second / first for first, second in both)
    return f"| {name} | {first:.1f} s | {second:.1f} s | {ratio:.2f} | ≤ {aim} |"


def seconds_of(pair: tuple[Any, Any], strategy: str) -> tuple[float, float]:
    """Return a run's wall seconds by the script and by the harness, without what the harness alone measures afterwards."""
    runs = (next(run for run in side["runs"] if run["strategy"] == strategy) for side in pair)
    first, second = (run["wall_seconds"] - run.get("phases", {}).get("serve", 0.0) for run in runs)
    return first, second


def use_rows(pairs: dict[str, list[tuple[Any, Any]]]) -> Iterator[str]:
    """Yield how much of the machine's matrix-product rate each strategy's training steps used."""
    for case, found in pairs.items():
        for strategy in CASES[case][3]:
            used = [
                r["step_flops"] / r["step_seconds"] / harness["flops_per_second"]
                for _, harness in found
                for r in harness["runs"]
                if r["strategy"] == strategy and r["step_flops"]
            ]
            if used:
                yield f"| {case} | {strategy} | {statistics.median(used):.2f} |"


def rate_note(pairs: dict[str, list[tuple[Any, Any]]]) -> str:
    """Return the machine's matrix-product rate in words."""
    rates = [side["flops_per_second"] / 1e9 for found in pairs.values() for pair in found for side in pair]
    if not rates:
        return ""
    spread = f"{statistics.median(rates):.0f} GFLOP/s ({min(rates):.0f} to {max(rates):.0f})"
    return f"The rate: {spread}, a product of two 2048 x 2048 matrices in float32, measured before and after each."


def accuracy_rows(pairs: Sequence[tuple[Any, Any]]) -> Iterator[str]:
    """Yield each strategy's mean accuracy both ways and their difference."""
    for strategy in CASES["sentences"][3] if len(pairs) > 1 else ():
        first, second = (
            np.array([r["accuracy"] for pair in pairs for r in pair[side]["runs"] if r["strategy"] == strategy])
            for side in (0, 1)
        )
        gap = mean_of_seeds(list(second - first))
        difference = f"{gap.mean:+.3f} ± {gap.half_width:.3f} (n = {len(pairs)})"
        yield f"| {strategy} | {first.mean():.3f} | {second.mean():.3f} | {difference} |"


def scale_rows() -> Iterator[str]:
    """Yield what each size of data took."""
    for rows in SCALES:
        if found := kept(f"scale-{rows}"):
            times = (found[f"{name}_seconds"] for name in ("read", "tokenise", "tune"))
            peaks = (found[f"{name}_bytes"] / 1e6 for name in ("tokenise", "tune"))
            cells = [f"{rows:,}", *(f"{time:.1f} s" for time in times), *(f"{peak:.0f} MB" for peak in peaks)]
            yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
