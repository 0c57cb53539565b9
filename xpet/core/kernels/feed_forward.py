"""The frozen feed-forward half of a layer as one node of autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def feed_forward(hidden: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor) -> Tensor:
    """`GELU(x W1^T + b1) W2^T + b2` of hidden states x [rows, length, width], of the same shape; GELU is exact.

    Weights W1 [inner, width] and W2 [width, inner] and their biases are frozen. What is kept for the backward pass is
    GELU's input alone.
    """
    if torch.is_grad_enabled() and hidden.requires_grad:
        out: Tensor = _FeedForward.apply(hidden, first, first_bias, second, second_bias)
        return out
    return functional.linear(functional.gelu(functional.linear(hidden, first, first_bias)), second, second_bias)


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor
    ) -> Tensor:
        """Hidden states [rows, length, width] after both products; see `feed_forward`."""
        before = functional.linear(hidden, first, first_bias)  # [rows, length, inner]
        ctx.save_for_backward(before, first, second)
        return functional.linear(functional.gelu(before), second, second_bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the hidden states, given that of the result [rows, length, width]."""
        before, first, second = ctx.saved_tensors
        of_before = torch.ops.aten.gelu_backward(functional.linear(gradient, second.T), before)
        return functional.linear(of_before, first.T), None, None, None, None
