"""`harness plan --estimate`: predict the cost of the missing runs, and compare earlier predictions with stored runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from harness.experiment.plan import Plan
from harness.experiment.search import unsettled
from harness.quantities import write_duration, write_size
from harness.runner.estimates import Estimate, estimate, search_seconds
from harness.store import Store


def estimates(asked: Plan, store: Store, reasons: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the estimate for each arm's missing runs, by label, for JSON; `reason`: why there is none."""
    found = {arm.label: estimate(arm, store) for arm in asked.arms}
    search = {
        arm.label: search_seconds(arm, asked.budget, found[arm.label]) for arm in unsettled(asked) if asked.budget
    }
    return {
        label: {
            **one._asdict(),
            "prediction": one.prediction and one.prediction.model_dump(),
            "search_seconds": search.get(label),
            "reason": reasons.get(label),
        }
        for label, one in found.items()
    }


def show_estimates(asked: Plan, store: Store, reasons: Mapping[str, str], price: float | None) -> None:
    """Print the predicted cost of the missing runs, and predicted against actual cost where runs are stored.

    Args:
        asked: The plan.
        store: The results folder.
        reasons: Why there is no estimate, by label.
        price: Device price per second; None to leave out the price.
    """
    console = Console(highlight=False)
    found = {arm.label: estimate(arm, store) for arm in asked.arms}
    missing = {label: one for label, one in found.items() if one.missing}
    if missing:
        grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
        known = [one for one in missing.values() if one.seconds is not None]
        whole = write_duration(sum(one.missing * (one.seconds or 0) for one in known)) if known else ""
        spent = sum(one.missing * (one.device_seconds or 0) for one in known)
        peaks = [one.memory_bytes for one in known if one.memory_bytes is not None]
        columns = [("arm", "total (known)"), ("missing", ""), ("per run", ""), ("total", whole)]
        columns += [("memory", write_size(max(peaks)) if peaks else "")]
        columns += [] if price is None else [("money", f"{spent * price:.3g}" if known else "")]
        for title, footer in (*columns, ("based on", "")):
            grid.add_column(title, footer, justify="left" if title in {"arm", "based on"} else "right")
        for label, one in missing.items():
            if one.seconds is None or one.device_seconds is None:
                grid.add_row(label, f"{one.missing}", *[""] * (len(columns) - 2), reasons.get(label, "no data"))
                continue
            memory = "" if one.memory_bytes is None else write_size(one.memory_bytes)
            costs = [] if price is None else [f"{one.missing * one.device_seconds * price:.3g}"]
            sample = f"{one.prediction.share:.0%} of the data" if one.prediction else ""
            grid.add_row(
                label,
                f"{one.missing}",
                write_duration(one.seconds),
                write_duration(one.missing * one.seconds),
                memory,
                *costs,
                f"{one.stored} stored" if one.stored else sample,
            )
        console.print(grid)
        devices = "; ".join(dict.fromkeys(device for one in known for device in one.devices)) or "no device yet"
        console.print(
            f"on {devices}; runs one after another; based on stored runs of other seeds, or else on a trial run on a "
            "share of the data (error about 25 %)",
            style="dim",
        )
    _show_search(console, asked, found, price)
    for label, one in found.items():
        if one.stored and one.prediction and one.seconds is not None:
            said, took = write_duration(one.prediction.seconds), write_duration(one.seconds)
            console.print(f"{label}: predicted {said} per run, measured {took} (n = {one.stored})")


def _show_search(console: Console, asked: Plan, found: Mapping[str, Estimate], price: float | None) -> None:
    """Print the predicted cost of the hyperparameter search that precedes those runs."""
    arms = unsettled(asked)
    if not arms or asked.budget is None:
        return
    seconds = {arm.label: search_seconds(arm, asked.budget, found[arm.label]) for arm in arms}
    known = {label: value for label, value in seconds.items() if value is not None}
    parts = [f"{label} {write_duration(value)}" for label, value in known.items()]
    parts += [f"{label} unknown" for label in seconds if label not in known]
    whole = sum(known.values())
    # A time budget does not stop a trial that has started.
    about = "up to about" if asked.budget.seconds is None else "about"
    time = f"{about} {write_duration(whole)} of device time" if known else "an unknown time"
    money = "" if price is None or not known else f", {whole * price:.3g} in money"
    console.print(f"hyperparameter search adds {time}{money}, {asked.budget} per strategy: {'; '.join(parts)}")
