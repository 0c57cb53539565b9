"""How the captions of a stack go through its tower: packed into common lines, or padded to the longest of a slice."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from xpet.core.packing import pack
from xpet.training.device import Engine
from xpet.training.stacklike import Pad, StackLike, Tokens

SMALLEST_SLICE = 64
"""Rows over all runs a slice of similar length should have; smaller ones cost more than padding."""


@dataclass(frozen=True)
class Laid:
    """Captions on the device: `encode()` makes features [runs * rows, d], run-major, of the stack's present parameters.

    It reads `tensors` and depends on nothing else that differs between captions but `key`.
    """

    tensors: tuple[Tensor, ...]
    encode: Callable[[], Tensor]
    key: Hashable = None


@dataclass(frozen=True)
class Through:
    """What captions go through: the stack, on an engine; `pad` for layouts that need it, `width` of the tower."""

    stack: StackLike
    engine: Engine
    pad: Pad
    width: int


Layout = Callable[[Sequence[Tokens], Through], Laid]
"""Lays out each run's equally many token rows."""


def packed(rows: Sequence[Tokens], through: Through) -> Laid:
    """Several captions in a line (see `xpet.core.packing`): hardly any filler, one forward."""
    batch = pack(rows, through.stack.inserted, through.width).sent(through.engine.sent)
    return Laid(batch.tensors, lambda: through.stack.packed(batch), batch.most)


def padded(rows: Sequence[Tokens], through: Through) -> Laid:
    """Every run's rows sorted by length and read in a few slices, so that one long caption does not pad all."""
    count, send = len(rows[0]), through.engine.sent
    slices = max(1, min(through.engine.slices, count, len(rows) * count // SMALLEST_SLICE))
    order = [sorted(range(count), key=lambda i, mine=mine: len(mine[i])) for mine in rows]  # type: ignore[misc]
    bounds = [round(count * k / slices) for k in range(slices + 1)]
    parts = []
    for start, stop in pairwise(bounds):
        ids, mask = through.pad([mine[i] for mine, o in zip(rows, order, strict=True) for i in o[start:stop]])
        captions = torch.tensor([i for o in order for i in o[start:stop]])
        parts.append((send(ids), send(mask), send(captions)))
    back = send(torch.tensor(order)).argsort(dim=1).unsqueeze(-1)

    def encode() -> Tensor:
        found = [through.stack(*part) for part in parts]
        features = torch.cat([part.view(len(rows), -1, part.shape[-1]) for part in found], dim=1)
        return torch.gather(features, 1, back.expand_as(features)).flatten(0, 1)

    return Laid((*(tensor for part in parts for tensor in part), back), encode)


LAYOUTS: dict[str, Layout] = {"packed": packed, "padded": padded}
"""By the name in `FitPlan.layout`."""
