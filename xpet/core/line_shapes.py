"""Which line each caption goes into, and how many lines there are and how long they are.

On a CPU the cheapest arrangement of every batch is looked for, so that hardly two batches have one shape. Where steps
are recorded by their shape, there should be few of them: the number of lines follows from a rounded number of tokens,
and the length of a line is rounded up.

A GPU attends in blocks of BLOCK x BLOCK tokens. With a mask a line of so many tokens, a few captions, is one block. As
a sequence of its own every caption is one, however short it is; but of long lines only the blocks that are seen count.
"""

from __future__ import annotations

import math
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
"""Captions of a line at most where they are sequences: pooling looks at all captions of a line."""
STEP = 1.1
"""Ratio, at most, of a length that lines are rounded up to and the one before, beyond ten times MULTIPLE tokens."""
BLOCK = 128
"""Tokens that a GPU's attention takes at a time."""
BLOCK_COST = 8192
"""What attention within a block costs a GPU: as much as all else does of so many tokens, divided by the channels.

In lines of about BLOCK tokens attention took 7 % of the time of XLM-R Large's kernels on an H100, in bf16.
"""
MOST = 4
"""The captions of the fullest line are said to be a multiple of this, where shapes are to be few."""
ROOM = 1.5
"""Where shapes are to be few, lines are planned for BLOCK tokens, or that doubled, and for so many longest captions."""
SPARE = (1.0, 1.06)
"""Numbers of lines that are tried out then, relative to that of full lines."""


@dataclass(frozen=True)
class LineShapes:
    """How lines are to be shaped.

    Attributes:
        by_sequence: whether every caption is attended to as a sequence of its own; None: where a GPU takes less time
            for it than for a mask, as estimated.
        few: batches of as many captions come in few shapes, at the price of some filler.
    """

    by_sequence: bool | None = False
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
    if shapes.by_sequence:
        return _sequences(lengths, shapes.few)
    with_mask = _few(lengths, channels) if shapes.few else _cheapest(lengths, channels)
    if shapes.by_sequence is None:
        sequences = _sequences(lengths, shapes.few)
        if _time(sequences, lengths, channels) < _time(with_mask, lengths, channels):
            return sequences
    return with_mask


def _sequences(lengths: np.ndarray, few: bool) -> Arrangement:
    """An arrangement of captions that are sequences, with as few lines as there may be."""
    lines = -(-lengths.shape[1] // TOGETHER)
    most = -(-lengths.shape[1] // lines)
    fillers = -(-most // MULTIPLE)
    line, start, fullest = _dealt(lengths, lines)
    fullest += fillers  # of one token each, if not more
    return Arrangement(line, start, lines, rounded(fullest) if few else _multiple(fullest), most, fillers)


def _few(lengths: np.ndarray, channels: int) -> Arrangement:
    """An arrangement for attention with a mask, of one of few shapes."""
    full = rounded(int(lengths.sum(axis=1).max())) / rounded_longest(int(ROOM * lengths.max()))  # lines
    trials = []
    for lines in sorted({min(lengths.shape[1], math.ceil(spare * full)) for spare in SPARE}):
        line, start, length = _distributed(lengths, lines)
        most = -(-int(np.bincount(line.reshape(-1)).max()) // MOST) * MOST
        trials.append(Arrangement(line, start, lines, rounded(length), most))
    return min(trials, key=lambda found: _time(found, lengths, channels))


def _time(found: Arrangement, lengths: np.ndarray, channels: int) -> float:
    """Relative time that a tower of so many channels takes on a GPU for captions of these lengths [runs, captions]."""
    lines = len(lengths) * found.lines
    blocks = lines * math.ceil(found.length / BLOCK) ** 2
    if found.fillers:
        blocks = int(np.square((lengths + BLOCK - 1) // BLOCK).sum()) + lines * found.fillers
    return lines * found.length + blocks * BLOCK_COST / channels


def rounded(tokens: int) -> int:
    """The first that holds so many tokens of a row of lengths, each at most STEP times the last or MULTIPLE more."""
    length = MULTIPLE
    while length < tokens:
        length = max(length + MULTIPLE, int(length * STEP) // MULTIPLE * MULTIPLE)
    return length


def rounded_longest(tokens: int) -> int:
    """What no sequence of up to so many tokens exceeds: BLOCK, or that doubled as often as needed."""
    longest = BLOCK
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
