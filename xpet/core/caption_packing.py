"""Packs several captions into one line of tokens, kept apart by a block-diagonal attention mask.

Captions have very different lengths: when all are padded to the longest of a batch, a third to a half of the computed
tokens are filler. A packed caption keeps its own positions, attends to itself alone and is pooled by itself, so its
features are those of the padded caption, and hardly any filler is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from xpet.core.line_shapes import Arrangement, LineShapes, arrange, rounded_longest


@dataclass(frozen=True)
class Sequences:
    """Sequences of tokens that lie one after another, and of which each sees itself alone.

    Attributes:
        bounds: the first token of each, counted over all lines, and the number of all tokens, int32 [sequences + 1].
            None is empty.
        longest: no sequence has more tokens. It depends on the batch's shape alone, or nearly so.
        causal: whether a token sees itself and those before it only.
    """

    bounds: Tensor
    longest: int
    causal: bool = False


@dataclass(frozen=True)
class PackedBatch:
    """Captions in lines of tokens; all tensors are int64 but for the bounds of the sequences.

    Attributes:
        ids: token ids [lines, length].
        positions: every token's position in its caption, from 0, [lines, length].
        segment: the number of every token's caption in its line, [lines, length]; -1 for filler.
        index: every caption's line * most + its number in the line, [captions].
        most: captions of the fullest line.
        prompt_index: the number of the prompt token to insert here, [lines, length]; -1 for tokens of the text and
            filler. None where no prompt is inserted.
        numbers: every caption's number among its run's captions, [captions]; None where they are in that order.
        bounds: those of the captions and of pieces of the filler, which together are all tokens, line after line, int32
            [sequences + 1] (see `Sequences`); None where they are not to be attended to as sequences.
        longest: what no sequence is longer than.
    """

    ids: Tensor
    positions: Tensor
    segment: Tensor
    index: Tensor
    most: int
    prompt_index: Tensor | None = None
    numbers: Tensor | None = None
    bounds: Tensor | None = None
    longest: int = 0

    def to(self, send: Callable[[Tensor], Tensor]) -> PackedBatch:
        """The same batch with every tensor replaced by `send(tensor)`, its copy of that shape; in fields' order."""
        return replace(self, **{name: send(tensor) for name, tensor in self._by_name().items()})  # type: ignore[arg-type]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of the batch, in the shapes of its attributes, [lines, length] most of them."""
        return tuple(self._by_name().values())

    def _by_name(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    @property
    def key(self) -> tuple[int, int]:
        """What a forward depends on besides the tensors: equal for batches of one shape, or nearly always so."""
        return self.most, self.longest

    def sequences(self, causal: bool = False) -> Sequences | None:
        """The sequences that all tokens are, where they are to be attended to as such."""
        return None if self.bounds is None else Sequences(self.bounds, self.longest, causal)

    def captions(self, runs: int) -> Tensor:
        """Every token's caption, as its number among its run's captions, [lines, length]; for filler any number."""
        count, own = len(self.index), self.numbers
        if own is None:
            own = torch.arange(count, device=self.index.device) % (count // runs)
        numbers = self.index.new_zeros(len(self.ids) * self.most)
        numbers[self.index] = own
        return numbers.view(-1, self.most).gather(1, self.segment.clamp_min(0))

    def mask(self, dtype: torch.dtype, causal: bool = False) -> Tensor:
        """Additive attention mask [lines, 1, length, length]: a token sees those of its own caption alone.

        Where `causal`, it does not see those after it either.
        """
        other = self.segment.unsqueeze(2) != self.segment.unsqueeze(1)
        if causal:
            other |= self.positions.unsqueeze(2) < self.positions.unsqueeze(1)
        return torch.zeros_like(other, dtype=dtype).masked_fill_(other, torch.finfo(dtype).min).unsqueeze(1)

    def pool(self, hidden: Tensor) -> Tensor:
        """Mean of each caption's token states: [lines, length, hidden] -> [captions, hidden]."""
        belongs = self.segment.unsqueeze(1) == torch.arange(self.most, device=hidden.device).view(1, -1, 1)
        weights = belongs.to(hidden.dtype)  # [lines, most, length]
        means = (weights @ hidden) / weights.sum(dim=2, keepdim=True).clamp_min(1)
        return means.flatten(0, 1)[self.index]


def pack(
    rows: Sequence[Sequence[Sequence[int]]], inserted: int = 0, channels: int = 768, shapes: LineShapes | None = None
) -> PackedBatch:
    """Pack each run's captions (equally many per run) into equally many lines of one length, run after run.

    Args:
        rows: for each run the token ids of its captions.
        inserted: how many prompt tokens to leave room for after the first token of every caption.
        channels: the tower's width, which decides how long lines may be: attention costs their length, all else width.
        shapes: how lines are to be shaped; None: as cheap as can be.
    """
    captions = [np.asarray(caption) for run in rows for caption in run]
    lengths = np.fromiter(map(len, captions), dtype=np.int64, count=len(captions)) + inserted
    found = arrange(lengths.reshape(len(rows), len(rows[0])), channels, shapes or LineShapes())
    line, start, length, lines = found.line.reshape(-1), found.start.reshape(-1), found.length, len(rows) * found.lines

    # where every token goes in the [lines, length] table, caption after caption
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    target = np.repeat(line * length + start, lengths) + within
    table = np.zeros((4, lines * length), dtype=np.int64)
    table[2:] = -1  # which token fills a line does not matter: no caption sees it
    segment = _numbered(line, start, lines)
    is_prompt = (within >= 1) & (within <= inserted)
    table[0, target[~is_prompt]] = np.concatenate(captions)
    table[1, target] = within
    table[2, target] = np.repeat(segment, lengths)
    table[3, target[is_prompt]] = within[is_prompt] - 1
    ids, positions, segments, prompt_index = torch.from_numpy(table).view(4, -1, length)
    index = torch.from_numpy(line * found.most + segment)
    batch = PackedBatch(ids, positions, segments, index, found.most, prompt_index if inserted else None)
    if not found.fillers:
        return batch
    bounds = _bounds(found, lengths)
    return replace(batch, bounds=torch.from_numpy(bounds), longest=rounded_longest(int(np.diff(bounds).max())))


def _numbered(line: np.ndarray, start: np.ndarray, lines: int) -> np.ndarray:
    """Each caption's number in its line [captions], given its line and its first token in it."""
    order = np.lexsort((start, line))
    ordered = line[order]
    first = np.searchsorted(ordered, np.arange(lines))
    numbers = np.empty_like(line)
    numbers[order] = np.arange(len(line)) - first[ordered]
    return numbers


def _bounds(found: Arrangement, lengths: np.ndarray) -> np.ndarray:
    """Bounds of the captions, of these lengths [captions], and of every line's filler in equal pieces, int32."""
    line, lines = found.line.reshape(-1), len(found.line) * found.lines
    used = np.bincount(line, weights=lengths, minlength=lines).astype(np.int64)[:, np.newaxis]  # [lines, 1]
    pieces = used + (found.length - used) * np.arange(found.fillers) // found.fillers  # [lines, fillers]
    pieces += found.length * np.arange(lines)[:, np.newaxis]
    begins = np.sort(np.concatenate([line * found.length + found.start.reshape(-1), pieces.reshape(-1)]))
    return np.append(begins, lines * found.length).astype(np.int32)
