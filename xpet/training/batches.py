"""Batch orders: each run's own seeded permutation per epoch."""

from __future__ import annotations

import torch


def batches_per_epoch(rows: int, batch_size: int) -> int:
    """Batches of one epoch; a last batch of a single row is left out, a contrastive loss could not use it."""
    full, rest = divmod(rows, batch_size)
    return full + (rest > 1)


def batch_order(rows: int, batch_size: int, steps: int, seed: int) -> list[list[int]]:
    """`steps` batches of row indices: a new permutation per epoch from a generator seeded with `seed`."""
    generator = torch.Generator().manual_seed(seed)
    order: list[list[int]] = []
    per_epoch = batches_per_epoch(rows, batch_size)
    while len(order) < steps:
        permutation = torch.randperm(rows, generator=generator).tolist()
        order += [permutation[b * batch_size : (b + 1) * batch_size] for b in range(per_epoch)]
    return order[:steps]
