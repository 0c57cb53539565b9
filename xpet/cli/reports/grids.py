"""Tables of a report, for every format: headings, rows of cells, and which columns go where room is short."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from xpet.cli.reports.cells import BEST, NONE, WORST, Cell


@dataclass(frozen=True)
class Heading:
    """A column's heading. Where room is short, the columns with the highest `drop` go first; those with 0 stay.

    `right`: aligned right. `wrap`: holds prose, which may be wrapped. `part`: belongs to the value on its left, so that
    a format may show both in one cell.
    """

    head: str
    right: bool = True
    drop: int = 0
    wrap: bool = False
    part: bool = False


INTERVAL = "95 % interval"


def between(drop: int) -> Heading:
    """The column with the intervals of the values on its left."""
    return Heading(INTERVAL, True, drop, part=True)


def mark(drop: int) -> Heading:
    """The column with a word or sign about the value on its left (best, worst, significant)."""
    return Heading("", False, drop, part=True)


@dataclass(frozen=True)
class Grid:
    """A table: `name` is its identifier; `notes` are (heading, sentence), printed below where that column is shown."""

    name: str
    title: str
    columns: Sequence[Heading]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[tuple[str, str]] = ()

    @property
    def note(self) -> str:
        """The notes below the table; those with an empty heading are always printed."""
        heads = {"", *(column.head for column in self.columns)}
        return " ".join(sentence for head, sentence in self.notes if head in heads)

    def only(self, kept: Callable[[int], bool]) -> Grid:
        """The table with those columns whose index `kept` accepts."""
        indices = [index for index in range(len(self.columns)) if kept(index)]
        rows = tuple(tuple(row[i] for i in indices) for row in self.rows)
        return replace(self, columns=tuple(self.columns[i] for i in indices), rows=rows)

    def trimmed(self) -> Grid:
        """The table without columns that may be dropped and whose cells are all empty."""
        filled = [any(row[i].whole not in ("", NONE) for row in self.rows) for i in range(len(self.columns))]
        return self.only(lambda index: filled[index] or not self.columns[index].drop)

    def without_words(self) -> Grid:
        """The table without the words best and worst, for formats that set these figures in bold and italics."""
        words = [{row[i].whole for row in self.rows} <= {"", BEST, WORST} for i in range(len(self.columns))]
        return self.only(lambda index: not (self.columns[index].part and words[index]))

    def fitted(self, width: int, length: Callable[[str], int], between: int = 2, prose: int = 16) -> Grid:
        """The table with as many columns as fit into `width` characters; columns of one `drop` go together, 0 never."""
        grid = self
        while grid.width(length, between, prose) > width:
            drops = [column.drop for column in grid.columns]
            if not max(drops, default=0):
                return grid
            first = max(drops)
            grid = grid.only(lambda index, drops=drops, first=first: drops[index] != first)  # type: ignore[misc]
        return grid

    def width(self, length: Callable[[str], int], between: int = 2, prose: int = 16) -> int:
        """Characters that a row takes, where a column of prose takes at most `prose`."""
        widths = []
        for index, column in enumerate(self.columns):
            needed = max([length(column.head), *(length(row[index].whole) for row in self.rows)])
            widths.append(min(prose, needed) if column.wrap else needed)
        return sum(widths) + between * (len(widths) - 1)
