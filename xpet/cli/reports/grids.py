"""A table before it has a format: headings, rows of cells, and what may be left out when narrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from xpet.cli.reports.cells import BEST, NONE, WORST, Cell


@dataclass(frozen=True)
class Heading:
    """A heading. Of columns with `drop` above 0 the highest goes first where there is no room.

    `wrap`: prose. `part`: belongs to the value on its left, so that a format may show both in one cell.
    """

    head: str
    right: bool = True
    drop: int = 0
    wrap: bool = False
    part: bool = False


INTERVAL = "95 % interval"


def between(drop: int) -> Heading:
    """The column of intervals of the value on its left."""
    return Heading(INTERVAL, True, drop, part=True)


def mark(drop: int) -> Heading:
    """A word or sign that says something of the value on its left."""
    return Heading("", False, drop, part=True)


@dataclass(frozen=True)
class Grid:
    """A table: `name` is an identifier, `notes` are (heading, sentence) for below, said if that column is there."""

    name: str
    title: str
    columns: Sequence[Heading]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[tuple[str, str]] = ()

    @property
    def note(self) -> str:
        """What is said below the table; an empty heading means always."""
        heads = {"", *(column.head for column in self.columns)}
        return " ".join(sentence for head, sentence in self.notes if head in heads)

    def only(self, kept: Callable[[int], bool]) -> Grid:
        """The columns whose index is kept."""
        indices = [index for index in range(len(self.columns)) if kept(index)]
        rows = tuple(tuple(row[i] for i in indices) for row in self.rows)
        return replace(self, columns=tuple(self.columns[i] for i in indices), rows=rows)

    def trimmed(self) -> Grid:
        """Without the droppable columns whose cells are all empty."""
        filled = [any(row[i].whole not in ("", NONE) for row in self.rows) for i in range(len(self.columns))]
        return self.only(lambda index: filled[index] or not self.columns[index].drop)

    def without_words(self) -> Grid:
        """Without the words best and worst, for formats that set these figures in bold and italics."""
        words = [{row[i].whole for row in self.rows} <= {"", BEST, WORST} for i in range(len(self.columns))]
        return self.only(lambda index: not (self.columns[index].part and words[index]))

    def fitted(self, width: int, length: Callable[[str], int], between: int = 2, prose: int = 16) -> Grid:
        """As many columns as go into `width`, those of one `drop` together; firm columns stay even if they do not."""
        grid = self
        while grid.width(length, between, prose) > width:
            drops = [column.drop for column in grid.columns]
            if not max(drops, default=0):
                return grid
            first = max(drops)
            grid = grid.only(lambda index, drops=drops, first=first: drops[index] != first)  # type: ignore[misc]
        return grid

    def width(self, length: Callable[[str], int], between: int = 2, prose: int = 16) -> int:
        """Characters a row takes; prose counts for at most `prose`."""
        widths = []
        for index, column in enumerate(self.columns):
            needed = max([length(column.head), *(length(row[index].whole) for row in self.rows)])
            widths.append(min(prose, needed) if column.wrap else needed)
        return sum(widths) + between * (len(widths) - 1)
