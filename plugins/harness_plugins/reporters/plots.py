"""Single plots of a report, for documents and slides."""

from typing import Any, ClassVar

from pydantic import Field, field_validator

import harness
from harness_plugins.reporters import _charts


class _Plot(harness.Reporter):
    """A plot as a file."""

    whole = True
    file = True
    imports: ClassVar[tuple[str, ...]] = ("altair", "vl_convert")
    install = "pip install 'finetune-harness[html]'"

    plot: str = Field("pareto", description=f"what to draw: {', '.join(_charts.PLOTS)}")

    @field_validator("plot")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in _charts.PLOTS:
            message = f"choose one of {', '.join(_charts.PLOTS)}"
            raise ValueError(message)
        return name

    def render(self, table: harness.Table) -> bytes:
        """Return the plot of a table."""
        return self.render_report(harness.Report(table=table))

    def render_report(self, report: harness.Report) -> bytes:
        """Return the plot.

        Raises:
            HarnessError: The report has nothing to show in it.
        """
        chart: Any = _charts.draw(report, self.plot)
        if chart is None:
            message = f"{report.table.title}: there is nothing to show in plot {self.plot!r}"
            raise harness.HarnessError(message)
        return _charts.to_file(chart, self.suffix.removeprefix("."))


class SVG(_Plot):
    """A plot as SVG: scores, pareto, forgetting, stages, curve or recall."""

    name = "svg"
    suffix = ".svg"


class PNG(_Plot):
    """A plot as PNG: scores, pareto, forgetting, stages, curve or recall."""

    name = "png"
    suffix = ".png"


class PDF(_Plot):
    """A plot as PDF: scores, pareto, forgetting, stages, curve or recall."""

    name = "pdf"
    suffix = ".pdf"


@harness.hookimpl
def harness_reporters() -> list[type[harness.Reporter]]:
    """Register the reporters."""
    return [SVG, PNG, PDF]
