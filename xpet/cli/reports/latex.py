"""LaTeX tables with booktabs; names of systems may need an engine that has their characters."""

from __future__ import annotations

import re

from xpet.cli.printable import clean
from xpet.cli.reports.cells import BEST, WORST, Cell
from xpet.cli.reports.details import all_tables, notes
from xpet.cli.reports.grids import Grid
from xpet.cli.reports.look import Look
from xpet.jobs.results.report import Report

ESCAPES = {
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "^": r"\^{}", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "\\": r"\textbackslash{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "`": r"\textasciigrave{}", '"': r"\textquotedbl{}", "[": "{[}", "]": "{]}", "*": "{*}",
}  # fmt: skip
"""LaTeX for special characters; a bracket or star would be read as an argument of the line break before it."""
NOT_LABEL = re.compile(r"[^A-Za-z0-9-]+")
OPEN = {BEST: r"\textbf{", WORST: r"\textit{"}


def render(report: Report, look: Look) -> str:
    """The report as table environments; best figures bold, worst ones italic, notes in the first caption."""
    sentences = " ".join(sentence for _, sentence in notes(report))
    grids = all_tables(report, look.full)
    caption_end = f"Best in bold, worst in italics. {sentences}".strip()
    tables = [_grid(grid, "" if number else caption_end) for number, grid in enumerate(grids)]
    return "% Needs \\usepackage{booktabs}; \\textquotedbl needs \\usepackage[T1]{fontenc}.\n" + "\n".join(tables)


def escape(words: str) -> str:
    """Text on one line with LaTeX's special characters escaped."""
    return "".join(ESCAPES.get(char, char) for char in clean(words)).replace("--", "-{}-")  # no ligature


def _grid(grid: Grid, caption_end: str) -> str:
    from tabulate import tabulate

    grid = grid.without_words()
    # tabulate's own escapes leave brackets and quotes alone: ours come first, and booktabs' rules replace its lines.
    body = tabulate(
        [[_cell(cell) for cell in row] for row in grid.rows], headers=[escape(c.head) for c in grid.columns],
        tablefmt="latex_raw", colalign=["right" if c.right else "left" for c in grid.columns], disable_numparse=True,
    )  # fmt: skip
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        body = body.replace(r"\hline", rule, 1)
    label = NOT_LABEL.sub("-", grid.name)
    caption = escape(" ".join(part for part in (f"{grid.title}.", grid.note, caption_end) if part))
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:xpet-{label}}}",
    ]
    return "\n".join([*lines, body, r"\end{table}", ""])


def _cell(cell: Cell) -> str:
    words = escape(cell.whole)
    return f"{OPEN[cell.tone]}{words}}}" if words and cell.tone in OPEN else words
