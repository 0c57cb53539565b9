"""Renderers of the evaluation report: one file per format, each `render(report, look) -> str`; imported when used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from xpet.cli.reports.look import Look

if TYPE_CHECKING:
    from xpet.jobs.results.report import Report

FORMATS = {
    "terminal": "xpet.cli.reports.terminal",
    "table": "xpet.cli.reports.table",
    "markdown": "xpet.cli.reports.markdown",
    "csv": "xpet.cli.reports.csv",
    "latex": "xpet.cli.reports.latex",
    "json": "xpet.cli.reports.json",
    "html": "xpet.cli.reports.html",
}
"""Format -> module with its `render`. Terminal and table are what a person and a pipe get unasked."""
PLOT_KINDS = ("png", "svg", "pdf")
"""File endings `plot.render` knows."""


def render(report: Report, name: str, look: Look | None = None) -> str:
    """The report in a format of FORMATS; the text ends with a line break."""
    text: str = import_module(FORMATS[name]).render(report, look or Look())
    return text
