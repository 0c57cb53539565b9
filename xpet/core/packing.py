"""Packed captions: several in a line of tokens, kept apart by a block-diagonal attention mask (exact, no padding each).

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
"""Lengths of a line that are considered; what is chosen also depends on the longest caption."""
MULTIPLE = 8
"""Lines are rounded up to whole multiples: few shapes, aligned rows."""


@dataclass(frozen=True)
class Packed:
    """Captions in lines: `ids`, `positions`, `segment` and `slot` are int64 [lines, length].

    `positions` count from 0 in each caption, `segment` is the number of a token's caption in its line (-1: filler),
    `place` [captions] is where a caption is to be found among [lines * most], `most` the captions of the fullest line.
    `slot`: which of the inserted prompt tokens stands there, -1 for tokens of the text; None where none are inserted.
    """

    ids: Tensor
    positions: Tensor
    segment: Tensor
    place: Tensor
    most: int
    slot: Tensor | None = None

    def sent(self, send: Callable[[Tensor], Tensor]) -> Packed:
        """The same where `send` takes tensors to."""
        slot = None if self.slot is None else send(self.slot)
        ids, positions, segment, place = map(send, (self.ids, self.positions, self.segment, self.place))
        return Packed(ids, positions, segment, place, self.most, slot)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""
        found = (self.ids, self.positions, self.segment, self.place)
        return found if self.slot is None else (*found, self.slot)

    def captions(self, runs: int) -> Tensor:
        """The number of every token's caption among those of its run, [lines, length]; any number for filler."""
        count = len(self.place)
        numbers = self.place.new_zeros(len(self.ids) * self.most)
        numbers[self.place] = torch.arange(count, device=self.place.device) % (count // runs)
        return numbers.view(-1, self.most).gather(1, self.segment.clamp_min(0))

    def mask(self, dtype: torch.dtype) -> Tensor:
        """Additive attention mask [lines, 1, length, length]: a token sees those of its own caption alone."""
        other = self.segment.unsqueeze(2) != self.segment.unsqueeze(1)
        return torch.zeros_like(other, dtype=dtype).masked_fill_(other, torch.finfo(dtype).min).unsqueeze(1)

    def pool(self, hidden: Tensor) -> Tensor:
        """Mean of each caption's token states: [lines, length, hidden] -> [captions, hidden]."""
        own = self.segment.unsqueeze(1) == torch.arange(self.most, device=hidden.device).view(1, -1, 1)
        weights = own.to(hidden.dtype)  # [lines, most, length]
        means = (weights @ hidden) / weights.sum(dim=2, keepdim=True).clamp_min(1)
        return means.flatten(0, 1)[self.place]


def pack(rows: Sequence[Sequence[Sequence[int]]], inserted: int = 0, channels: int = 768) -> Packed:
    """Pack each run's captions (equally many per run) into equally many lines of one length, run after run.

    `inserted` places are left after the first token of every caption. `channels`, the tower's width, decides how much
    longer lines may be: attention costs their length, everything else the width.
    """
    count = len(rows[0])
    flat = [np.asarray(row) for mine in rows for row in mine]
    lengths = np.fromiter(map(len, flat), dtype=np.int64, count=len(flat)) + inserted
    line, start, length, lines = _arrange(lengths.reshape(len(rows), count), channels)
    line, start = line.reshape(-1), start.reshape(-1)

    # every token's place in the [lines, length] table, caption after caption
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    target = np.repeat(line * length + start, lengths) + within
    table = np.zeros((4, len(rows) * lines * length), dtype=np.int64)
    table[2:] = -1  # which token fills a line does not matter: no caption sees it
    segment, most = _numbered(line, start, len(rows) * lines)
    is_slot = (within >= 1) & (within <= inserted)
    table[0, target[~is_slot]] = np.concatenate(flat)
    table[1, target] = within
    table[2, target] = np.repeat(segment, lengths)
    table[3, target[is_slot]] = within[is_slot] - 1
    ids, positions, segments, slot = torch.from_numpy(table).view(4, -1, length)
    place = torch.from_numpy(line * most + segment)
    return Packed(ids, positions, segments, place, most, slot if inserted else None)


def _arrange(lengths: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Each caption's line (counted over all runs) and first token in it [runs, captions]; a line's length; lines a run.

    The cheapest of the numbers of lines that promise most: long lines cost attention, short ones filler.
    """
    longest, total = int(lengths.max()), int(lengths.sum(axis=1).max())
    promise = {}
    for wanted in (*LENGTHS, longest, total):
        lines = -(-total // max(wanted, longest))
        promise[lines] = _cost(lines, max(longest, -(-total // lines)), channels)
    tried = [(_spread(lengths, lines), lines) for lines in sorted(promise, key=promise.__getitem__)[:TRIED]]
    (line, start, length), lines = min(tried, key=lambda found: _cost(found[1], found[0][2], channels))
    return line, start, length, lines


def _cost(lines: int, length: int, channels: int) -> float:
    return lines * length * (1 + ATTENTION * length / channels)


def _spread(lengths: np.ndarray, lines: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Longest first, each into the emptiest of its run's lines: line, first token, and a line's length."""
    line, start = np.empty_like(lengths), np.empty_like(lengths)
    orders = np.argsort(-lengths, axis=1, kind="stable").tolist()
    fullest = 0
    for run, (mine, order) in enumerate(zip(lengths.tolist(), orders, strict=True)):
        loads = [(0, run * lines + number) for number in range(lines)]  # a heap: the emptiest comes first
        own_line, own_start = [0] * len(mine), [0] * len(mine)
        for caption in order:
            load, emptiest = loads[0]
            own_line[caption], own_start[caption] = emptiest, load
            heapreplace(loads, (load + mine[caption], emptiest))
        line[run], start[run] = own_line, own_start
        fullest = max(fullest, max(loads)[0])
    return line, start, -(-fullest // MULTIPLE) * MULTIPLE


TRIED = 3
"""Numbers of lines that are tried out."""
ATTENTION = 0.13
"""Cost of attending to as many tokens as there are channels, in terms of everything else (measured on a CPU)."""


def _numbered(line: np.ndarray, start: np.ndarray, lines: int) -> tuple[np.ndarray, int]:
    """Each caption's number in its line, and the captions of the fullest line."""
    order = np.lexsort((start, line))
    ordered = line[order]
    first = np.searchsorted(ordered, np.arange(lines))
    numbers = np.empty_like(line)
    numbers[order] = np.arange(len(line)) - first[ordered]
    return numbers, int(numbers.max()) + 1
