"""`harness recommend`: choose an arm, given constraints on score, forgetting and cost."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.api import load
from harness.catalog import load_catalog
from harness.cli import options
from harness.decide.advice import Judged, Recommendation
from harness.decide.choice import CONFIDENCE, SCORE, Criterion
from harness.decide.criteria import FORGETTING
from harness.decide.reasons import percent
from harness.decide.recommend import PREFERENCES, Decision, Wanted
from harness.decide.recommend import recommend as decide
from harness.experiment.asked import Asked
from harness.quantities import parse_price
from harness.runner.understood import say

if TYPE_CHECKING:
    from rich.table import Table as RichTable

WANTED = "Constraints"


@options.asking
def recommend(
    asked: Asked,
    results: options.Results = Path("results"),
    min_score: Annotated[
        str | None,
        typer.Option(help="Minimum score: 0.85, or 0.98x for a share of the reference's.", rich_help_panel=WANTED),
    ] = None,
    max_forgetting: Annotated[
        list[str] | None,
        typer.Option(
            help="Maximum forgetting, in the metric's unit: 0.02 for all datasets, or DATASET=0.02 (repeatable).",
            rich_help_panel=WANTED,
        ),
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option(help="Maximum memory for tuning: 16GB, 800MB, 2GiB.", rich_help_panel=WANTED)
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Maximum tuning time per seed: 300s, 20m, 2h.", rich_help_panel=WANTED)
    ] = None,
    max_size: Annotated[str | None, typer.Option(help="Maximum saved size: 10MB.", rich_help_panel=WANTED)] = None,
    max_cost: Annotated[
        str | None, typer.Option(help="Maximum cost of tuning per seed; needs --price.", rich_help_panel=WANTED)
    ] = None,
    price: options.Price = None,
    prefer: Annotated[
        str,
        typer.Option(
            help=f"Criterion among eligible strategies: {', '.join(PREFERENCES)}. Cost is time without --price.",
            rich_help_panel=WANTED,
        ),
    ] = "cost",
    confidence: Annotated[
        float,
        typer.Option(
            min=0.01, max=1, help="Required probability that all constraints are met.", rich_help_panel=WANTED
        ),
    ] = CONFIDENCE,
    baseline: Annotated[
        str | None,
        typer.Option(help="Score of a baseline that learns nothing, if no baseline was run.", rich_help_panel=WANTED),
    ] = None,
    floor: Annotated[str | None, typer.Option(hidden=True)] = None,
    json_: Annotated[bool, typer.Option("--json", help="Full output as JSON.")] = False,
    without: options.Without = None,
) -> None:
    """Recommend a strategy, with its probability of meeting the constraints and what would change the choice.

    Reads stored runs and computes nothing. Takes the same arguments as `compare`, and constraints.
    """
    if floor is not None:
        say("--floor is now called --baseline")
    wanted = Wanted(
        min_score=min_score, max_forgetting=tuple(max_forgetting or ()), max_memory=max_memory, max_time=max_time,
        max_size=max_size, max_cost=max_cost, prefer=prefer, confidence=confidence, baseline=floor if baseline is None else baseline,
    )  # fmt: skip
    wanted.check(None if price is None else parse_price(price))
    catalog = load_catalog(without or ())
    decision = decide(load(asked, results, catalog, price).analysis(), wanted, catalog)
    # Always written as UTF-8, like tables.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    if json_:
        sys.stdout.write(decision.recommendation.model_dump_json(indent=2) + "\n")
    else:
        _print(decision)


def _print(decision: Decision) -> None:
    """Print the advice in words, then its numbers, then a legend."""
    from rich.console import Console
    from rich.text import Text

    console, plan = Console(highlight=False), decision.compared.plan
    advice, found = decision.recommendation, decision.sources
    console.print(Text(plan.name, style="bold"), Text(plan.question, style="italic"), sep="\n" if plan.question else "")
    console.print()
    for number, sentence in enumerate(advice.reasons):
        console.print(Text(sentence, style="" if number else "bold"))
    if advice.changes:
        console.print("\nWhat would change this:")
        for sentence in advice.changes:
            console.print(Text(f"- {sentence}"))
    console.print(_grid(advice, [source.criterion for source in found]))
    others = [arm for arm in advice.arms if arm.verdict in {"possible", "excluded"} and arm.role != "baseline"]
    if others:
        console.print("Why not the others:")
        for arm in others:
            console.print(Text(f"- {arm.label}: {arm.why}"))
        console.print()
    for note in _legend(decision):
        console.print(Text(note, style="dim"))


def _grid(advice: Recommendation, criteria: Sequence[Criterion]) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable

    # Forgetting has one column, the worst; otherwise a comparison with many watched datasets would not fit.
    shown = [criterion for criterion in criteria if not criterion.key.startswith(f"{FORGETTING}.")]
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("strategy", overflow="fold")
    for criterion in shown:
        grid.add_column(
            f"{criterion.title}\N{NO-BREAK SPACE}{'↑' if criterion.better == 'higher' else '↓'}", justify="right"
        )
    grid.add_column("P(front)", justify="right", no_wrap=True)
    limited = any(arm.meets_all is not None and arm.meets for arm in advice.arms)
    if limited:
        grid.add_column("P(meets all)", justify="right")
    grid.add_column("verdict", overflow="fold")
    for arm in sorted(advice.arms, key=lambda arm: (_ORDER[arm.verdict], arm.role == "baseline")):
        values = [
            criterion.write(arm.values[criterion.key]) if criterion.key in arm.values else "" for criterion in shown
        ]
        probabilities = [arm.front, arm.meets_all] if limited else [arm.front]
        grid.add_row(
            arm.label,
            *values,
            *(_probability(share) for share in probabilities),
            _verdict(arm, advice.required),
            style={"choice": "bold", "excluded": "dim"}.get(arm.verdict, ""),
        )
    return grid


_ORDER = {"choice": 0, "runner-up": 1, "possible": 2, "excluded": 3}


def _verdict(arm: Judged, required: float) -> str:
    if arm.verdict != "excluded":
        return {"choice": "take this one", "possible": "not chosen"}.get(arm.verdict, arm.verdict)
    if arm.role == "baseline":
        return "baseline"
    if SCORE not in arm.values:
        return "no score yet"
    if not arm.learned:
        return "learned nothing"
    missed = [text for text, share in arm.meets.items() if share is None or share < required]
    return (
        f"misses {', '.join(re.sub('--m(in|ax)-| .*', '', text) for text in missed)}"
        if missed
        else "misses all combined"
    )


def _legend(decision: Decision) -> Iterable[str]:
    """Yield the explanations of the columns."""
    advice, found = decision.recommendation, decision.sources
    titles = {one.measure.column.key: one.measure.column.title for one in decision.compared.measured}
    for source in found:
        if len(source.columns) > 1:
            how = "the mean" if source.criterion.key == SCORE else "the highest, each in its own unit,"
            yield f"{source.criterion.title}: {how} of {', '.join(titles[key] for key in source.columns)}"
    counted = [source.criterion.title for source in found if source.criterion.key in advice.front]
    if counted:
        yield f"P(front): probability that no other strategy is as good in all of {', '.join(counted)} and better in one"
    limits = next((list(arm.meets) for arm in advice.arms), [])
    if limits:
        yield (
            f"P(meets all): probability of meeting {', '.join(limits)} together; {percent(advice.confidence)} is "
            f"required (--confidence){_each(advice)}"
        )
    yield from advice.notes


def _each(advice: Recommendation) -> str:
    """Return what is required of each arm so that the chosen one meets the limits with the required probability."""
    return (
        "" if advice.required == advice.confidence else f", so {100 * advice.required:.1f} % of each, as one is chosen"
    )


def _probability(share: float | None) -> str:
    if share is None:
        return ""
    return "<0.01" if 0 < share < 0.01 else ">0.99" if 0.99 < share < 1 else f"{share:.2f}"
