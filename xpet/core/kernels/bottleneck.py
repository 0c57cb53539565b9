"""A bottleneck of every run behind a layer's output, as one node of autograd (Houlsby et al. 2019)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

TANH_GELU, RELU = "gelu_new", "relu"
"""Activations between the two layers: GELU by its approximation with tanh, and ReLU."""


def bottleneck(output: Tensor, down: Tensor, down_bias: Tensor, up: Tensor, up_bias: Tensor, activation: str) -> Tensor:
    """`x + activation(x D^T + d) U^T + u` of a layer's output x [rows, length, width], of the same shape.

    D `down` [runs, inner, width] and `down_bias` [runs, inner], U `up` [runs, width, inner] and `up_bias` [runs, width]
    are each run's own, and the rows come run after run.
    """
    out: Tensor = _Bottleneck.apply(output, down, down_bias, up, up_bias, activation)
    return out


class _Bottleneck(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, output: Tensor, down: Tensor, down_bias: Tensor, up: Tensor, up_bias: Tensor, activation: str
    ) -> Tensor:
        """Output [rows, length, width] with the bottleneck's; see `bottleneck`."""
        grouped = output.reshape(len(down), -1, output.shape[-1])  # [runs, n, width]
        before = torch.baddbmm(down_bias.unsqueeze(1), grouped, down.mT)  # [runs, n, inner]
        ctx.save_for_backward(grouped, before, down, up)
        ctx.activation = activation
        added = (grouped + up_bias.unsqueeze(1)).baddbmm_(_activated(before, activation), up.mT)
        return added.view(output.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the output, weights and biases, given that of the result [rows, length, width]."""
        grouped, before, down, up = ctx.saved_tensors
        above = gradient.reshape(grouped.shape)  # [runs, n, width]
        of_up = torch.bmm(above.mT, _activated(before, ctx.activation))
        of_before = _derived(torch.bmm(above, up), before, ctx.activation)  # [runs, n, inner]
        of_down = torch.bmm(of_before.mT, grouped)
        of_output = torch.baddbmm(above, of_before, down).view(gradient.shape)
        return of_output, of_down, of_before.sum(1), of_up, above.sum(1), None


def _activated(before: Tensor, activation: str) -> Tensor:
    """The activation of values of any shape."""
    return functional.gelu(before, approximate="tanh") if activation == TANH_GELU else before.relu()


def _derived(gradient: Tensor, before: Tensor, activation: str) -> Tensor:
    """The gradient of the activation's input `before`, given that of its output, both of any shape."""
    if activation == TANH_GELU:
        return torch.ops.aten.gelu_backward(gradient, before, approximate="tanh")  # type: ignore[no-any-return]
    return torch.ops.aten.threshold_backward(gradient, before, 0)  # type: ignore[no-any-return]
