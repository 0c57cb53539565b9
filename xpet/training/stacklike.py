"""What training needs of a stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from xpet.core.packing import Packed

Tokens = Sequence[Sequence[int]]
Pad = Callable[[Sequence[Sequence[int]]], tuple[Tensor, Tensor]]
"""Token lists -> (input ids, attention mask), [rows, longest]."""


Move = Callable[[Tensor], Tensor]
"""Something laid out as the parameters of a stack were -> as they are now, zero for the runs that are new."""


class StackLike(Protocol):
    """What training needs of a stack (see `xpet.methods.stack.Stack`)."""

    tower: torch.nn.Module
    flat: list[Tensor]

    @property
    def runs(self) -> int: ...
    @property
    def inserted(self) -> int: ...
    def reset(self, seeds: Sequence[int], tokens: Sequence[Sequence[int]] | None = None) -> None: ...
    def exchange(
        self, kept: Sequence[int], seeds: Sequence[int], tokens: Sequence[Sequence[int]] | None = None
    ) -> Move: ...
    def some(self, start: int, stop: int) -> AbstractContextManager[None]: ...
    def lowered(self, dtype: torch.dtype | None) -> AbstractContextManager[None]: ...
    def casting(self, dtype: torch.dtype | None) -> AbstractContextManager[None]: ...
    def drop(self, seeds: Tensor, steps: Tensor) -> None: ...
    def __call__(self, input_ids: Tensor, attention_mask: Tensor, captions: Tensor | None = None) -> Tensor: ...
    def packed(self, batch: Packed) -> Tensor: ...
    def gradients(self) -> list[Tensor]: ...
    def clear_gradients(self) -> None: ...
    def state(self, run: int) -> dict[str, Tensor]: ...
