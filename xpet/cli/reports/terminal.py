"""The report at a terminal, through rich; words and signs say everything that colours do."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from xpet.cli.printable import clean
from xpet.cli.reports.cells import BAD, BEST, DIM, GOOD, WARN, WORST, Cell
from xpet.cli.reports.details import all_tables, notes
from xpet.cli.reports.grids import Grid
from xpet.cli.reports.look import Look
from xpet.cli.reports.sections import Bar, disparity, languages, others
from xpet.jobs.results.report import Report, System

if TYPE_CHECKING:
    from rich.box import Box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

STYLES = {GOOD: "green", BAD: "red", DIM: "dim", WARN: "yellow", BEST: "bold", WORST: "bold magenta", "bar": "cyan"}
BETWEEN = 2
"""Characters between columns."""
BAR = 16
"""Characters that stand for 100 percent."""
BLOCKS = {True: ("█", "▒", "░"), False: ("#", "+", "-")}
"""Signs for R@1 that is kept, gained and lost, by whether the terminal can write Unicode."""
PARTS = " ▏▎▍▌▋▊▉"
"""Signs for zero to seven eighths of a block."""
ASCII_LINES = "    \n    \n -- \n    \n    \n    \n    \n    \n"


def render(report: Report, look: Look) -> str:
    """The report as text with ANSI styles, or without any where `look` has no colour."""
    from rich.console import Console

    width, out = look.width or 80, io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=look.colour, color_system="standard" if look.colour else None,
        legacy_windows=False, highlight=False, markup=False, emoji=False, _environ={},
    )  # fmt: skip
    for grid in _grids(report, look, width):
        _print(console, grid, look)
    for tone, sentence in notes(report):
        console.print(sentence, style=STYLES.get(tone))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().rstrip().splitlines())


def _grids(report: Report, look: Look, width: int) -> list[Grid]:
    """Every table; those of languages and disparity are split where not all systems fit side by side."""
    from rich.cells import cell_len

    rest = all_tables(report, look.full)[2:]
    systems = list(others(report))
    several = len(systems) > 1
    for at_once in range(max(1, len(systems)), 0, -1):
        parts = _evenly(systems, at_once)
        grids = [languages(report, part, None if several else _bar(look)) for part in parts]
        grids += [disparity(report, part) for part in parts]
        fitted = [grid.fitted(width, cell_len, BETWEEN) for grid in grids]
        if all(grid.width(cell_len, BETWEEN) <= width for grid in fitted):
            break
    return fitted + [grid.fitted(width, cell_len, BETWEEN) for grid in rest]


def _evenly(systems: list[System], at_once: int) -> list[list[System]]:
    """The systems in as few parts as possible of at most `at_once`, of about one size; no systems: one empty part."""
    parts = max(1, -(-len(systems) // at_once))
    size = max(1, -(-len(systems) // parts))
    return [systems[start : start + size] for start in range(0, max(1, len(systems)), size)]


def _bar(look: Look) -> Bar:
    kept, gained, lost = BLOCKS[look.unicode]

    def draw(before: float, after: float | None) -> Cell:
        if after is None:
            return Cell(_blocks(before, kept, look.unicode), "bar")
        old, new = round(before / 100 * BAR), round(after / 100 * BAR)
        tail = gained * (new - old) if new >= old else lost * (old - new)
        return Cell(kept * min(old, new), "bar", None, tail, GOOD if new >= old else BAD)

    return draw


def _blocks(percent: float, block: str, fine: bool) -> str:
    whole, part = divmod(round(percent / 100 * BAR * 8), 8)
    if not fine:
        return block * (whole + (part >= 4))
    return block * whole + PARTS[part].strip()


def _print(console: Console, grid: Grid, look: Look) -> None:
    console.print(grid.title, style="bold" if look.colour else None)
    console.print(_table(grid, look))
    note = _legend(grid, look) + grid.note
    if note:
        console.print()
        console.print(note, style=STYLES[DIM])
    console.print()


def _legend(grid: Grid, look: Look) -> str:
    kept, gained, lost = BLOCKS[look.unicode]
    tails = any(cell.tail for row in grid.rows for cell in row)
    return f"Bars: {kept} before, {gained} gained, {lost} lost. " if tails else ""


def _table(grid: Grid, look: Look) -> Table:
    from rich.table import Table

    table = Table(box=_box(look), show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column in grid.columns:
        table.add_column(
            column.head, justify="right" if column.right else "left", no_wrap=not column.wrap, overflow="fold"
        )
    for row in grid.rows:
        table.add_row(*(_text(cell) for cell in row))
    return table


def _box(look: Look) -> Box:
    from rich import box

    return box.SIMPLE_HEAD if look.unicode else box.Box(ASCII_LINES, ascii=True)


def _text(cell: Cell) -> Text:
    from rich.text import Text

    words = clean(cell.text)
    return Text.assemble((words, STYLES.get(cell.tone, "")), (cell.tail, STYLES.get(cell.tail_tone, "")))
