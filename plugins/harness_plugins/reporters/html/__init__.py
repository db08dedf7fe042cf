"""Reports as one self-contained HTML page."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import harness
from harness_plugins.reporters import _charts

_ABOUT = {
    "scores": ("Scores", "Mean and 95 % interval of each strategy; dashed: the baseline, which learns nothing."),
    "pareto": (
        "Score against cost and forgetting",
        "In brackets: probability that no other strategy is as good in everything and better in one thing.",
    ),
    "forgetting": ("Forgetting", "Score lost on text that is not used for tuning; 0: nothing. Mean and 95 % interval."),
    "stages": ("Score after every stage", "The score on each dataset before tuning and after each stage."),
    "curve": ("Validation during tuning", "A line for each run; a single point: no epochs."),
    "recall": (
        "Classes",
        "Share of right answers for each class; with many classes, those in which strategies differ most.",
    ),
}
_MOST_CONFUSED = 8


class Drawing(NamedTuple):
    """A plot with its heading."""

    name: str
    title: str
    caption: str
    svg: str


class Confused(NamedTuple):
    """A pair of classes that an arm confuses."""

    target: str
    predicted: str
    times: int
    of: int


class HTML(harness.Reporter):
    """HTML page for colleagues: the answer, plots, data, table and settings in one file that needs no network."""

    name = "html"
    suffix = ".html"
    whole = True
    file = True
    imports: ClassVar[tuple[str, ...]] = ("altair", "jinja2", "vl_convert")
    install = "pip install 'finetune-harness[html]'"

    def render(self, table: harness.Table) -> str:
        """Return a page with the table."""
        return self.render_report(harness.Report(table=table))

    def render_report(self, report: harness.Report) -> str:
        """Return a page with the whole report."""
        drawn = {
            name: Drawing(name, *_ABOUT[name], _charts.to_svg(chart))
            for name in _charts.PLOTS
            if (chart := _charts.draw(report, name)) is not None
        }
        page: str = _template().render(
            report=report, table=report.table, drawn=drawn, notes=list(_notes(report.table)),
            confused={one.dataset: list(_confused(one)) for one in report.classes},
        )  # fmt: skip
        return page


@functools.cache
def _template() -> Any:
    import jinja2

    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    # Everything is escaped, whatever the file is called; an unknown name is an error, not a blank.
    environment = jinja2.Environment(
        loader=folder, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["visible"] = _visible
    return environment.get_template("page.html.jinja")


def _visible(text: str) -> str:
    """Return a text with control characters replaced by symbols, except line breaks and tabs."""
    return "".join(chr(0x2400 + ord(sign)) if ord(sign) < 32 and sign not in "\n\t" else sign for sign in text)


def _notes(table: harness.Table) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Yield the title, footnotes and notes of each table."""
    for part in (table, *table.others):
        yield part.title, part.footnotes, part.about


def _confused(one: harness.ClassReport) -> Iterator[tuple[str, list[Confused]]]:
    """Yield, by arm, the classes that are confused most often."""
    for label, rows in one.confusion.items():
        pairs = [
            Confused(one.classes[target], one.classes[predicted], count, sum(row))
            for target, row in enumerate(rows)
            for predicted, count in enumerate(row)
            if target != predicted and count
        ]
        yield label, sorted(pairs, key=lambda pair: -pair.times)[:_MOST_CONFUSED]


@harness.hookimpl
def harness_reporters() -> list[type[harness.Reporter]]:
    """Register the reporter."""
    return [HTML]
