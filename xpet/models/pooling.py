"""Which token states become a text's features: their mean, or the state of one token, in padded and packed captions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xpet.core.caption_packing import PackedBatch

_ABOVE = 1 << 20
"""More than a text has positions: what decides between tokens counts in these, their position in ones."""
_NEVER = -(1 << 60)
"""Key of a token that is not to be chosen."""


@dataclass(frozen=True)
class Pooling:
    """How token states become one state per text.

    Attributes:
        kind: `mean` of all tokens, special ones included; or the state of one token: the `first`, the `last`, the first
            whose id is `end` (the first of all where there is none), or the first of the `largest` id.
        end: id of the end token, for `end`.
    """

    kind: str = "mean"
    end: int = -1

    def padded(self, hidden: Tensor, mask: Tensor, ids: Tensor) -> Tensor:
        """States [rows, channels] of token states [rows, length, channels], 0/1 mask and ids [rows, length]."""
        if self.kind == "mean":
            return mean_pool(hidden, mask)
        places = torch.arange(hidden.shape[1], device=hidden.device)
        keys = self._keys(ids, places.expand_as(ids)).masked_fill(mask == 0, _NEVER)
        chosen = keys.argmax(dim=1).view(-1, 1, 1).expand(-1, 1, hidden.shape[-1])
        return hidden.gather(1, chosen).squeeze(1)

    def packed(self, hidden: Tensor, batch: PackedBatch) -> Tensor:
        """The same of packed captions: token states [lines, length, channels] -> [captions, channels]."""
        if self.kind == "mean":
            return batch.pool(hidden)
        keys = self._keys(batch.ids, batch.positions)
        if batch.prompt_index is not None and self.kind in ("end", "largest"):
            keys = keys.masked_fill(batch.prompt_index >= 0, _NEVER)
        numbers = torch.arange(batch.most, device=hidden.device).view(1, -1, 1)
        belongs = batch.segment.unsqueeze(1) == numbers  # [lines, most, length]
        chosen = keys.unsqueeze(1).masked_fill(~belongs, 2 * _NEVER).argmax(dim=2)  # [lines, most]
        states = hidden.gather(1, chosen.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
        return states.flatten(0, 1)[batch.index]

    def _keys(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Numbers, int64 [rows, length], of which the largest is that of the token to choose."""
        if self.kind == "first":
            return -positions
        if self.kind == "last":
            return positions
        return (ids if self.kind == "largest" else (ids == self.end).long()) * _ABOVE - positions


def mean_pool(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean of token states [rows, length, hidden] over those the mask [rows, length] keeps, special ones included."""
    weights = attention_mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)
