"""The table of a bench, as Markdown."""

import itertools
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from kept import ARMS, CASES, EPOCHS, NEIGHBOURS, SCALES, SEEDS_OF_ARM, SIDE_BY_SIDE, STARTS, TIMED_SEEDS, Bench

from harness.analysis.statistics import mean_of_seeds
from harness.catalog import load_catalog
from harness.contracts import Model


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
