import csv
import io
import json
import re
import shutil
import subprocess

import openpyxl
import pytest

from harness import Cell, Column, Row, Table
from harness.tables.table import with_columns
from harness.testing import check_reporter
from harness_plugins.reporters.csv import CSV
from harness_plugins.reporters.excel import Excel
from harness_plugins.reporters.html import HTML
from harness_plugins.reporters.json import JSON
from harness_plugins.reporters.latex import LaTeX
from harness_plugins.reporters.markdown import Markdown
from harness_plugins.reporters.plots import PDF, PNG, SVG
from harness_plugins.reporters.rich import Rich

TABLE = Table(
    title="reviews",
    question="Does lora forget less?",
    columns=(
        Column(key="reviews.accuracy", group="reviews", title="accuracy", better="higher"),
        Column(key="cost.seconds", group="cost", title="time", unit="s", better="lower"),
        Column(key="cost.trained", group="cost", title="trained"),
    ),
    rows=(
        Row(label="untuned", role="baseline", cells=(Cell(text="50.0", value=0.5), Cell(text="", note=1), Cell(text="0", value=0.0)), runs=("aaa",)),
        Row(
            label="full",
            role="reference",
            cells=(
                Cell(text="91.2 ± 0.3", value=0.912, low=0.909, high=0.915, half_width=0.003, best=True),
                Cell(text="120", value=120.0, low=118.5, high=121.5, half_width=1.5),
                Cell(text="22.7 M", detail="100 %", value=22700000.0),
            ),
            runs=("bbb", "ccc"),
        ),
        Row(
            label="lora|r=16, all",
            role="contender",
            cells=(Cell(text="", note=2), Cell(text="100", value=100.0, best=True), Cell(text="0.3 M", detail="1 %", value=300000.0)),
            runs=(),
        ),
    ),
    footnotes=("a baseline takes no time", "all runs failed"),
    about=("model: minilm", "device: CPU"),
)  # fmt: skip

MARKDOWN = """\
# reviews

Does lora forget less?

| strategy | n | reviews: accuracy ↑ | cost: time (s) ↓ | cost: trained |
| --- | ---: | ---: | ---: | ---: |
| untuned (baseline) | 1 | 50.0 | [1] | 0 |
| full (reference) | 2 | **91.2 ± 0.3** | 120 | 22.7 M (100 %) |
| lora\\|r=16, all | 0 | [2] | **100** | 0.3 M (1 %) |

[1] a baseline takes no time{end}
[2] all runs failed{end}

- model: minilm
- device: CPU

Runs:

- untuned: `aaa`
- full: `bbb`, `ccc`
- lora|r=16, all: none
""".replace("{end}", "  ")  # two spaces end a line in Markdown

COMMAS = """\
table,strategy,role,n,group,column,key,unit,value,low,high,half_width,best,verdict,difference,difference_half_width,p,reason,runs
reviews,untuned,baseline,1,reviews,accuracy,reviews.accuracy,,0.5,,,,False,,,,,,aaa
reviews,untuned,baseline,1,cost,time,cost.seconds,s,,,,,False,,,,,a baseline takes no time,aaa
"""

WIDE = """\
reviews
Does lora forget less?

                          REVIEWS        COST
strategy            n  accuracy ↑  time [s] ↓  trained
──────────────────────────────────────────────────────
untuned (baseline)  1        50.0         [1]        0
full (reference)    2  91.2 ± 0.3         120   22.7 M
                                                 100 %
lora|r=16, all      0         [2]         100    0.3 M
                                                   1 %

[1] a baseline takes no time
[2] all runs failed
model: minilm
device: CPU
"""

NARROW = """\
reviews
Does lora forget less?

                          REVIEWS
strategy            n  accuracy ↑
─────────────────────────────────
untuned (baseline)  1        50.0
full (reference)    2  91.2 ± 0.3
lora|r=16, all      0         [2]

                             COST
strategy            n  time [s] ↓  trained
──────────────────────────────────────────
untuned (baseline)  1         [1]        0
full (reference)    2         120   22.7 M
                                     100 %
lora|r=16, all      0         100    0.3 M
                                       1 %

[1] a baseline takes no time
[2] all runs failed
model: minilm
device: CPU
"""

BRIEF = """\
reviews
Does lora forget less?
Use full: no other strategy learned anything.
No runner-up.

                   REVIEWS
strategy     n  accuracy ↑
──────────────────────────
untuned      1        50.0
(baseline)
full         2  91.2 ± 0.3
(reference)
lora         0         [1]

[1] all runs failed
n = 3 seeds
not shown: time, trained (--all); 2
notes (-v)
"""


def unpadded(text: str) -> str:
    """Return text without the spaces that fill its lines up."""
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


@pytest.mark.parametrize(
    "reporter",
    [CSV(), JSON(), Markdown(), Rich(width=80), LaTeX(), HTML(), Excel(), SVG(plot="scores"), PNG(), PDF()],
    ids=lambda reporter: reporter.name,
)
def test_a_reporter_keeps_the_contract(reporter):
    check_reporter(reporter)


HOSTILE = ("<script>alert(1)</script>", "[/b]", "\x1b[31mred", "a|b", "two\nlines", "=cmd()", "100 % & \\ ~ ^ _ # $ {}")


def hostile() -> Table:
    """Return a table whose labels, titles and notes are what markup, terminals and spreadsheets act upon."""
    columns = tuple(
        column.model_copy(update={"title": text}) for column, text in zip(TABLE.columns, HOSTILE, strict=False)
    )
    rows = tuple(TABLE.rows[1].model_copy(update={"label": text}) for text in HOSTILE)
    table = TABLE.model_copy(
        update={
            "title": HOSTILE[0], "question": " ".join(HOSTILE), "columns": columns, "rows": rows, "about": HOSTILE,
            "answer": HOSTILE[:2], "footnotes": HOSTILE[:2],
        }
    )  # fmt: skip
    return Table.model_validate(table.model_dump())


def test_no_text_is_markup_or_a_command_of_a_terminal_in_any_format():
    table = hostile()
    for reporter in (Rich(width=200), Markdown(), LaTeX(), HTML()):
        assert "\x1b" not in reporter.render(table), reporter.name
    page = HTML().render(table)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    lines = [line for line in Markdown().render(table).splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {6}
    assert "<script>" not in Markdown().render(table)


def test_no_label_is_a_formula_in_a_spreadsheet():
    table = hostile()
    labels = {row["strategy"] for row in csv.DictReader(io.StringIO(CSV().render(table)))}
    assert "'=cmd()" in labels
    sheet = openpyxl.load_workbook(io.BytesIO(Excel().render(table))).worksheets[0]
    cell = next(cell for (cell,) in sheet.iter_rows(max_col=1) if cell.value == "=cmd()")
    assert cell.data_type == "s"


def test_excel_holds_numbers_and_says_what_is_blank():
    book = openpyxl.load_workbook(io.BytesIO(Excel().render(TABLE)))
    assert book.sheetnames == ["1 reviews", "notes"]
    header, untuned, full, _ = book.worksheets[0].iter_rows(values_only=True)
    told = dict(zip(header, full, strict=True))
    assert (told["reviews: accuracy"], told["reviews: accuracy, low"]) == (0.912, 0.909)
    assert dict(zip(header, untuned, strict=True))["cost: time [s]"] is None


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize(
    "more", ["", r"\usepackage{siunitx}\sisetup{output-decimal-marker={,}}"], ids=["alone", "siunitx"]
)
@pytest.mark.parametrize("table", [TABLE, hostile()], ids=["plain", "hostile"])
def test_latex_compiles(table, tmp_path, more):
    if more and subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, check=False).returncode:
        pytest.skip("needs siunitx")
    packages = r"\usepackage[T1]{fontenc}\usepackage{booktabs}" + more
    source = rf"\documentclass{{article}}{packages}\begin{{document}}{LaTeX().render(table)}\end{{document}}"
    (tmp_path / "table.tex").write_text(source, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "table.pdf").is_file()


def test_markdown_is_a_table_with_its_notes_and_the_ids_of_its_runs():
    assert Markdown().render(TABLE) == MARKDOWN


def test_markdown_without_question_or_notes_has_no_empty_parts():
    bare = TABLE.model_copy(update={"question": "", "footnotes": (), "rows": TABLE.rows[:0]})
    assert Markdown().render(bare) == (
        "# reviews\n\n"
        "| strategy | n | reviews: accuracy ↑ | cost: time (s) ↓ | cost: trained |\n"
        "| --- | ---: | ---: | ---: | ---: |\n\n"
        "- model: minilm\n- device: CPU\n\nRuns:\n\n"
    )


def test_csv_is_a_line_for_each_strategy_and_column_and_blank_where_there_is_no_number():
    text = CSV().render(TABLE)
    assert text.startswith(COMMAS)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 9
    trained = {row["strategy"]: float(row["value"]) for row in rows if row["column"] == "trained"}
    assert trained == {"untuned": 0, "full": 22_700_000, "lora|r=16, all": 300_000}


APART = TABLE.model_copy(update={"title": "reviews: lora", "question": "Cannot be compared.", "rows": TABLE.rows[:1]})


@pytest.mark.parametrize("reporter", [Markdown(), Rich(width=80)], ids=lambda reporter: reporter.name)
def test_what_cannot_be_compared_is_a_table_of_its_own_below(reporter):
    both = reporter.render(TABLE.model_copy(update={"others": (APART,)}))
    assert both == f"{reporter.render(TABLE)}\n{reporter.render(APART)}"


def test_csv_tells_rows_that_cannot_be_compared_by_their_table():
    text = CSV().render(TABLE.model_copy(update={"others": (APART,)}))
    titles = [row["table"] for row in csv.DictReader(io.StringIO(text))]
    assert titles == ["reviews"] * 9 + ["reviews: lora"] * 3


def test_json_holds_everything_and_null_where_there_is_no_number():
    text = JSON().render(TABLE)
    assert text.endswith("}\n")
    assert Table.model_validate_json(text) == TABLE
    blank = json.loads(text)["rows"][0]["cells"][1]
    assert {key: value for key, value in blank.items() if value not in (None, False)} == {
        "text": "",
        "detail": "",
        "note": 1,
        "beside": {},
    }
    assert {"value", "low", "high", "verdict", "difference", "p", "best"} <= blank.keys()


def test_a_verdict_stands_under_the_value_it_is_about():
    judged = Cell(text="0.700", value=0.7, verdict="worse", difference=-0.1, difference_half_width=0.04)
    cells = (judged, *TABLE.rows[0].cells[1:])
    row = TABLE.rows[0].model_copy(update={"cells": cells})
    table = TABLE.model_copy(update={"rows": (row,), "others": ()})
    assert "worse by 0.100 ± 0.040" in Rich(width=200).render(table)
    assert "0.700 (worse by 0.100 ± 0.040)" in Markdown().render(table)
    told = next(csv.DictReader(io.StringIO(CSV().render(table))))
    assert (told["verdict"], told["difference"], told["best"]) == ("worse", "-0.1", "False")


@pytest.mark.parametrize(("width", "expected"), [(54, WIDE), (200, WIDE), (53, NARROW), (43, NARROW)])
def test_a_terminal_shows_one_table_or_one_for_each_group_where_it_is_narrow(width, expected):
    assert unpadded(Rich(width=width).render(TABLE)) == expected


def test_a_brief_table_has_the_answer_first_and_tells_what_does_not_fit():
    rows = (*TABLE.rows[:2], TABLE.rows[2].model_copy(update={"label": "lora"}))
    table = TABLE.model_copy(
        update={
            "rows": rows,
            "answer": ("Use full: no other strategy learned anything.", "No runner-up."),
            "columns": tuple(column.model_copy(update={"main": column.title != "trained"}) for column in TABLE.columns),
            "essentials": ("n = 3 seeds",),
        }
    )
    assert (
        unpadded(Rich(width=37).render(with_columns(table))).replace("learned\nanything", "learned anything") == BRIEF
    )
    wide = Rich(width=100).render(with_columns(table))
    assert "time [s]" in wide
    assert "not shown: trained (--all); 2 notes (-v)" in wide
    assert "**Use full: no other strategy learned anything.**\nNo runner-up.\n" in Markdown().render(table)


def test_a_group_wider_than_the_terminal_still_shows_every_number_whole():
    names = ("rotten-tomatoes", "imdb", "banking77", "sotu-era", "sst2")
    columns = tuple(Column(key=name, group="forgetting", title=f"{name} accuracy", better="lower") for name in names)
    row = Row(label="last-layers", role="contender", cells=(Cell(text="+0.012 ± 0.004", value=0.012),) * 5, runs=())
    text = Rich(width=80).render(TABLE.model_copy(update={"columns": columns, "rows": (row,)}))
    assert text.count("+0.012 ± 0.004") == 5
    assert "…" not in text
