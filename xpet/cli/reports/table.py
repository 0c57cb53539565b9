"""Plain text through tabulate, for pipes and logs; ASCII apart from names."""

from __future__ import annotations

from xpet.cli.reports.details import all_tables, notes
from xpet.cli.reports.grids import Grid
from xpet.cli.reports.look import Look
from xpet.jobs.results.report import Report


def render(report: Report, look: Look) -> str:
    """The report as plain text tables."""
    parts = [_grid(grid, look) for grid in all_tables(report, look.full)]
    parts += ["\n".join(sentence for _, sentence in notes(report))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _grid(grid: Grid, look: Look) -> str:
    from tabulate import tabulate

    grid = grid if look.width is None else grid.fitted(look.width, len)
    table = tabulate(
        [[cell.whole for cell in row] for row in grid.rows], headers=[column.head for column in grid.columns],
        tablefmt="simple", colalign=["right" if column.right else "left" for column in grid.columns],
        disable_numparse=True,
    )  # fmt: skip
    lines = [grid.title, "", *(line.rstrip() for line in table.splitlines())]
    return "\n".join([*lines, *(["", grid.note] if grid.note else [])])
