"""LayerNorm of a sum, with a weight and bias for every run: by Triton on a GPU, else by its plain twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from xpet.core.kernels.choice import Trial, works

WIDEST = 16384
"""Widest rows that a program holds."""


class NormKernel(NamedTuple):
    """An implementation of both passes.

    Attributes:
        forward: (output, residual [runs, n, width], weight, bias [runs, width], epsilon) -> normalised
            [runs, n, width], and what the backward pass needs besides the weight.
        backward: (gradient [runs, n, width], the tensors of `forward`, weight, whether weight and bias need
            gradients) -> gradients of the sum, the weight and the bias; None for those not needed.
    """

    forward: Callable[[Tensor, Tensor, Tensor, Tensor, float], tuple[Tensor, tuple[Tensor, ...]]]
    backward: Callable[[Tensor, tuple[Tensor, ...], Tensor, bool], tuple[Tensor, Tensor | None, Tensor | None]]


def norm_of_sum(output: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """LayerNorm of `output + residual`, both [rows, length, width], with weight and bias [runs, width].

    The rows come run after run.
    """
    kernel = _kernel_for(output, weight) if output.dtype == residual.dtype else PLAIN  # autocast mixes types
    if kernel is PLAIN and len(weight) == 1:  # PyTorch's own has that one's gradients, too
        return functional.layer_norm(output + residual, output.shape[-1:], weight[0], bias[0], epsilon)
    out: Tensor = _NormOfSum.apply(output, residual, weight, bias, epsilon, kernel)
    return out


class _NormOfSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, output: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, epsilon: float, kernel: NormKernel
    ) -> Tensor:
        """The normalised sum [rows, length, width]; see `norm_of_sum`."""
        shape = (len(weight), -1, output.shape[-1])
        out, kept = kernel.forward(output.reshape(shape), residual.reshape(shape), weight, bias, epsilon)
        ctx.save_for_backward(weight, *kept)
        ctx.kernel = kernel
        return out.view(output.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of both summands, weight and bias, given that of the result [rows, length, width]."""
        weight, *kept = ctx.saved_tensors
        above = gradient.reshape(len(weight), -1, gradient.shape[-1])
        trains = ctx.needs_input_grad[2] or ctx.needs_input_grad[3]
        of_sum, of_weight, of_bias = ctx.kernel.backward(above, tuple(kept), weight, trains)
        of_sum = of_sum.view(gradient.shape)
        return of_sum, of_sum, of_weight, of_bias, None, None


def _plain_forward(
    output: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, epsilon: float
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """See `NormKernel`; keeps the normalised sum [runs, n, width] and the reciprocal deviation [runs, n, 1]."""
    unit, _, scale = torch.native_layer_norm(output + residual, output.shape[-1:], None, None, epsilon)
    return torch.addcmul(bias.unsqueeze(1), unit, weight.unsqueeze(1)), (unit, scale)


def _plain_backward(
    gradient: Tensor, kept: tuple[Tensor, ...], weight: Tensor, trains: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """See `NormKernel`. The deviation is a factor of the gradient, so that the sum itself need not be kept."""
    unit, scale = kept
    above = (gradient * weight.unsqueeze(1)).mul_(scale)
    of_sum, _, _ = torch.ops.aten.native_layer_norm_backward(
        above, unit, unit.shape[-1:], torch.zeros_like(scale), torch.ones_like(scale), None, None, [True, False, False]
    )
    if not trains:
        return of_sum, None, None
    return of_sum, (gradient * unit).sum(1), gradient.sum(1)


PLAIN = NormKernel(_plain_forward, _plain_backward)
"""The twin in plain PyTorch."""


def _kernel_for(output: Tensor, weight: Tensor) -> NormKernel:
    """Triton's where it works for tensors of this device, type and width, else the twin."""
    width = output.shape[-1]
    if width > WIDEST or not works("LayerNorm", output, (width, weight.dtype), lambda: _trial(output, weight.dtype)):
        return PLAIN
    from xpet.core.kernels import residual_norm_triton

    return NormKernel(residual_norm_triton.forward, residual_norm_triton.backward)


def _trial(like: Tensor, weights: torch.dtype) -> Trial:
    """Triton's and the twin's results on random numbers of the type and width of `like` [..., width]."""
    from xpet.core.kernels import residual_norm_triton as fused

    runs, rows, width = 3, 37, like.shape[-1]
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(3, runs, rows, width, generator=generator).to(like.device, like.dtype)
    affine = torch.randn(2, runs, width, generator=generator).to(like.device, weights)

    def results(kernel: NormKernel, *tensors: Tensor) -> list[Tensor]:
        output, residual, gradient, weight, bias = tensors
        out, kept = kernel.forward(output, residual, weight, bias, 1e-5)
        gradients = kernel.backward(gradient, kept, weight, True)
        return [out, *(each for each in gradients if each is not None)]

    found = results(NormKernel(fused.forward, fused.backward), *drawn, *affine)
    return found, results(PLAIN, *drawn.double(), *affine.double())
