"""Ranks of the right candidates in a search: exact with ties, in memory linear in the number of features.

A query's result is three counts about its best-scoring right candidate: how many candidates score above it, how many
share its score, and how many of these are right. Every figure follows from them by expectation over the orders of
the tied ones (ranks of the first of `good` draws without replacement: negative hypergeometric), so that no figure
depends on the order in which a sort happens to return equal scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK_CELLS = 16_000_000
"""Cells of the similarity matrix held at a time on the CPU."""
GPU_CELLS = 256_000_000
"""The same on a GPU, at most: so many that no block waits for the host to launch the next."""
GPU_SHARE, CELL_BYTES = 0.25, 8
"""Share of a GPU's free memory that a block may take; bytes of a cell: its score, in float32 or twice, and masks."""
COUNT_CELLS = 262_144
"""Cells compared at a time on the CPU: few enough to stay in a core's cache."""


@dataclass(frozen=True)
class Ranks:
    """Counts per query [queries], int64 on the CPU, about its best right candidate.

    `greater` score above it, `tied` share its score (itself included), `good` of these are right (at least 1).
    """

    greater: Tensor
    tied: Tensor
    good: Tensor

    def hits(self, k: int) -> Tensor:
        """Probability [queries] that a right candidate is among the first k: 1 - C(tied-good, s) / C(tied, s).

        `s` is the number of the k places that the tied ones take.
        """
        places = (k - self.greater).clamp(min=0).minimum(self.tied)
        wrong, tied = (self.tied - self.good).double(), self.tied.double()
        missed = torch.ones_like(tied)
        for i in range(int(places.max()) if len(places) else 0):
            missed = torch.where(places > i, missed * (wrong - i).clamp(min=0) / (tied - i).clamp(min=1), missed)
        return 1 - missed

    def expected(self) -> Tensor:
        """Expected rank [queries] of the first right candidate, from 1: greater + (tied + 1) / (good + 1)."""
        return self.greater + (self.tied + 1).double() / (self.good + 1)

    def reciprocal(self) -> Tensor:
        """Expected 1 / rank [queries] of the first right candidate."""
        value = 1 / (self.greater + 1).double()
        undecided = (self.tied > self.good).nonzero().flatten()
        if len(undecided):
            ties = torch.stack([self.greater, self.tied, self.good], dim=1)[undecided]
            distinct, index = torch.unique(ties, dim=0, return_inverse=True)  # collapsed features: all the same
            value[undecided] = torch.tensor([_mean_reciprocal(*row) for row in distinct.tolist()]).double()[index]
        return value


def _mean_reciprocal(greater: int, tied: int, good: int) -> Tensor:
    """E[1 / (greater + J)], J the position, from 1, of the first of `good` right ones in a random order of `tied`."""
    position = torch.arange(1, tied - good + 2, dtype=torch.float64)
    later = (tied - good - position + 1) / (tied - position + 1)  # P(J > position | J >= position)
    reached = torch.cat([torch.ones(1, dtype=torch.float64), later.cumprod(0)[:-1]])
    return (reached * (1 - later) / (greater + position)).sum()


def rank(query: Tensor, candidates: Tensor, query_index: Tensor, right: Tensor) -> Ranks:
    """Ranks of queries [q, d] among candidates [c, d] by dot product.

    Pair i says that candidate `right[i]` is right for query `query_index[i]`, both int64 [pairs]. Every query needs a
    right candidate, and pairs must differ. Distinct candidates are scored once and weighted, so
    that duplicates tie exactly. Runs on the device of the features, a block of queries at a time (`block_cells`), and
    waits for the device only when the last was counted.
    """
    distinct, index, extra = _distinct(candidates)
    order = torch.argsort(query_index, stable=True)
    right, query_index = index[right[order]], query_index[order]
    bounds = torch.searchsorted(query_index, torch.arange(len(query) + 1, device=query.device)).tolist()
    size = max(1, min(len(query), block_cells(query) // max(1, len(distinct))))
    buffer = query.new_empty(size, len(distinct))
    counts = torch.empty(3, len(query), dtype=torch.int64, device=query.device)
    for start in range(0, len(query), size):
        stop = min(start + size, len(query))
        scores = torch.matmul(query[start:stop], distinct.T, out=buffer[: stop - start])  # [chunk, distinct]
        pairs = slice(bounds[start], bounds[stop])
        row, column = query_index[pairs] - start, right[pairs]
        right_scores = scores[row, column]
        best = scores.new_full((stop - start,), -torch.inf).scatter_reduce(0, row, right_scores, "amax")
        good = torch.zeros(stop - start, dtype=torch.int64, device=query.device)
        good.index_add_(0, row, (right_scores == best[row]).long())
        counts[:, start:stop] = torch.stack([*count_around(scores, best, extra), good])
    return Ranks(*counts.cpu())


def block_cells(features: Tensor) -> int:
    """Cells of the similarity matrix to hold at a time, on the device of features of any shape."""
    if features.device.type != "cuda":
        return CHUNK_CELLS
    device = features.device
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = torch.cuda.mem_get_info(device)[0] + cached
    return max(1, min(GPU_CELLS, int(GPU_SHARE * free) // max(CELL_BYTES, 2 * features.element_size())))


def _distinct(candidates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct rows of candidates [c, d], and each candidate's index among them [c].

    Rows that stand for several candidates come first; the third tensor says for how many more than one each.
    """
    _, index, count = torch.unique(candidates[:, 0], return_inverse=True, return_counts=True)
    suspect = count[index] > 1  # comparing whole rows is dear, and only rows that begin alike can be equal
    rows, index, weight = torch.unique(candidates[suspect], dim=0, return_inverse=True, return_counts=True)
    if len(rows) == len(index):
        return candidates, torch.arange(len(candidates), device=candidates.device), weight[:0]
    order = torch.argsort(weight == 1, stable=True)
    reordered = torch.empty_like(order)
    reordered[order] = torch.arange(len(order), device=order.device)
    index_of = torch.empty(len(candidates), dtype=torch.int64, device=candidates.device)
    index_of[suspect] = reordered[index]
    index_of[~suspect] = torch.arange(len(rows), len(rows) + len(candidates) - len(index), device=index_of.device)
    return torch.cat([rows[order], candidates[~suspect]]), index_of, weight[weight > 1] - 1


def count_around(scores: Tensor, best: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
    """Per row of scores [q, c], candidates above `best` [q] and equal to it: int64, on the device of the scores.

    The first `len(extra)` columns stand for `extra` more candidates each.
    """
    count = _count_on_cpu if scores.device.type == "cpu" else _count_on_gpu
    return count(scores, best, extra)


def _count_on_gpu(scores: Tensor, best: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
    """`count_around` of scores [q, c], best [q] and extra [e] by torch, on any device and without waiting for it."""
    counts = []
    for compare in (torch.gt, torch.eq):
        mask = compare(scores, best.unsqueeze(1))
        repeated = (mask[:, : len(extra)] * extra).sum(dim=1)
        counts.append(mask.sum(dim=1) + repeated)
    return counts[0], counts[1]


def _count_on_cpu(scores: Tensor, best: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
    """`count_around` in blocks that fit the cache, by numpy, whose counting of booleans is several times torch's."""
    import numpy as np

    table, level, more = scores.numpy(), best.numpy()[:, None], extra.numpy()
    counts = np.zeros((2, len(table)), dtype=np.int64)
    size = max(1, COUNT_CELLS // max(1, table.shape[1]))
    for start in range(0, len(table), size):
        block = slice(start, start + size)
        for i, compare in enumerate((np.greater, np.equal)):
            mask = compare(table[block], level[block])
            counts[i, block] = np.count_nonzero(mask, axis=1)
            if len(more):
                counts[i, block] += mask[:, : len(more)] @ more
    greater, tied = torch.from_numpy(counts)
    return greater, tied
