"""Packs several captions into one line of tokens, kept apart by a block-diagonal attention mask.

Captions have very different lengths: when all are padded to the longest of a batch, a third to a half of the computed
tokens are filler. A packed caption keeps its own positions, attends to itself alone and is pooled by itself, so its
features are those of the padded caption, and hardly any filler is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heapreplace

import numpy as np
import torch
from torch import Tensor

LENGTHS = (64, 96, 128, 192, 256, 384, 512, 768)
"""Lengths of a line, in tokens, from which the numbers of lines to try are derived."""
MULTIPLE = 8
"""The length of a line is a multiple of this many tokens: few shapes, aligned rows."""
TRIED = 3
"""How many numbers of lines are tried out, those of the least estimated cost."""
ATTENTION = 0.13
"""Cost of attending to as many tokens as there are channels, relative to everything else (measured on a CPU)."""


@dataclass(frozen=True)
class PackedBatch:
    """Captions in lines of tokens; all tensors are int64.

    Attributes:
        ids: token ids [lines, length].
        positions: every token's position in its caption, from 0, [lines, length].
        segment: the number of every token's caption in its line, [lines, length]; -1 for filler.
        index: every caption's line * most + its number in the line, [captions].
        most: captions of the fullest line.
        prompt_index: the number of the prompt token to insert here, [lines, length]; -1 for tokens of the text and
            filler. None where no prompt is inserted.
        numbers: every caption's number among its run's captions, [captions]; None where they are in that order.
    """

    ids: Tensor
    positions: Tensor
    segment: Tensor
    index: Tensor
    most: int
    prompt_index: Tensor | None = None
    numbers: Tensor | None = None

    def to(self, send: Callable[[Tensor], Tensor]) -> PackedBatch:
        """The same batch with every tensor replaced by `send(tensor)`, its copy of that shape on a device."""
        prompt_index, numbers = (t if t is None else send(t) for t in (self.prompt_index, self.numbers))
        ids, positions, segment, index = map(send, (self.ids, self.positions, self.segment, self.index))
        return PackedBatch(ids, positions, segment, index, self.most, prompt_index, numbers)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of the batch, in the shapes of its attributes, [lines, length] most of them."""
        tensors = (self.ids, self.positions, self.segment, self.index, self.prompt_index, self.numbers)
        return tuple(tensor for tensor in tensors if tensor is not None)

    def captions(self, runs: int) -> Tensor:
        """Every token's caption, as its number among its run's captions, [lines, length]; for filler any number."""
        count, own = len(self.index), self.numbers
        if own is None:
            own = torch.arange(count, device=self.index.device) % (count // runs)
        numbers = self.index.new_zeros(len(self.ids) * self.most)
        numbers[self.index] = own
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
    is_prompt = (within >= 1) & (within <= inserted)
    table[0, target[~is_prompt]] = np.concatenate(captions)
    table[1, target] = within
    table[2, target] = np.repeat(segment, lengths)
    table[3, target[is_prompt]] = within[is_prompt] - 1
    ids, positions, segments, prompt_index = torch.from_numpy(table).view(4, -1, length)
    index = torch.from_numpy(line * most + segment)
    return PackedBatch(ids, positions, segments, index, most, prompt_index if inserted else None)


def _arrange(lengths: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Arrange captions of these lengths [runs, captions] in lines, the cheapest of a few numbers of lines.

    Returns each caption's line (counted over all runs) and first token in it, both [runs, captions], the length of a
    line, and the lines of a run. Long lines cost attention, short ones filler.
    """
    longest, total = int(lengths.max()), int(lengths.sum(axis=1).max())
    estimates = {}  # number of lines -> its cost if no line had filler
    for least in (*LENGTHS, longest, total):
        lines = -(-total // max(least, longest))
        estimates[lines] = _cost(lines, max(longest, -(-total // lines)), channels)
    cheapest = sorted(estimates, key=estimates.__getitem__)[:TRIED]
    trials = [(_distributed(lengths, lines), lines) for lines in cheapest]
    (line, start, length), lines = min(trials, key=lambda trial: _cost(trial[1], trial[0][2], channels))
    return line, start, length, lines


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
    return line, start, -(-fullest // MULTIPLE) * MULTIPLE


def _numbered(line: np.ndarray, start: np.ndarray, lines: int) -> tuple[np.ndarray, int]:
    """Each caption's number in its line [captions], and the captions of the fullest line."""
    order = np.lexsort((start, line))
    ordered = line[order]
    first = np.searchsorted(ordered, np.arange(lines))
    numbers = np.empty_like(line)
    numbers[order] = np.arange(len(line)) - first[ordered]
    return numbers, int(numbers.max()) + 1
