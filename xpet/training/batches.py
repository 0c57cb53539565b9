"""Batch orders: each run's own seeded permutation of its rows per epoch."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch


def batches_per_epoch(rows: int, batch_size: int) -> int:
    """Batches of one epoch; a last batch of a single row is left out, for a contrastive loss needs two."""
    full, rest = divmod(rows, batch_size)
    return full + (rest > 1)


class BatchRows(Iterator[list[int]]):
    """Rows of one batch after another, of which those that were read too early can be put back."""

    def __init__(self, batches: Iterator[list[int]]) -> None:
        self._batches = batches
        self._back: deque[list[int]] = deque()

    def __next__(self) -> list[int]:
        return self._back.popleft() if self._back else next(self._batches)

    def put_back(self, rows: list[int]) -> None:
        """Let these come next; of several batches the last is put back first."""
        self._back.appendleft(rows)


def batch_order(rows: int, batch_size: int, steps: int, seed: int, only_full: bool = False) -> Iterator[list[int]]:
    """Yield `steps` batches of row indices: a new permutation per epoch from a generator seeded with `seed`.

    With `only_full` the rest of an epoch that fills no batch is left out.
    """
    generator = torch.Generator().manual_seed(seed)
    per_epoch = max(1, rows // batch_size) if only_full else batches_per_epoch(rows, batch_size)
    left = steps
    while left > 0:
        permutation = torch.randperm(rows, generator=generator)
        for b in range(min(left, per_epoch)):
            yield permutation[b * batch_size : (b + 1) * batch_size].tolist()
        left -= per_epoch
