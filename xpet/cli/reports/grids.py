"""A table before it has a format: headings, cells with a meaning (tone), and what may be left out when narrow."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from xpet.core.estimates import Estimate

GOOD, BAD, DIM, WARN = "good", "bad", "dim", "warn"
"""Tones of a cell; what they look like is the format's business. BEST and WORST mark one cell of a column."""
BEST, WORST = "best", "worst"
NONE = "-"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Cell:
    """Text and its tone; `value` is what to sort by, `tail` goes on in another tone."""

    text: str = ""
    tone: str = ""
    value: float | None = None
    tail: str = ""
    tail_tone: str = ""

    @property
    def whole(self) -> str:
        """Text and tail, as one line."""
        return clean(self.text + self.tail)


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


def clean(words: str) -> str:
    """Words on one line that cannot steer a terminal and can be written in UTF-8."""
    return " ".join(CONTROL.sub(" ", words).encode("utf-8", "replace").decode().split())


def text(value: object, tone: str = "") -> Cell:
    """A cell of words; nothing for None."""
    return Cell("" if value is None else str(value), tone)


def number(value: float | None, pattern: str = ",.1f", tone: str = "", unit: str = "") -> Cell:
    """A cell with a number."""
    return Cell(NONE, DIM) if value is None else Cell(positive_zero(format(value, pattern)) + unit, tone, value)


def points(figure: Estimate | None, tone: str = "") -> Cell:
    """The value of a figure with one decimal."""
    return number(None if figure is None else figure.value, ".1f", tone)


def interval(figure: Estimate | None, pattern: str = ".1f") -> Cell:
    """`[low, high]`, empty without an interval."""
    if figure is None or figure.low is None or figure.high is None:
        return Cell()
    low, high = (positive_zero(format(end, pattern)) for end in (figure.low, figure.high))
    return Cell(f"[{low}, {high}]", DIM, figure.high - figure.low)


def change(figure: Estimate | None, fewer_is_better: bool = False, sure: bool | None = None) -> Cell:
    """A signed difference in the tone of what it means; without one where it rounds to nothing or may be chance."""
    if figure is None:
        return Cell(NONE, DIM)
    difference = positive_zero(format(figure.value, "+.1f"))
    if float(difference) == 0 or sure is False:
        return Cell(difference, "", figure.value)
    return Cell(difference, GOOD if (figure.value < 0) == fewer_is_better else BAD, figure.value)


def positive_zero(digits: str) -> str:
    """`-0.0` and `+0.0` as `0.0`: a sign on nothing misleads."""
    return digits[1:] if digits[:1] in ("-", "+") and not digits.strip("+-0.,") else digits
