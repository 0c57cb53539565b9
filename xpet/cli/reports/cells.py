"""Cells of a report's tables, for every format: text with a tone (its meaning), made of numbers, intervals, changes."""

from __future__ import annotations

from dataclasses import dataclass

from xpet.cli.printable import clean
from xpet.core.estimates import Estimate

GOOD, BAD, DIM, WARN = "good", "bad", "dim", "warn"
"""Tones of a cell; each format decides what they look like. BEST and WORST mark one cell of a column."""
BEST, WORST = "best", "worst"
NONE = "-"
"""Text where there is no number."""


@dataclass(frozen=True)
class Cell:
    """Text and its tone; `value` is the number to sort by, `tail` further text in a tone of its own."""

    text: str = ""
    tone: str = ""
    value: float | None = None
    tail: str = ""
    tail_tone: str = ""

    @property
    def whole(self) -> str:
        """Text and tail, as one line."""
        return clean(self.text + self.tail)


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
    """A signed difference in tone good or bad; without a tone where it rounds to 0 or may be chance (`sure` False)."""
    if figure is None:
        return Cell(NONE, DIM)
    difference = positive_zero(format(figure.value, "+.1f"))
    if float(difference) == 0 or sure is False:
        return Cell(difference, "", figure.value)
    return Cell(difference, GOOD if (figure.value < 0) == fewer_is_better else BAD, figure.value)


def positive_zero(digits: str) -> str:
    """`-0.0` and `+0.0` as `0.0`: a sign on nothing misleads."""
    return digits[1:] if digits[:1] in ("-", "+") and not digits.strip("+-0.,") else digits
