"""GitHub's markdown, for READMEs and pull requests."""

from __future__ import annotations

import re

from xpet.cli.printable import clean
from xpet.cli.reports.cells import BEST, WARN, WORST, Cell
from xpet.cli.reports.details import all_tables, notes
from xpet.cli.reports.grids import Grid
from xpet.cli.reports.look import Look
from xpet.jobs.results.report import Report

SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~$&])")
EMPHASIS = {BEST: "**{}**", WORST: "*{}*"}


def render(report: Report, look: Look) -> str:
    """The report as headings and tables; best figures bold, worst ones italic."""
    parts = [_grid(grid) for grid in all_tables(report, look.full)]
    parts += [("> **{}**" if tone == WARN else "{}").format(escape(sentence)) for tone, sentence in notes(report)]
    return "\n\n".join(parts) + "\n"


def escape(words: str) -> str:
    """Text on one line with the special characters of markdown and HTML escaped."""
    return SPECIAL.sub(r"\\\1", clean(words))


def _grid(grid: Grid) -> str:
    from tabulate import tabulate

    grid = grid.without_words()
    table = tabulate(
        [[_cell(cell) for cell in row] for row in grid.rows], headers=[escape(c.head) for c in grid.columns],
        tablefmt="pipe", colalign=["right" if c.right else "left" for c in grid.columns], disable_numparse=True,
    )  # fmt: skip
    return "\n\n".join([f"### {escape(grid.title)}", table, *([escape(grid.note)] if grid.note else [])])


def _cell(cell: Cell) -> str:
    words = escape(cell.whole)
    return EMPHASIS.get(cell.tone, "{}").format(words) if words else ""
