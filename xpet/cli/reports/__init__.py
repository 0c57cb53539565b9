"""Renders the evaluation report: one file per format with `render(report, look) -> str`, imported when it is used.

A new format is a file with its `render` and a row of FORMATS: `--format`, help, completion and `-o` follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from xpet.cli.reports.look import Look

if TYPE_CHECKING:
    from xpet.jobs.results.report import Report


@dataclass(frozen=True)
class ReportFormat:
    """The module with the format's `render`, and the endings by which `-o FILE` chooses it."""

    module: str
    endings: tuple[str, ...] = ()


FORMATS = {
    "terminal": ReportFormat("xpet.cli.reports.terminal"),
    "json": ReportFormat("xpet.cli.reports.json", (".json",)),
    "csv": ReportFormat("xpet.cli.reports.csv", (".csv",)),
    "markdown": ReportFormat("xpet.cli.reports.markdown", (".md",)),
    "latex": ReportFormat("xpet.cli.reports.latex", (".tex",)),
    "html": ReportFormat("xpet.cli.reports.html", (".html", ".htm")),
    "table": ReportFormat("xpet.cli.reports.table", (".txt",)),
}
"""Formats by the name in `--format`. Without it, a terminal gets `terminal` and a pipe `table`."""
PLOT_KINDS = ("png", "svg", "pdf")
"""File endings `plot.render` knows."""


def render(report: Report, name: str, look: Look | None = None) -> str:
    """The report in a format of FORMATS; the text ends with a line break."""
    text: str = import_module(FORMATS[name].module).render(report, look or Look())
    return text
