"""How the captions of a stack go through its tower: packed into common lines, or padded to the longest of a slice."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from xpet.core.caption_packing import pack
from xpet.core.config import FitPlan
from xpet.core.line_shapes import LineShapes
from xpet.training.device import Engine
from xpet.training.graphs import are_wanted
from xpet.training.stacklike import Collate, StackLike, Tokens

SMALLEST_SLICE = 64
"""Rows, over all runs, that a slice should have at least: smaller slices cost more than the padding they save."""


@dataclass(frozen=True)
class CaptionBatch:
    """Captions of several runs.

    Attributes:
        tensors: everything a forward reads besides the stack's present parameters, of any shapes.
        forward: makes features [runs * captions, d], run after run, of these tensors.
        key: what else a forward depends on; batches with equal keys and shapes can be replayed (see `graphs`).
    """

    tensors: tuple[Tensor, ...]
    forward: Callable[[Sequence[Tensor]], Tensor]
    key: Hashable = None

    def encode(self) -> Tensor:
        """Features [runs * captions, d], run after run."""
        return self.forward(self.tensors)

    def to(self, send: Callable[[Tensor], Tensor]) -> CaptionBatch:
        """The same batch with every tensor replaced by `send(tensor)`, its copy of that shape on a device."""
        return replace(self, tensors=tuple(map(send, self.tensors)))


@dataclass(frozen=True)
class LayoutContext:
    """What captions are laid out for: a stack on an engine.

    `width` is the hidden size of its tower, `shapes` is how lines of packed captions are to be shaped.
    """

    stack: StackLike
    engine: Engine
    collate: Collate
    width: int
    shapes: LineShapes = LineShapes()

    @classmethod
    def of(
        cls, stack: StackLike, engine: Engine, collate: Collate, fit: FitPlan, sample: Tokens, processes: int = 1
    ) -> LayoutContext:
        """The context of a plan's training by so many processes, on captions such as the `sample`.

        Lines come in few shapes where steps are recorded. Captions may be attended to as sequences where that takes
        less time for such as these, the device has a kernel for it, and attention is not dropped out.
        """
        width = int(stack.tower.transformer.config.hidden_size)  # type: ignore[union-attr, arg-type]
        shapes = LineShapes(None, are_wanted(fit, engine, processes))
        would = fit.dropout != "model" and pack([sample], stack.inserted, width, shapes).bounds is not None
        if not (would and stack.takes_sequences(engine.device, engine.dtype)):  # trying kernels out takes a second
            shapes = replace(shapes, by_sequence=False)
        return cls(stack, engine, collate, width, shapes)


Numbers = Sequence[Sequence[int]]
"""For each run the numbers of captions among all that it reads in a step."""


class Layout(Protocol):
    """Lays out each run's captions, equally many per run, on the CPU.

    `numbers` are given where they are not all captions of a step, in their order: hashed dropout depends on them.
    """

    def __call__(
        self, rows: Sequence[Tokens], context: LayoutContext, numbers: Numbers | None = None, /
    ) -> CaptionBatch:
        """The captions, on the CPU."""
        ...


def packed(rows: Sequence[Tokens], context: LayoutContext, numbers: Numbers | None = None) -> CaptionBatch:
    """Put several captions into one line (see `xpet.core.caption_packing`): hardly any filler, one forward."""
    batch = pack(rows, context.stack.inserted, context.width, context.shapes)
    if numbers is not None:
        batch = replace(batch, numbers=torch.tensor(numbers).flatten())

    def encode(tensors: Sequence[Tensor]) -> Tensor:
        given = iter(tensors)
        return context.stack.packed(batch.to(lambda _: next(given)))

    return CaptionBatch(batch.tensors, encode, batch.key)


def padded(rows: Sequence[Tokens], context: LayoutContext, numbers: Numbers | None = None) -> CaptionBatch:
    """Sort every run's captions by length and pad them in a few slices, so that one long caption does not pad all."""
    count = len(rows[0])
    slices = max(1, min(context.engine.slices, count, len(rows) * count // SMALLEST_SLICE))
    order = [sorted(range(count), key=lambda i, run=run: len(run[i])) for run in rows]  # type: ignore[misc]
    bounds = [round(count * k / slices) for k in range(slices + 1)]
    numbered = [range(count)] * len(rows) if numbers is None else numbers
    tensors: list[Tensor] = []
    for start, stop in pairwise(bounds):
        slice_ = [by_length[start:stop] for by_length in order]  # each run's captions in this slice
        ids, mask = context.collate([run[i] for run, chosen in zip(rows, slice_, strict=True) for i in chosen])
        captions = torch.tensor([[own[i] for i in chosen] for own, chosen in zip(numbered, slice_, strict=True)])
        tensors += [ids, mask, captions.flatten()]
    tensors.append(torch.tensor(order).argsort(dim=1).unsqueeze(-1))  # [runs, captions, 1]

    def encode(given: Sequence[Tensor]) -> Tensor:
        *parts, unsort = given
        encoded = [context.stack(*parts[i : i + 3]) for i in range(0, len(parts), 3)]  # [runs * captions of a slice, d]
        features = torch.cat([part.view(len(rows), -1, part.shape[-1]) for part in encoded], dim=1)
        return torch.gather(features, 1, unsort.expand_as(features)).flatten(0, 1)

    return CaptionBatch(tuple(tensors), encode)


LAYOUTS: dict[str, Layout] = {"packed": packed, "padded": padded}
"""By the name in `FitPlan.layout`."""
