"""Plots of a report, drawn by Vega-Lite: a chart for each question. None where there is nothing to draw."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import harness

Chart = Any
"""A chart of altair, or None."""
_COLOURS = ("#3b8fd1", "#d9661f", "#12976f", "#c05c98", "#a87900", "#7a72cf", "#7d8790")
"""Distinguishable for colour-blind readers, and with a contrast of 3 or more on white and on near-black."""
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
_GREY = "#8a8f98"
_WIDTH, _ROW = 560, 22
_PANEL, _LETTER = (330, 260), (7, 14)
"""Pixels of a panel of points, and of a letter."""
_MOST_LABELS = 14
"""Number of points with their name beside them: those that are most likely on the front."""
_MOST_CLASSES = 25


def draw(report: harness.Report, plot: str) -> Chart:
    """Return a plot of a report by its name; None if the report has nothing to show in it."""
    return PLOTS[plot](report)


def to_svg(chart: Any) -> str:
    """Return a chart as SVG, with the text in the colour of the page."""
    import vl_convert

    spec = chart.configure(**_style("currentColor"), background="transparent").to_dict()
    return str(vl_convert.vegalite_to_svg(spec))


def to_file(chart: Any, kind: str) -> bytes:
    """Return a chart as a file: `svg`, `png` or `pdf`, with black text on white."""
    import vl_convert

    spec = chart.configure(**_style("black"), background="white").to_dict()
    if kind == "png":
        return bytes(vl_convert.vegalite_to_png(spec, scale=2))
    return bytes(vl_convert.vegalite_to_pdf(spec)) if kind == "pdf" else str(vl_convert.vegalite_to_svg(spec)).encode()


def _style(ink: str) -> dict[str, Any]:
    text = {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    return {
        "font": "Arial, Liberation Sans, Helvetica, sans-serif",  # widths are computed with Arial's
        "axis": {
            **text,
            "gridColor": _GREY,
            "gridOpacity": 0.25,
            "domainColor": _GREY,
            "tickColor": _GREY,
            "labelLimit": 260,
            "labelFlush": False,  # else the last number can touch the one before it
        },
        "legend": {**text, "labelLimit": 260},
        "header": text,
        "title": {"color": ink, "fontSize": 13, "fontWeight": "normal", "anchor": "start"},
        "text": {"color": ink, "fontSize": 12},
        "view": {"stroke": None},
    }


def scores(report: harness.Report) -> Chart:
    """Return the scores with their intervals, arm by arm; the baseline is a line."""
    return _forest(report.table, [at for at, column in enumerate(report.table.columns) if _is(column, "score")])


def forgetting(report: harness.Report) -> Chart:
    """Return the forgetting with its intervals, arm by arm, for each watched dataset."""
    return _forest(report.table, [at for at, column in enumerate(report.table.columns) if _is(column, "forgetting")])


def _is(column: harness.Column, group: str) -> bool:
    return column.group == group and column.main


def _forest(table: harness.Table, columns: Sequence[int]) -> Chart:
    import altair as alt

    panels = []
    for at in columns:
        column = table.columns[at]
        rows: list[dict[str, Any]] = [
            {
                "arm": _label(row), "value": cell.value, "low": cell.value if cell.low is None else cell.low,
                "high": cell.value if cell.high is None else cell.high, "best": cell.best,
                "told": f"{row.label}: {column.title} {cell.text}" + (f", {cell.in_words}" if cell.in_words else ""),
                "text": cell.text,
            }
            for row in table.rows
            if (cell := row.cells[at]).value is not None
        ]  # fmt: skip
        if not rows:
            continue
        arms = [row["arm"] for row in rows]
        y = alt.Y("arm:N", sort=arms, title=None)
        base = alt.Chart(alt.InlineData(values=rows))
        x = alt.X("value:Q", title=_titled(column), scale=alt.Scale(zero=False, padding=12, nice=False))
        intervals = base.mark_rule(strokeWidth=2, color=_COLOURS[0]).encode(
            x=alt.X("low:Q"), x2="high:Q", y=y, description="told:N"
        )
        means = base.mark_point(filled=True, size=70, opacity=1, color=_COLOURS[0]).encode(
            x=x, y=y, description="told:N"
        )
        layers = [intervals, means]
        baseline = next((row.cells[at].value for row in table.rows if row.role == "baseline"), None)
        if baseline is not None:
            line = alt.Chart(alt.InlineData(values=[{"value": baseline}]))
            layers.insert(
                0, line.mark_rule(strokeDash=[4, 4], color=_GREY).encode(x="value:Q", description=alt.value("baseline"))
            )
        panels.append(alt.layer(*layers).properties(width=_WIDTH, height=_ROW * len(arms)))
    return alt.vconcat(*panels) if panels else None


def pareto(report: harness.Report) -> Chart:
    """Return score against tuning time, and score against the worst forgetting if forgetting was measured."""
    import altair as alt

    table = report.table
    score = next((at for at, column in enumerate(table.columns) if _is(column, "score")), None)
    time = next((at for at, column in enumerate(table.columns) if column.key == "tune_seconds"), None)
    lost = [at for at, column in enumerate(table.columns) if _is(column, "forgetting")]
    if score is None or time is None:
        return None
    known = {arm.label: arm for arm in report.arms}
    rows: list[dict[str, Any]] = []
    for row in table.rows:
        value, seconds = row.cells[score].value, row.cells[time].value
        if row.role == "baseline" or value is None or seconds is None:
            continue
        arm = known.get(row.label)
        front = arm.front if arm else None
        worst = max((cell.value for at in lost if (cell := row.cells[at]).value is not None), default=None)
        told = f"{row.label}: score {row.cells[score].text}, time {row.cells[time].text}"
        rows.append(
            {
                "arm": row.label, "score": value, "low": row.cells[score].low, "high": row.cells[score].high,
                "seconds": max(seconds, 1e-3), "worst": worst,
                "learned": "learned nothing" if arm and arm.learned is False else "learned",
                "name": row.label if front is None else f"{row.label} ({100 * front:.0f} %)",
                "front": front or 0.0,
                "told": told if worst is None else f"{told}, worst forgetting {worst:+.3f}",
            }
        )  # fmt: skip
    if not rows:
        return None
    named = sorted(rows, key=lambda row: -row["front"])[:_MOST_LABELS]
    baseline = next((row.cells[score].value for row in table.rows if row.role == "baseline"), None)
    y = alt.Y("score:Q", title=_titled(table.columns[score]), scale=alt.Scale(zero=False, padding=12, nice=False))
    times = [row["seconds"] for row in rows]
    scale = alt.Scale(type="log") if max(times) > 20 * min(times) else alt.Scale(zero=False, padding=12, nice=False)
    panels = [_scatter(rows, named, "seconds", alt.X("seconds:Q", title="tuning time [s]", scale=scale), y, baseline)]
    if any(row["worst"] is not None for row in rows):
        title = "worst forgetting" if len(lost) > 1 else f"forgetting on {table.columns[lost[0]].title}"
        panels.append(
            _scatter(
                rows,
                named,
                "worst",
                alt.X("worst:Q", title=title, scale=alt.Scale(padding=12, nice=False)),
                y,
                baseline,
            )
        )
    return alt.hconcat(*panels) if len(panels) > 1 else panels[0]


def _scatter(
    rows: list[dict[str, Any]], named: list[dict[str, Any]], field: str, x: Any, y: Any, baseline: float | None
) -> Any:
    """Return the points of strategies by `x`, one of their fields, with names at those in `named`."""
    import altair as alt

    colour = alt.Color(
        "learned:N", title=None,
        scale=alt.Scale(domain=["learned", "learned nothing"], range=[_COLOURS[0], _GREY]),
        legend=alt.Legend(orient="bottom") if any(row["learned"] != "learned" for row in rows) else None,
    )  # fmt: skip
    base = alt.Chart(alt.InlineData(values=rows))
    bars = base.mark_rule(opacity=0.35).encode(x=x, y="low:Q", y2="high:Q", color=colour)
    points = base.mark_point(filled=True, size=80, opacity=1).encode(x=x, y=y, color=colour, description="told:N")
    labels = [
        alt.Chart(alt.InlineData(values=[row]))
        .mark_text(align="left", dx=8, dy=-8 + below)
        .encode(x=x, y=y, text="name:N")
        for row, below in zip(named, _apart(rows, named, field), strict=True)
    ]
    layers = [bars, points, *labels]
    if baseline is not None:
        line = alt.Chart(alt.InlineData(values=[{"value": baseline}]))
        layers.insert(
            0, line.mark_rule(strokeDash=[4, 4], color=_GREY).encode(y="value:Q", description=alt.value("baseline"))
        )
    return alt.layer(*layers).properties(width=_PANEL[0], height=_PANEL[1])


def _apart(rows: list[dict[str, Any]], named: list[dict[str, Any]], field: str) -> list[int]:
    """Return by how many pixels each name is moved down, so that those of near points do not cover one another."""

    def place(row: dict[str, Any], size: int, name: str, *ends: float | None) -> float:
        values = [float(value) for value in (*(one[name] for one in rows), *ends) if value is not None]
        return size * (float(row[name] or 0.0) - min(values)) / ((max(values) - min(values)) or 1.0)

    ends = [one[end] for one in rows for end in ("low", "high")]
    zero = 0.0 if field == "worst" else None  # the axis begins there
    taken: list[tuple[float, float, int]] = []
    moved = []
    for row in named:
        x, y, width = place(row, _PANEL[0], field, zero), -place(row, _PANEL[1], "score", *ends), len(row["name"])
        below = 0
        while near := [
            at
            for end, at, wide in taken
            if x < end + _LETTER[0] * wide and end < x + _LETTER[0] * width and abs(y + below - at) < _LETTER[1]
        ]:
            below = math.ceil(max(near) + _LETTER[1] - y)
        taken.append((x, y + below, width))
        moved.append(below)
    return moved


def curve(report: harness.Report) -> Chart:
    """Return the validation scores against tuning time: a line for each run."""
    import altair as alt

    rows: list[dict[str, Any]] = [
        {"arm": one.arm, "run": f"{one.arm} {one.seed}", "seconds": second, "score": score}
        for one in report.curves
        for second, score in zip(one.seconds, one.scores, strict=True)
    ]
    if not rows:
        return None
    colour = _by_arm([one.arm for one in report.curves])
    return (
        alt.Chart(alt.InlineData(values=rows))
        .mark_line(strokeWidth=1.5, opacity=0.75, point={"size": 18, "opacity": 0.75})
        .encode(
            x=alt.X("seconds:Q", title="tuning time [s], without validation"),
            y=alt.Y("score:Q", title=report.curve_title, scale=alt.Scale(zero=False, padding=12, nice=False)),
            color=colour, detail="run:N",
        )
        .properties(width=_WIDTH, height=280)
    )  # fmt: skip


def stages(report: harness.Report) -> Chart:
    """Return the score of every dataset after every stage, arm by arm; None if there is one stage."""
    import altair as alt

    if report.matrix is None:
        return None
    rows: list[dict[str, Any]] = [
        {"arm": row.label, "dataset": column.group, "moment": column.title, "score": cell.value, "order": at}
        for row in report.matrix.rows
        for at, (column, cell) in enumerate(zip(report.matrix.columns, row.cells, strict=True))
        if cell.value is not None and column.group != "transfer"
    ]
    if not rows:
        return None
    moments = list(dict.fromkeys(row["moment"] for row in sorted(rows, key=lambda row: row["moment"] != "before")))
    panels = [
        alt.Chart(alt.InlineData(values=[row for row in rows if row["dataset"] == name]), title=str(name))
        .mark_line(point=True)
        .encode(
            x=alt.X("moment:N", sort=moments, title=None, axis=alt.Axis(labelAngle=-20)),
            y=alt.Y("score:Q", title=None, scale=alt.Scale(zero=False, padding=12, nice=False)),
            color=_by_arm([row.label for row in report.matrix.rows]),
        )
        .properties(width=300, height=180)
        for name in dict.fromkeys(row["dataset"] for row in rows)
    ]
    return alt.concat(*panels, columns=2)


def recall(report: harness.Report) -> Chart:
    """Return the share of right answers for each class, arm by arm, for the classes in which arms differ most."""
    import altair as alt

    if not report.classes:
        return None
    one = report.classes[-1]
    learners = [arm.label for arm in report.arms if arm.role != "baseline" and arm.label in one.confusion] or list(
        one.confusion
    )
    shares = {
        name: {label: _share(one.confusion[label][at], at) for label in learners} for at, name in enumerate(one.classes)
    }
    rows: list[dict[str, Any]] = [
        {"class": name, "arm": label, "recall": share, "told": f"{label}, {name}: {share:.2f}"}
        for name in _most_apart(shares)
        for label, share in shares[name].items()
        if share is not None
    ]
    if not rows:
        return None
    names = list(dict.fromkeys(str(row["class"]) for row in rows))
    return (
        alt.Chart(alt.InlineData(values=rows))
        .mark_point(filled=True, size=60, opacity=0.85)
        .encode(
            x=alt.X("recall:Q", title="share of the class's test items that is right", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("class:N", sort=names, title=None),
            color=_by_arm(learners),
            shape=alt.Shape(
                "arm:N", scale=alt.Scale(domain=learners, range=_cycle(_SHAPES, len(learners))), title=None
            ),
            description="told:N",
        )
        .properties(width=_WIDTH, height=_ROW * len(names))
    )


def _most_apart(shares: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """Return the classes in which arms differ most, in the order of the data."""

    def apart(name: str) -> float:
        known = [share for share in shares[name].values() if share is not None]
        return max(known) - min(known) if known else -1.0

    chosen = set(sorted(shares, key=apart, reverse=True)[:_MOST_CLASSES])
    return [name for name in shares if name in chosen]


def _share(row: Sequence[int], at: int) -> float | None:
    total = sum(row)
    return row[at] / total if total else None


def _by_arm(labels: Sequence[str]) -> Any:
    import altair as alt

    arms = list(dict.fromkeys(labels))
    return alt.Color("arm:N", title=None, scale=alt.Scale(domain=arms, range=_cycle(_COLOURS, len(arms))))


def _cycle(values: Sequence[str], count: int) -> list[str]:
    return list(itertools.islice(itertools.cycle(values), count))


def _label(row: harness.Row) -> str:
    return f"{row.label} (baseline)" if row.role == "baseline" else row.label


def _titled(column: harness.Column) -> str:
    better = {"higher": " (higher is better)", "lower": " (lower is better)", None: ""}[column.better]
    return f"{column.title}{f' [{column.unit}]' if column.unit else ''}{better}"


PLOTS = {
    "scores": scores,
    "pareto": pareto,
    "forgetting": forgetting,
    "stages": stages,
    "curve": curve,
    "recall": recall,
}
"""The plots by name."""
