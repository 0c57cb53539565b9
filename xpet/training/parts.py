"""The captions of a step in parts: each process's share, and slices of it that are encoded one after another.

Slices are for batches larger than memory (`--gradient-cache`): features of all are computed first and no activations
kept; each slice is encoded again when its gradient is due, so that only one slice's activations are there at a time
(Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup").
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from xpet.training.layouts import CaptionBatch, Layout, LayoutContext
from xpet.training.spread import Spread
from xpet.training.stacklike import Tokens

Numbers = list[list[int]]
"""For each run the numbers of some of its captions."""


@dataclass(frozen=True)
class PartedCaptions:
    """Captions of several runs.

    Attributes:
        parts: those that this process encodes.
        places: every caption's place among the features of all parts of all processes, [runs, captions]; None where
            one part has all captions in their order.
    """

    parts: Sequence[CaptionBatch]
    places: Tensor | None = None

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors of the parts and the places, of any shapes."""
        tensors = tuple(tensor for part in self.parts for tensor in part.tensors)
        return tensors if self.places is None else (*tensors, self.places)

    @property
    def key(self) -> Hashable:
        """What else a forward depends on, see `CaptionBatch`."""
        return tuple(part.key for part in self.parts)

    def to(self, send: Callable[[Tensor], Tensor]) -> PartedCaptions:
        """The same captions with every tensor replaced by `send(tensor)`, its copy of that shape on a device."""
        return PartedCaptions(
            [part.to(send) for part in self.parts], None if self.places is None else send(self.places)
        )

    def encode(self, encode: Callable[[CaptionBatch], Tensor], spread: Spread) -> Tensor:
        """Features [runs, captions, d] of all captions; `encode` makes those of a part, [runs, captions of it, d]."""
        if self.places is None:
            return encode(self.parts[0])
        again = len(self.parts) > 1 and torch.is_grad_enabled()
        features = [_encoded_again(encode, part) if again else encode(part) for part in self.parts]
        gathered = spread.gather(torch.cat(features, dim=1))
        return gathered.gather(1, self.places.unsqueeze(-1).expand(-1, -1, gathered.shape[-1]))


def _encoded_again(encode: Callable[[CaptionBatch], Tensor], part: CaptionBatch) -> Tensor:
    """Features of a part, [runs, captions of the part, d], encoded once more in the backward pass.

    Dropout is hashed, so no generator's state has to be kept.
    """
    return checkpoint(encode, part, use_reentrant=False, preserve_rng_state=False)  # type: ignore[no-any-return]


def lay_out(
    rows: Sequence[Tokens], layout: Layout, context: LayoutContext, spread: Spread, most: int | None
) -> PartedCaptions:
    """Lay out this process's share of each run's captions on the CPU, at most `most` captions of a run in a slice."""
    count = len(rows[0])
    slices = 1 if most is None else -(-count // spread.world // most)
    if spread.alone and slices == 1:
        return PartedCaptions([layout(rows, context)])
    hands = [_hands([len(caption) for caption in run], spread.world, slices) for run in rows]
    parts = []
    for number in range(slices):
        numbers = [hand[spread.rank][number] for hand in hands]
        part = [[run[i] for i in chosen] for run, chosen in zip(rows, numbers, strict=True)]
        parts.append(layout(part, context, numbers))
    places = torch.tensor([_places(hand, count) for hand in hands])
    return PartedCaptions(parts, places)


def _hands(lengths: Sequence[int], world: int, slices: int) -> list[Numbers]:
    """Deal captions of these lengths to processes, and each one's to slices: [world][slices][captions].

    They are dealt by length, so that all get about as many tokens. All processes get equally many captions: where
    these do not go round, the shortest are dealt twice.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    share = -(-len(order) // world)
    dealt = list(islice(cycle(order), world * share))
    return [[dealt[rank::world][number::slices] for number in range(slices)] for rank in range(world)]


def _places(hands: Sequence[Numbers], count: int) -> list[int]:
    """Where the features of each of the `count` captions are among those of all hands, one after another."""
    places = [0] * count
    dealt = [number for hand in hands for part in hand for number in part]
    for place, number in enumerate(dealt):
        places[number] = place
    return places
