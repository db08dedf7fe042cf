"""The page, in a real browser where there is one."""

import csv
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from harness import ArmReport, Cell, ClassReport, Column, CurveReport, Report, Row, Table
from harness.reports import AnswerReport
from harness_plugins.reporters.html import HTML

BROWSER = os.environ.get("HARNESS_BROWSER") or next(
    filter(None, map(shutil.which, ("chromium", "google-chrome"))), None
)
sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs chromium")


def make_report(arms: int = 4, classes: int = 3, *, failed: bool = False, stages: bool = False) -> Report:
    """Return an invented report; the first arm is the baseline."""
    rng = np.random.default_rng(0)
    columns = (
        Column(key="accuracy", group="score", title="accuracy", better="higher", main=True),
        Column(key="forgetting.prose", group="forgetting", title="prose CKA", quantity="difference", better="lower", main=True),
        Column(key="tune_seconds", group="cost", title="time", quantity="seconds", better="lower", main=True),
    )  # fmt: skip
    labels = [f"strategy-{number:02}" for number in range(arms)]
    rows = []
    for number, label in enumerate(labels):
        score, lost, seconds = rng.uniform(0.5, 0.9), rng.uniform(0, 0.2), 10 ** rng.uniform(0, 3)
        blank = Cell(text="", note=1)
        cells = (
            Cell(text=f"{score:.3f}", value=score, low=score - 0.05, high=score + 0.05, best=number == 1, verdict="worse", difference=-0.1),
            Cell(text=f"{lost:+.3f}", value=lost, low=lost - 0.1, high=lost + 0.1),
            Cell(text=f"{seconds:.1f} s", value=seconds),
        )  # fmt: skip
        last = failed and number == arms - 1
        rows.append(
            Row(label=label, role="contender" if number else "baseline", cells=(blank,) * 3 if last else cells, runs=() if last else ("aaa", "bbb"))
        )  # fmt: skip
    names = tuple(f"class {number}" for number in range(classes))
    matrix = Table(
        title="invented", question="", columns=tuple(
            Column(key=f"{data}.{at}", group=f"{data} accuracy", title=moment)
            for data in ("first", "second") for at, moment in enumerate(("before", "after first", "after second"))
        ), rows=tuple(Row(label=label, role="contender", cells=tuple(Cell(text="0.5", value=float(v)) for v in rng.uniform(size=6)), runs=()) for label in labels),
        footnotes=(), about=(),
    )  # fmt: skip
    return Report(
        table=Table(title="invented", question="Which?", columns=columns, rows=tuple(rows), footnotes=("all runs failed",) if failed else (), about=("a note",)),
        matrix=matrix if stages else None,
        reasons=("Use strategy-01: it has the lowest time.", "No runner-up."),
        arms=tuple(ArmReport(label=label, role="contender" if n else "baseline", learned=n % 5 != 4, front=0.5, failures=("it failed",) if failed and n == arms - 1 else ()) for n, label in enumerate(labels)),
        curves=tuple(CurveReport(arm=label, seed=seed, seconds=(1.0, 2.0, 3.0), scores=(0.5, 0.6, 0.7)) for label in labels[1:] for seed in (0, 1)),
        curve_title="validation accuracy",
        classes=(
            ClassReport(
                dataset="data", classes=names, seeds=dict.fromkeys(labels, 2),
                confusion={label: tuple(tuple(int(v) for v in row) for row in rng.integers(0, 9, (classes, classes))) for label in labels},
                differing=(AnswerReport(text="<img src=x onerror=alert(1)>", target=names[0], answers=dict.fromkeys(labels[1:], names[0]), right=dict.fromkeys(labels[1:], 0.5)),) if arms > 1 else (),
            ),
        ),
        experiment="{}", command="harness compare invented.json",
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    if BROWSER is None:
        pytest.skip("needs chromium")
    with sync_api.sync_playwright() as started:
        yield started.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])


def opened(
    browser: sync_api.Browser, report: Report, tmp_path: Path, width: int, scheme: str = "light"
) -> sync_api.Page:
    """Return the page of a report in a window of this width; every message, error and request is collected in `told`."""
    path = tmp_path / "page.html"
    path.write_text(HTML().render_report(report), encoding="utf-8")
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    page.told = []
    page.on("console", lambda message: page.told.append(message.text))
    page.on("pageerror", lambda error: page.told.append(str(error)))
    page.on("request", lambda request: page.told.append(request.url))
    page.goto(path.as_uri())
    assert page.told == [path.as_uri()]
    return page


@needs_browser
@pytest.mark.parametrize(
    ("report", "width", "scheme"),
    [
        (make_report(9, 77, stages=True), 1280, "dark"),
        (make_report(failed=True), 390, "dark"),
        (make_report(1), 390, "light"),
        (make_report(50, 2), 1280, "light"),
    ],
    ids=["77-classes", "failed", "one", "50-arms"],
)
def test_a_page_asks_for_nothing_fits_its_window_and_is_accessible(browser, report, width, scheme, tmp_path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(browser, report, tmp_path, width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(page).response["violations"]
    assert [
        (one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in {"serious", "critical"}
    ] == []
    assert page.told[1:] == []
    page.context.close()


@needs_browser
def test_names_of_strategies_that_are_close_do_not_cover_one_another(browser, tmp_path):
    report = make_report(arms=5)
    near = [
        row.model_copy(
            update={"cells": tuple(c.model_copy(update={"value": (c.value or 0) * 0.01 + 0.5}) for c in row.cells)}
        )
        for row in report.table.rows
    ]
    table = report.table.model_copy(update={"rows": tuple(near)})
    page = opened(browser, report.model_copy(update={"table": table}), tmp_path, 1280)
    boxes = page.evaluate(
        "[...document.querySelectorAll('svg text')].filter(t => t.textContent.includes('(50 %)'))"
        ".map(t => t.getBoundingClientRect()).map(b => [b.left, b.top, b.right, b.bottom])"
    )
    assert len(boxes) == 8
    for at, (left, top, right, bottom) in enumerate(boxes):
        for other in boxes[:at]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] + 3 or other[3] <= top + 3


@needs_browser
def test_the_table_sorts_filters_and_downloads(browser, tmp_path):
    report = make_report(6, failed=True)
    page = opened(browser, report, tmp_path, 1280)
    labels = "() => [...document.querySelectorAll('#table-0 tbody tr')].filter(row => !row.hidden).map(row => row.cells[0].textContent.split(' ')[0])"
    before = page.evaluate(labels)
    scores = {row.label: row.cells[0].value for row in report.table.rows}
    known = sorted((label for label in before if scores[label] is not None), key=lambda label: scores[label])
    page.click("#table-0 thead th:nth-child(3) button")
    assert page.evaluate(labels) == [*known, before[-1]]
    page.click("#table-0 thead th:nth-child(3) button")
    assert page.evaluate(labels) == [*reversed(known), before[-1]]
    page.click("#table-0 thead th:nth-child(3) button")
    assert page.evaluate(labels) == before
    page.fill("#filter", "-03")
    assert page.evaluate(labels) == ["strategy-03"]
    page.fill("#filter", "")
    with page.expect_download() as download:
        page.click("#download")
    saved = download.value.path().read_text(encoding="utf-8-sig")
    rows = list(csv.reader(saved.splitlines()))
    assert len(rows) == 7
    assert float(rows[1][2]) == scores["strategy-00"]
    assert rows[-1][2] == "[1]"
    page.context.close()


def test_a_page_of_fifty_strategies_is_small_and_every_text_is_escaped():
    text = HTML().render_report(make_report(50, 77, stages=True))
    assert len(text) < 1_500_000
    assert "<img src=x" not in text
    assert "<img src=x" not in HTML().render_report(make_report())
