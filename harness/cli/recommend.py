"""`harness recommend`: which arm to take, given what it must score and what it may forget and cost."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import quantities as q
from harness.catalog import Catalog, load_catalog
from harness.cli import options
from harness.cli.criteria import FORGETTING, Source, candidate, is_sampled, limit_on, read_bounds, resamples, sources
from harness.contracts import Metric
from harness.errors import HarnessError, unknown
from harness.experiment.plan import Plan
from harness.experiment.search import settle
from harness.records import Table
from harness.results.choice import CONFIDENCE, SCORE, Criterion, Draws
from harness.results.reasons import percent
from harness.results.recommend import Judged, Recommendation, advise
from harness.results.table import draws, tabulate

if TYPE_CHECKING:
    from rich.table import Table as RichTable

WANTED = "What is wanted"
_PREFERENCES = ("cost", "score", "forgetting", "time", "memory", "size")


@options.asking
def recommend(
    asked: options.Asked,
    results: options.Results = Path("results"),
    min_score: Annotated[
        str | None, typer.Option(help="Least score: 0.85, or 0.98x the reference's.", rich_help_panel=WANTED)
    ] = None,
    max_forgetting: Annotated[
        list[str] | None,
        typer.Option(
            help="Most that may be lost, in the unit of what is watched: 0.02 of anything, or DATASET=0.02; repeat.",
            rich_help_panel=WANTED,
        ),
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option(help="Most memory in tuning: 16GB, 800MB, 2GiB.", rich_help_panel=WANTED)
    ] = None,
    max_time: Annotated[
        str | None, typer.Option(help="Longest tuning of one seed: 300s, 20m, 2h.", rich_help_panel=WANTED)
    ] = None,
    max_size: Annotated[str | None, typer.Option(help="Most bytes to ship: 10MB.", rich_help_panel=WANTED)] = None,
    max_cost: Annotated[
        str | None, typer.Option(help="Most money for tuning one seed; needs --price.", rich_help_panel=WANTED)
    ] = None,
    price: options.Price = None,
    prefer: Annotated[
        str,
        typer.Option(
            help=f"What decides among those that can be taken: {', '.join(_PREFERENCES)}. Cost is time without --price.",
            rich_help_panel=WANTED,
        ),
    ] = "cost",
    confidence: Annotated[
        float, typer.Option(min=0.01, max=1, help="How probable it must be that all is met.", rich_help_panel=WANTED)
    ] = CONFIDENCE,
    floor: Annotated[
        str | None,
        typer.Option(help="Score of an answer that takes no learning, if no floor was run.", rich_help_panel=WANTED),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Everything, for programs.")] = False,
    without: options.Without = None,
) -> None:
    """Say which strategy to take, how sure that is, and what would change it.

    Reads stored runs and computes nothing. Takes what `compare` takes, and what is wanted of a strategy.
    """
    bounds = read_bounds(
        min_score=min_score, max_forgetting=max_forgetting or (), max_memory=max_memory, max_time=max_time,
        max_size=max_size, max_cost=max_cost,
    )  # fmt: skip
    per_second = None if price is None else q.parse_price(price)
    if max_cost is not None and per_second is None:
        message = f"--max-cost {max_cost} needs a price: write --price 2.50/h"
        raise HarnessError(message)
    if prefer not in _PREFERENCES:
        raise unknown("preference", prefer, _PREFERENCES)
    least = None if floor is None else q.parse_number(floor, "--floor")
    catalog = load_catalog(without or ())
    store = options.open_results(results)
    plan = settle(asked.plan(catalog), store, catalog)
    table = tabulate(plan, store, catalog, price=per_second)
    if not any(row.runs for row in table.rows):
        message = f"no run of {table.title!r} has finished: run harness compare with the same arguments first"
        raise HarnessError(message)
    decides = "time" if prefer == "cost" and per_second is None else prefer
    found = sources(plan, table, bounds, decides)
    labels = {row.label for row in table.rows}
    comparable = plan.model_copy(update={"arms": tuple(arm for arm in plan.arms if arm.label in labels)})
    sampled = draws(comparable, store, catalog)
    advice = advise(
        [candidate(row, arm, table, found, sampled) for row, arm in zip(table.rows, comparable.arms, strict=True)],
        [source.criterion for source in found],
        [limit_on(bound, found) for bound in bounds],
        reference=plan.reference,
        prefer=decides,
        confidence=confidence,
        floor=_chance(comparable, catalog) if least is None else least,
    )
    notes = _notes(comparable, table, resamples(sampled), _fixed(found, sampled))
    advice = advice.model_copy(update={"notes": (*advice.notes, *notes)})
    # Written as UTF-8 wherever it goes, as tables are.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    if json_:
        sys.stdout.write(advice.model_dump_json(indent=2) + "\n")
    else:
        _print(table, advice, found)


def _chance(plan: Plan, catalog: Catalog) -> float | None:
    """Return the score of chance, where the metric knows it."""
    return catalog.find(Metric, plan.stage_metrics[0][0]).chance


def _fixed(found: Sequence[Source], sampled: Mapping[str, Mapping[str, Draws]]) -> list[str]:
    """Return the scores and what is forgotten that could not be resampled."""
    return [
        source.criterion.title
        for source in found
        if source.criterion.key == SCORE or source.criterion.key.startswith(f"{FORGETTING}.")
        if not all(is_sampled(column, sampled) for column in source.columns)
    ]


def _notes(plan: Plan, table: Table, size: int, fixed: Sequence[str]) -> Iterable[str]:
    """Yield what a reader must know of the numbers."""
    seeds = len(plan.arms[0].runs)
    costs = f"{', '.join([*fixed, 'costs'])} are taken as measured"
    if seeds == 1:
        yield (
            f"1 seed: probabilities are shares of {size:,} resamples of the test items only; another seed may choose otherwise; "
            f"{costs}"
        )
    else:
        yield f"probabilities are shares of {size:,} resamples of {seeds} seeds and of the test items; {costs}"
    for row, arm in zip(table.rows, plan.arms, strict=True):
        if len(row.runs) < len(arm.runs):
            yield f"{row.label}: {len(row.runs)} of {len(arm.runs)} seeds have finished; harness compare computes the rest"
    if left_out := [row.label for other in table.others for row in other.rows]:
        yield f"left out, because they cannot be compared with these (harness why says why): {', '.join(left_out)}"


def _print(table: Table, advice: Recommendation, found: Sequence[Source]) -> None:
    """Print the advice in words, then its numbers, then what they mean."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    console.print(
        Text(table.title, style="bold"), Text(table.question, style="italic"), sep="\n" if table.question else ""
    )
    console.print()
    for number, sentence in enumerate(advice.reasons):
        console.print(Text(sentence, style="" if number else "bold"))
    if advice.changes:
        console.print("\nWhat would change this:")
        for sentence in advice.changes:
            console.print(Text(f"- {sentence}"))
    console.print(_grid(advice, [source.criterion for source in found]))
    others = [arm for arm in advice.arms if arm.verdict in {"possible", "excluded"} and arm.role != "floor"]
    if others:
        console.print("Why not the others:")
        for arm in others:
            console.print(Text(f"- {arm.label}: {arm.why}"))
        console.print()
    for note in _legend(table, advice, found):
        console.print(Text(note, style="dim"))


def _grid(advice: Recommendation, criteria: Sequence[Criterion]) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable

    # One column for all that is forgotten, the worst, or a comparison that watches much would not fit.
    shown = [criterion for criterion in criteria if not criterion.key.startswith(f"{FORGETTING}.")]
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("arm", overflow="fold")
    for criterion in shown:
        grid.add_column(
            f"{criterion.title}\N{NO-BREAK SPACE}{'↑' if criterion.better == 'higher' else '↓'}", justify="right"
        )
    grid.add_column("P(front)", justify="right", no_wrap=True)
    limited = any(arm.meets for arm in advice.arms)
    if limited:
        grid.add_column("P(meets all)", justify="right")
    grid.add_column("verdict", overflow="fold")
    for arm in sorted(advice.arms, key=lambda arm: (_ORDER[arm.verdict], arm.role == "floor")):
        values = [
            criterion.write(arm.values[criterion.key]) if criterion.key in arm.values else "" for criterion in shown
        ]
        probabilities = [arm.front, arm.meets_all] if limited else [arm.front]
        grid.add_row(
            arm.label,
            *values,
            *(_probability(share) for share in probabilities),
            _verdict(arm, advice.confidence),
            style={"choice": "bold", "excluded": "dim"}.get(arm.verdict, ""),
        )
    return grid


_ORDER = {"choice": 0, "runner-up": 1, "possible": 2, "excluded": 3}


def _verdict(arm: Judged, confidence: float) -> str:
    if arm.verdict != "excluded":
        return {"choice": "take this one", "possible": "outdone"}.get(arm.verdict, arm.verdict)
    if arm.role == "floor":
        return "floor"
    if SCORE not in arm.values:
        return "no score yet"
    if not arm.learned:
        return "learned nothing"
    missed = [text for text, share in arm.meets.items() if share is None or share < confidence]
    return (
        f"misses {', '.join(re.sub('--m(in|ax)-| .*', '', text) for text in missed)}"
        if missed
        else "misses all at once"
    )


def _legend(table: Table, advice: Recommendation, found: Sequence[Source]) -> Iterable[str]:
    """Yield what the columns mean."""
    titles = {column.key: f"{column.title}" for column in table.columns}
    for source in found:
        if len(source.columns) > 1:
            how = "the mean" if source.criterion.key == SCORE else "the highest, each in its own unit,"
            yield f"{source.criterion.title}: {how} of {', '.join(titles[key] for key in source.columns)}"
    counted = [source.criterion.title for source in found if source.criterion.key in advice.front]
    if counted:
        yield f"P(front): that no other arm is as good in all of {', '.join(counted)} and better in one"
    limits = next((list(arm.meets) for arm in advice.arms), [])
    if limits:
        yield f"P(meets all): {', '.join(limits)}, all at once; {percent(advice.confidence)} is asked for (--confidence)"
    yield from advice.notes


def _probability(share: float | None) -> str:
    if share is None:
        return ""
    return "<0.01" if 0 < share < 0.01 else ">0.99" if 0.99 < share < 1 else f"{share:.2f}"
