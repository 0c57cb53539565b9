"""What training needs of a stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from xpet.core.caption_packing import PackedBatch

Tokens = Sequence[Sequence[int]]
"""Token ids of several captions."""

Collate = Callable[[Tokens], tuple[Tensor, Tensor]]
"""Token ids of captions -> padded input ids and attention mask, both [captions, longest]."""

Reindex = Callable[[Tensor], Tensor]
"""A tensor [runs before, n] laid out as a stack's parameters were -> as they are [runs now, n]; new runs' are zero."""


class StackLike(Protocol):
    """What training needs of a stack (see `xpet.methods.stack.Stack`, which documents every member)."""

    tower: torch.nn.Module
    flat: list[Tensor]

    @property
    def runs(self) -> int: ...
    @property
    def inserted(self) -> int: ...
    def reset(self, seeds: Sequence[int], tokens: Sequence[Sequence[int]] | None = None) -> None: ...
    def reindex(
        self, kept: Sequence[int], seeds: Sequence[int], tokens: Sequence[Sequence[int]] | None = None
    ) -> Reindex: ...
    def some(self, start: int, stop: int) -> AbstractContextManager[None]: ...
    def lowered(self, dtype: torch.dtype | None) -> AbstractContextManager[None]: ...
    def casting(self, dtype: torch.dtype | None) -> AbstractContextManager[None]: ...
    def set_dropout(self, seeds: Tensor, steps: Tensor) -> None: ...
    def __call__(self, input_ids: Tensor, attention_mask: Tensor, captions: Tensor | None = None) -> Tensor: ...
    def packed(self, batch: PackedBatch) -> Tensor: ...
    def takes_sequences(self, device: torch.device, dtype: torch.dtype | None) -> bool: ...
    def gradients(self) -> list[Tensor]: ...
    def clear_gradients(self) -> None: ...
    def state(self, run: int) -> dict[str, Tensor]: ...
