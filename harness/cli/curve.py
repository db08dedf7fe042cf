"""`harness report --curve`: plot validation score against tuning cost, and the cost to reach a target score."""

from __future__ import annotations

import importlib.util
import re
import shutil
import string
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.analysis.curve import Curve, bests, mean_curve, reach, read_curves, target
from harness.catalog import Catalog
from harness.contracts import Metric, Task
from harness.errors import HarnessError
from harness.experiment.plan import Plan
from harness.store import Store, replacing

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""A palette that is safe for colour-blind readers (Okabe and Ito, 2008, Color Universal Design)."""
_LETTERS = "ox+*#@%&" + string.ascii_letters
_MARKS = ("o", "s", "^", "D", "v", "P", "X")


def show_curve(plan: Plan, store: Store, catalog: Catalog, share: float, price: float | None) -> None:
    """Print each arm's cost to reach a share of the reference's best score, and its curve; save the curve as an image.

    Raises:
        HarnessError: There is no curve to show, or a plotting library is not installed.
    """
    if missing := [name for name in ("matplotlib", "plotext") if importlib.util.find_spec(name) is None]:
        message = f"{missing[0]}, needed for --curve, is not installed: pip install 'finetune-harness[plot]'"
        raise HarnessError(message)
    curves = read_curves(plan, store)
    if not curves:
        message = (
            "no finished run has a curve with costs: run harness compare to compute missing runs (runs stored by "
            "an earlier version have no such curve)"
        )
        raise HarnessError(message)
    stages = plan.arms[0].runs[0].stages
    default = catalog.restore(Task, stages[-1].task).metrics[0]
    chosen_by = {arm.label: arm.runs[0].train.select_by or default for arm in plan.arms if arm.role != "baseline"}
    by = chosen_by.get(plan.reference or "", next(iter(chosen_by.values()), default))
    for label in [label for label in curves if chosen_by.get(label, by) != by]:
        del curves[label]
        sys.stdout.write(f"{label} is left out: its validation metric is {chosen_by[label]}, not {by}\n")
    metric = catalog.find(Metric, by)
    title = f"validation {metric.title}" + (f" on {stages[-1].dataset.name}" if len(stages) > 1 else "")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")
    sign = 1.0 if metric.better == "higher" else -1.0
    devices = {
        arm.label: max(found.processes for run in arm.runs if (found := store.sound(run)))
        for arm in plan.arms
        if arm.label in curves
    }
    prices = None if price is None else {label: price * number for label, number in devices.items()}
    _print_table(plan, curves, share, prices, title, sign)
    _print_plot(curves, title, sign)
    path = store.root / "reports" / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', plan.name).strip('.-') or 'table'}-curve.svg"
    _draw(path, plan, curves, title, sign)
    sys.stdout.write(f"\nsaved as {path}\n")


def _print_table(
    plan: Plan,
    curves: Mapping[str, Sequence[Curve]],
    share: float,
    prices: Mapping[str, float] | None,
    title: str,
    sign: float,
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"[bold]{plan.name}[/bold]  {plan.question}")
    reference = plan.reference if plan.reference and plan.reference in curves else next(iter(curves))
    goal = target(curves[reference], share)
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    money = ["money"] if prices is not None else []
    for heading in ("arm", "n", f"best {title}", "time", "compute", *money):
        grid.add_column(heading, justify="left" if heading == "arm" else "right")
    found = {label: reach(some, goal) for label, some in curves.items()}
    for label, best in bests(curves).items():
        mark = "> " if found[label].censored else ""
        costs = [f"{mark}{found[label].seconds:,.1f} s", f"{mark}{found[label].flops / 1e9:,.0f} GFLOP"]
        costs += [f"{mark}{found[label].seconds * prices[label]:.3g}"] if prices is not None else []
        grid.add_row(label, str(found[label].of), f"{sign * best:.3f}", *costs)
    for arm in plan.arms:
        if arm.label not in curves:
            grid.add_row(arm.label, "0", "", "", "", *("" for _ in money))
    console.print(grid)
    console.print(
        f"time, compute: tuning cost until {title} reaches {sign * goal:.3f}, which is {reference}'s best "
        f"{'times' if goal >= 0 else 'divided by'} {share:g}, at the first "
        "validated point; means over seeds; blank: no curve, because nothing is trained or the run was "
        "stored before curves recorded costs",
        style="dim",
    )
    for label, one in found.items():
        if one.censored:
            console.print(
                f"> {label}: reached by {one.seeds} of {one.of} seeds; the others count with their total cost, so the "
                "true mean is higher",
                style="dim",
            )


def _print_plot(curves: Mapping[str, Sequence[Curve]], title: str, sign: float) -> None:
    import plotext

    plotext.clear_figure()
    plotext.theme("clear")
    width = min(100, shutil.get_terminal_size((100, 40)).columns)
    plotext.plotsize(width, 22)
    for some, mark in zip(curves.values(), _LETTERS, strict=False):
        points = mean_curve(some)
        xs, ys = [point.seconds for point in points], [sign * point.score for point in points]
        if len(points) > 1:
            plotext.plot(xs, ys, marker=mark)
        else:
            plotext.scatter(xs, ys, marker=mark)
    plotext.xlim(0, 1.02 * max(point.seconds for some in curves.values() for point in mean_curve(some)))
    plotext.xlabel("tuning time [s]")
    plotext.ylabel(title)
    # The built-in legend would cover the points, and plotext writes colours even without a terminal.
    drawn = plotext.uncolorize(plotext.build())
    legend = ", ".join(f"{mark} {label}" for label, mark in zip(curves, _LETTERS, strict=False))
    sys.stdout.write(f"\n{drawn}\n{legend}\n")


def _draw(path: Path, plan: Plan, curves: Mapping[str, Sequence[Curve]], title: str, sign: float) -> None:
    """Write the curves as an SVG: a thin line for each seed, a thick line for their mean."""
    import textwrap

    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": plan.name, "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.2, 4.4), layout="constrained")
        axes = figure.add_subplot()
        for number, (label, some) in enumerate(curves.items()):
            turn = number // len(_COLOURS)  # another marker when a colour repeats
            colour, mark = _COLOURS[number % len(_COLOURS)], _MARKS[(number + turn) % len(_MARKS)]
            for curve in some:
                axes.plot(
                    [point.seconds for point in curve], [sign * point.score for point in curve],
                    color=colour, linewidth=0.8, alpha=0.3, marker=".", markersize=3,
                )  # fmt: skip
            mean = mean_curve(some)
            axes.plot(
                [point.seconds for point in mean], [sign * point.score for point in mean],
                color=colour, linewidth=2, marker=mark, markersize=6, label=f"{label} (n = {len(some)})",
            )  # fmt: skip
        axes.set_xlabel("tuning time [s], without validation")
        axes.set_ylabel(title)
        axes.set_xlim(left=0)
        axes.set_title("\n".join(textwrap.wrap(plan.question or plan.name, 80)), fontsize=10, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
        with replacing(path) as temporary:
            figure.savefig(temporary, format=path.suffix.removeprefix("."), metadata={"Date": None})
