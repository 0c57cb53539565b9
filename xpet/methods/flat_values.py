"""Parameters of many runs in one tensor, handed to modules as views, with gradients in one tensor likewise.

A conversion or a sum of gradients for each parameter is hundreds of small kernels a step. Here a forward converts all
parameters at once, and its backward pass writes all gradients at once.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class FlatValues:
    """The parameters [runs, n] that a forward reads by name, and their gradients [runs, n] of its backward pass.

    Gradients of several backward passes are added until `clear`.
    """

    def __init__(self) -> None:
        self.flat = torch.empty(0, 0)
        self.values: dict[str, Tensor] = {}
        self._gradient: Tensor | None = None
        self._read: dict[Hashable, Mapping[str, Tensor]] = {}

    def hold(self, flat: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        """Take these parameters [runs, n]; returns by name the views [runs, *shape] of them."""
        self.flat = flat.detach().requires_grad_()
        self.values = split(flat.detach(), shapes)
        self._gradient = None
        self.forget()
        return self.values

    def read(self, start: int, stop: int, dtype: torch.dtype) -> Mapping[str, Tensor]:
        """Parameters [runs, *shape] of the runs `start` to `stop` - 1 as `dtype`, by name, once until `forget`.

        One node of autograd for all of them.
        """
        grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        key = start, stop, dtype, grad, inference, self.flat._version
        if key not in self._read:
            views = _Reading.apply(self.flat, self, start, stop, dtype)
            self._read[key] = dict(zip(self.values, views, strict=True))
        return self._read[key]

    def forget(self) -> None:
        """Let go of what was read."""
        self._read.clear()

    def add(self, gradients: Sequence[Tensor | None], start: int, stop: int) -> None:
        """Add gradients of what was read, each [runs, *shape] in the order of the values; None is zero."""
        rows = stop - start
        parts = [
            (value.new_zeros(1, 1).expand(rows, value[0].numel()) if gradient is None else gradient).reshape(rows, -1)
            for gradient, value in zip(gradients, self.values.values(), strict=True)
        ]
        dtype = next((gradient.dtype for gradient in gradients if gradient is not None), self.flat.dtype)
        added = torch.cat([part.to(dtype) for part in parts], dim=1)  # as they are; converted at once
        if self._gradient is not None:
            self._gradient[start:stop] += added
        elif rows == len(self.flat):
            self._gradient = added.to(self.flat.dtype)
        else:
            self._gradient = torch.zeros_like(self.flat, requires_grad=False)
            self._gradient[start:stop] = added

    def clear(self) -> None:
        """Forget all gradients."""
        self._gradient = None

    @property
    def gradient(self) -> Tensor:
        """Gradients [runs, n]; zero where none was added."""
        return torch.zeros_like(self.flat, requires_grad=False) if self._gradient is None else self._gradient


class _Reading(torch.autograd.Function):
    """Views of some runs' parameters as another type; its backward pass adds to the holder's gradients."""

    @staticmethod
    def forward(
        ctx: Any, flat: Tensor, holder: FlatValues, start: int, stop: int, dtype: torch.dtype
    ) -> tuple[Tensor, ...]:
        """Parameters [runs, n] of all runs -> those of the chosen ones, a view [runs, *shape] for each value."""
        ctx.set_materialize_grads(False)
        ctx.holder, ctx.span = holder, (start, stop)
        shapes = {name: torch.Size((stop - start, *value.shape[1:])) for name, value in holder.values.items()}
        rows = flat.detach() if stop - start == len(flat) else flat.detach()[start:stop]
        return tuple(split(rows.to(dtype), shapes).values())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[None, ...]:
        """Add the gradients [runs, *shape] to the holder's."""
        ctx.holder.add(gradients, *ctx.span)
        return None, None, None, None, None


def split(flat: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Views [runs, *shape] of a flat tensor [runs, n], by name."""
    parts = flat.split([shape[1:].numel() for shape in shapes.values()], dim=1)
    return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
