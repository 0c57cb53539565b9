"""Which line each caption goes into, and how many lines there are and how long they are.

By itself the cheapest arrangement of every batch is looked for, so that hardly two batches have one shape. Where steps
are recorded by their shape, there should be few of them: captions are dealt to the lines in equal numbers, and the
length of a line is rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapreplace

import numpy as np

LENGTHS = (64, 96, 128, 192, 256, 384, 512, 768)
"""Lengths of a line, in tokens, from which the numbers of lines to try are derived."""
MULTIPLE = 8
"""The length of a line is a multiple of this many tokens: few shapes, aligned rows."""
TRIED = 3
"""How many numbers of lines are tried out, those of the least estimated cost."""
ATTENTION = 0.13
"""Cost of attending to as many tokens as there are channels, relative to everything else (measured on a CPU)."""
TOGETHER = 64
"""Captions of a line at most where attention does not limit them: pooling looks at all captions of a line."""
STEP = 1.1
"""Ratio, at most, of a length that lines are rounded up to and the one before, beyond ten times MULTIPLE tokens."""
FEW_LENGTH = 256
"""Tokens of a line, about, where shapes are to be few and attention looks at whole lines."""
LONGEST = 128
"""Tokens that every sequence may have, whatever the longest has: kernels work on blocks of as many."""


@dataclass(frozen=True)
class LineShapes:
    """How lines are to be shaped.

    Attributes:
        by_sequence: attention costs nothing for the length of a line, for every caption is a sequence of its own.
        few: batches of as many captions come in few shapes, at the price of some filler.
    """

    by_sequence: bool = False
    few: bool = False


@dataclass(frozen=True)
class Arrangement:
    """Where captions go.

    Attributes:
        line: each caption's line, counted over all runs, [runs, captions].
        start: its first token in the line, [runs, captions]; the captions of a line come one after another.
        lines: how many lines a run has.
        length: tokens of a line.
        most: captions of the fullest line.
        fillers: stretches that the filler of every line is cut into, none of them empty, where captions are sequences.
    """

    line: np.ndarray
    start: np.ndarray
    lines: int
    length: int
    most: int
    fillers: int = 0


def arrange(lengths: np.ndarray, channels: int, shapes: LineShapes) -> Arrangement:
    """Arrange captions of these lengths [runs, captions] in lines of a tower of so many channels."""
    if not (shapes.by_sequence or shapes.few):
        return _cheapest(lengths, channels)
    count, total = lengths.shape[1], int(lengths.sum(axis=1).max())
    lines = -(-count // TOGETHER) if shapes.by_sequence else min(count, -(-rounded(total) // FEW_LENGTH))
    most = -(-count // lines)
    fillers = -(-most // MULTIPLE) if shapes.by_sequence else 0
    line, start, fullest = _dealt(lengths, lines)
    fullest += fillers  # of one token each, if not more
    length = rounded(fullest) if shapes.few else _multiple(fullest)
    return Arrangement(line, start, lines, length, most, fillers)


def rounded(tokens: int) -> int:
    """The first that holds so many tokens of a row of lengths, each at most STEP times the last or MULTIPLE more."""
    length = MULTIPLE
    while length < tokens:
        length = max(length + MULTIPLE, int(length * STEP) // MULTIPLE * MULTIPLE)
    return length


def rounded_longest(tokens: int) -> int:
    """What no sequence of up to so many tokens exceeds: LONGEST, or that doubled as often as needed."""
    longest = LONGEST
    while longest < tokens:
        longest *= 2
    return longest


def _multiple(tokens: int) -> int:
    """The next multiple of MULTIPLE."""
    return -(-tokens // MULTIPLE) * MULTIPLE


def _dealt(lengths: np.ndarray, lines: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Deal captions of these lengths [runs, captions], longest first, to equally many lines of every run.

    In every round each line gets a caption, the emptiest the longest. Returns every caption's line and its first token
    in it, both [runs, captions], and the tokens of the fullest line.
    """
    runs, count = lengths.shape
    if lines == 1:
        ends = np.cumsum(lengths, axis=1)
        return np.arange(runs)[:, np.newaxis].repeat(count, axis=1), ends - lengths, int(ends.max())
    line, start = np.empty_like(lengths), np.empty_like(lengths)
    loads = np.zeros((runs, lines), dtype=lengths.dtype)
    order = np.argsort(-lengths, axis=1, kind="stable")
    for first in range(0, count, lines):
        dealt = order[:, first : first + lines]
        emptiest = np.argsort(loads, axis=1, kind="stable")[:, : dealt.shape[1]]
        begins = np.take_along_axis(loads, emptiest, axis=1)
        np.put_along_axis(line, dealt, emptiest, axis=1)
        np.put_along_axis(start, dealt, begins, axis=1)
        np.put_along_axis(loads, emptiest, begins + np.take_along_axis(lengths, dealt, axis=1), axis=1)
    return line + lines * np.arange(runs)[:, np.newaxis], start, int(loads.max())


def _cheapest(lengths: np.ndarray, channels: int) -> Arrangement:
    """The cheapest arrangement of a few numbers of lines: long lines cost attention, short ones filler."""
    longest, total = int(lengths.max()), int(lengths.sum(axis=1).max())
    estimates = {}  # number of lines -> its cost if no line had filler
    for least in (*LENGTHS, longest, total):
        lines = -(-total // max(least, longest))
        estimates[lines] = _cost(lines, max(longest, -(-total // lines)), channels)
    cheapest = sorted(estimates, key=estimates.__getitem__)[:TRIED]
    trials = [(_distributed(lengths, lines), lines) for lines in cheapest]
    (line, start, length), lines = min(trials, key=lambda trial: _cost(trial[1], trial[0][2], channels))
    return Arrangement(line, start, lines, length, most=int(np.bincount(line.reshape(-1)).max()))


def _cost(lines: int, length: int, channels: int) -> float:
    """Relative time that a tower of so many channels takes for lines of a length."""
    return lines * length * (1 + ATTENTION * length / channels)


def _distributed(lengths: np.ndarray, lines: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Put captions of these lengths [runs, captions], longest first, each into the emptiest of its run's lines.

    Returns every caption's line and its first token in it, both [runs, captions], and the length of a line.
    """
    line, start = np.empty_like(lengths), np.empty_like(lengths)
    orders = np.argsort(-lengths, axis=1, kind="stable").tolist()
    fullest = 0
    for run, (run_lengths, order) in enumerate(zip(lengths.tolist(), orders, strict=True)):
        loads = [(0, run * lines + number) for number in range(lines)]  # a heap: the emptiest comes first
        run_line, run_start = [0] * len(run_lengths), [0] * len(run_lengths)
        for caption in order:
            load, emptiest = loads[0]
            run_line[caption], run_start[caption] = emptiest, load
            heapreplace(loads, (load + run_lengths[caption], emptiest))
        line[run], start[run] = run_line, run_start
        fullest = max(fullest, max(loads)[0])
    return line, start, _multiple(fullest)
