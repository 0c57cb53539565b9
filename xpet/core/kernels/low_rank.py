"""A frozen linear layer with a low-rank product of every run added, as one node of autograd (Hu et al. 2021)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def low_rank_linear(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
) -> Tensor:
    """`hidden W^T + b + scaling * hidden A^T B^T`, [rows, length, out], of hidden states [rows, length, in].

    Weight [out, in] and bias [out] are frozen. A `down` [runs, rank, in] and B `up` [runs, out, rank] are each run's
    own, and the rows come run after run. The second product adds to the first, so that no sum is a pass of its own.
    """
    out: Tensor = _LowRankLinear.apply(hidden, weight, bias, down, up, scaling)
    return out


class _LowRankLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        """The layer's output [rows, length, out]; see `low_rank_linear`."""
        grouped = hidden.reshape(len(down), -1, hidden.shape[-1])  # [runs, n, in]
        out = functional.linear(grouped, weight, bias)
        inner = torch.bmm(grouped, down.mT).mul_(scaling)  # [runs, n, rank]
        ctx.save_for_backward(grouped, inner, weight, down, up)
        ctx.scaling, ctx.shape = scaling, hidden.shape
        return out.baddbmm_(inner, up.mT).view(*hidden.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of hidden states, A and B, given that of the output [rows, length, out]."""
        grouped, inner, weight, down, up = ctx.saved_tensors
        above = gradient.reshape(*grouped.shape[:-1], -1)  # [runs, n, out]
        of_inner = torch.bmm(above, up).mul_(ctx.scaling)  # [runs, n, rank]
        of_down, of_up = torch.bmm(of_inner.mT, grouped), torch.bmm(above.mT, inner)
        of_hidden = None
        if ctx.needs_input_grad[0]:
            of_hidden = functional.linear(above, weight.T).baddbmm_(of_inner, down).view(ctx.shape)
        return of_hidden, None, None, of_down, of_up, None
