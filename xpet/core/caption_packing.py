"""Packed captions: several in a line of tokens, kept apart by a block-diagonal attention mask (exact, hardly padded).

Captions have very different lengths; padded to the longest of a batch, a third to a half of the tokens computed with
are filler. Packed, each keeps its own positions, attends to itself alone and is pooled by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapreplace

import numpy as np
import torch
from torch import Tensor

LENGTHS = (64, 96, 128, 192, 256, 384, 512, 768)
"""Lengths of a line, in tokens, that are considered; what is chosen also depends on the longest caption."""
MULTIPLE = 8
"""Lines are rounded up to whole multiples of so many tokens: few shapes, aligned rows."""
TRIED = 3
"""Numbers of lines that are tried out."""
ATTENTION = 0.13
"""Cost of attending to as many tokens as there are channels, relative to everything else (measured on a CPU)."""


@dataclass(frozen=True)
class PackedBatch:
    """Captions in lines of tokens; all tensors are int64.

    Attributes:
        ids: token ids [lines, length].
        positions: every token's position in its caption, from 0, [lines, length].
        segment: the number of every token's caption in its line, [lines, length]; -1 for filler.
        index: where each caption is among the lines' captions [lines * most], [captions].
        most: captions of the fullest line.
        slot: which of the inserted prompt tokens stands here, [lines, length]; -1 for tokens of the text. None where
            none are inserted.
    """

    ids: Tensor
    positions: Tensor
    segment: Tensor
    index: Tensor
    most: int
    slot: Tensor | None = None

    def to(self, send: Callable[[Tensor], Tensor]) -> PackedBatch:
        """The same batch with every tensor, in its shape, put elsewhere by `send`, such as onto a device."""
        slot = None if self.slot is None else send(self.slot)
        ids, positions, segment, index = map(send, (self.ids, self.positions, self.segment, self.index))
        return PackedBatch(ids, positions, segment, index, self.most, slot)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of the batch, in the shapes of its attributes, [lines, length] most of them."""
        tensors = (self.ids, self.positions, self.segment, self.index)
        return tensors if self.slot is None else (*tensors, self.slot)

    def captions(self, runs: int) -> Tensor:
        """The number of every token's caption among those of its run, [lines, length]; any number for filler."""
        count = len(self.index)
        numbers = self.index.new_zeros(len(self.ids) * self.most)
        numbers[self.index] = torch.arange(count, device=self.index.device) % (count // runs)
        return numbers.view(-1, self.most).gather(1, self.segment.clamp_min(0))

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Additive attention mask [lines, 1, length, length]: a token sees those of its own caption alone."""
        other = self.segment.unsqueeze(2) != self.segment.unsqueeze(1)
        return torch.zeros_like(other, dtype=dtype).masked_fill_(other, torch.finfo(dtype).min).unsqueeze(1)

    def pool(self, hidden: Tensor) -> Tensor:
        """Mean of each caption's token states: [lines, length, hidden] -> [captions, hidden]."""
        belongs = self.segment.unsqueeze(1) == torch.arange(self.most, device=hidden.device).view(1, -1, 1)
        weights = belongs.to(hidden.dtype)  # [lines, most, length]
        means = (weights @ hidden) / weights.sum(dim=2, keepdim=True).clamp_min(1)
        return means.flatten(0, 1)[self.index]


def pack(rows: Sequence[Sequence[Sequence[int]]], inserted: int = 0, channels: int = 768) -> PackedBatch:
    """Pack each run's captions (equally many per run) into equally many lines of one length, run after run.

    Args:
        rows: for each run the token ids of its captions.
        inserted: how many prompt tokens to leave room for after the first token of every caption.
        channels: the tower's width, which decides how long lines may be: attention costs their length, all else width.
    """
    captions = [np.asarray(caption) for run in rows for caption in run]
    lengths = np.fromiter(map(len, captions), dtype=np.int64, count=len(captions)) + inserted
    line, start, length, lines = _arrange(lengths.reshape(len(rows), len(rows[0])), channels)
    line, start = line.reshape(-1), start.reshape(-1)

    # where every token goes in the [lines, length] table, caption after caption
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    target = np.repeat(line * length + start, lengths) + within
    table = np.zeros((4, len(rows) * lines * length), dtype=np.int64)
    table[2:] = -1  # which token fills a line does not matter: no caption sees it
    segment, most = _numbered(line, start, len(rows) * lines)
    is_slot = (within >= 1) & (within <= inserted)
    table[0, target[~is_slot]] = np.concatenate(captions)
    table[1, target] = within
    table[2, target] = np.repeat(segment, lengths)
    table[3, target[is_slot]] = within[is_slot] - 1
    ids, positions, segments, slot = torch.from_numpy(table).view(4, -1, length)
    index = torch.from_numpy(line * most + segment)
    return PackedBatch(ids, positions, segments, index, most, slot if inserted else None)


def _arrange(lengths: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Arrange captions of these lengths [runs, captions] in lines, the cheapest of a few numbers of lines.

    Returns each caption's line (counted over all runs) and first token in it, both [runs, captions], the length of a
    line, and the lines of a run. Long lines cost attention, short ones filler.
    """
    longest, total = int(lengths.max()), int(lengths.sum(axis=1).max())
    promise = {}
    for least in (*LENGTHS, longest, total):
        lines = -(-total // max(least, longest))
        promise[lines] = _cost(lines, max(longest, -(-total // lines)), channels)
    tried = [(_spread(lengths, lines), lines) for lines in sorted(promise, key=promise.__getitem__)[:TRIED]]
    (line, start, length), lines = min(tried, key=lambda trial: _cost(trial[1], trial[0][2], channels))
    return line, start, length, lines


def _cost(lines: int, length: int, channels: int) -> float:
    return lines * length * (1 + ATTENTION * length / channels)


def _spread(lengths: np.ndarray, lines: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Longest first, put each caption into the emptiest of its run's lines: its line, first token; a line's length."""
    line, start = np.empty_like(lengths), np.empty_like(lengths)
    orders = np.argsort(-lengths, axis=1, kind="stable").tolist()
    fullest = 0
    for run, (of_run, order) in enumerate(zip(lengths.tolist(), orders, strict=True)):
        loads = [(0, run * lines + number) for number in range(lines)]  # a heap: the emptiest comes first
        run_line, run_start = [0] * len(of_run), [0] * len(of_run)
        for caption in order:
            load, emptiest = loads[0]
            run_line[caption], run_start[caption] = emptiest, load
            heapreplace(loads, (load + of_run[caption], emptiest))
        line[run], start[run] = run_line, run_start
        fullest = max(fullest, max(loads)[0])
    return line, start, -(-fullest // MULTIPLE) * MULTIPLE


def _numbered(line: np.ndarray, start: np.ndarray, lines: int) -> tuple[np.ndarray, int]:
    """Each caption's number in its line [captions], and the captions of the fullest line."""
    order = np.lexsort((start, line))
    ordered = line[order]
    first = np.searchsorted(ordered, np.arange(lines))
    numbers = np.empty_like(line)
    numbers[order] = np.arange(len(line)) - first[ordered]
    return numbers, int(numbers.max()) + 1
