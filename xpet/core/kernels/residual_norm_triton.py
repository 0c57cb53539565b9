"""Triton's LayerNorm of a sum, forward and backward; `residual_norm` has the twin and says what the tensors are.

A program has a row. In the backward pass it has several rows of one run, whose gradients of weight and bias it sums in
float32; the programs' sums are added afterwards, always in the same order.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

PROGRAMS = 512
"""Programs of a backward pass, over all runs; each leaves a row of sums."""
VARYING = ["rows", "weight", "bias", "weight_stride", "bias_stride", "parts"]
"""Arguments that kernels are not compiled anew for: a recording must not compile."""


@triton.jit(do_not_specialize=VARYING)
def _forward(
    output, residual, weight, bias, total, out, mean, scale, rows, weight_stride, bias_stride,
    epsilon: tl.constexpr, width: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    run = (row // rows).to(tl.int64)
    columns = tl.arange(0, block)
    inside = columns < width
    start = row.to(tl.int64) * width + columns
    first = tl.load(output + start, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(residual + start, mask=inside, other=0.0).to(tl.float32)
    rounded = (first + second).to(total.dtype.element_ty)  # what the backward pass will see
    tl.store(total + start, rounded, mask=inside)
    value = rounded.to(tl.float32)
    centre = tl.sum(value, axis=0) / width
    centred = tl.where(inside, value - centre, 0.0)
    reciprocal = 1.0 / tl.sqrt(tl.sum(centred * centred, axis=0) / width + epsilon)
    factor = tl.load(weight + run * weight_stride + columns, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + run * bias_stride + columns, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + start, (centred * reciprocal * factor + shift).to(out.dtype.element_ty), mask=inside)
    tl.store(mean + row, centre)
    tl.store(scale + row, reciprocal)


@triton.jit(do_not_specialize=VARYING)
def _backward(
    gradient, total, mean, scale, weight, of_sum, of_weight, of_bias, rows, weight_stride, parts,
    width: tl.constexpr, block: tl.constexpr, trains: tl.constexpr,
):  # fmt: skip
    run = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    columns = tl.arange(0, block)
    inside = columns < width
    factor = tl.load(weight + run * weight_stride + columns, mask=inside, other=0.0).to(tl.float32)
    weight_sum = tl.zeros([block], dtype=tl.float32)
    bias_sum = tl.zeros([block], dtype=tl.float32)
    for index in range(part, rows, parts):
        row = run * rows + index
        start = row * width + columns
        above = tl.load(gradient + start, mask=inside, other=0.0).to(tl.float32)
        value = tl.load(total + start, mask=inside, other=0.0).to(tl.float32)
        reciprocal = tl.load(scale + row)
        unit = tl.where(inside, (value - tl.load(mean + row)) * reciprocal, 0.0)
        weighted = above * factor
        along = tl.sum(weighted * unit, axis=0) / width
        level = tl.sum(weighted, axis=0) / width
        found = (weighted - level - unit * along) * reciprocal
        tl.store(of_sum + start, found.to(of_sum.dtype.element_ty), mask=inside)
        if trains:
            weight_sum += above * unit
            bias_sum += above
    if trains:
        place = (run * parts + part) * width + columns
        tl.store(of_weight + place, weight_sum, mask=inside)
        tl.store(of_bias + place, bias_sum, mask=inside)


def forward(
    output: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, epsilon: float
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """See `NormKernel`, [runs, n, width]; keeps the sum, and its mean and reciprocal deviation [runs, n] in float32."""
    output, residual = output.contiguous(), residual.contiguous()
    runs, rows, width = output.shape
    total, out = torch.empty_like(output), torch.empty_like(output)
    mean = torch.empty(runs, rows, dtype=torch.float32, device=output.device)
    scale = torch.empty_like(mean)
    if rows:
        _forward[(runs * rows,)](
            output, residual, weight, bias, total, out, mean, scale, rows, weight.stride(0), bias.stride(0),
            epsilon=epsilon, width=width, block=_block(width), num_warps=_warps(width),
        )  # fmt: skip
    return out, (total, mean, scale)


def backward(
    gradient: Tensor, kept: tuple[Tensor, ...], weight: Tensor, trains: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """See `NormKernel`, [runs, n, width]; gradients of weight and bias [runs, width] are summed in float32."""
    total, mean, scale = kept
    gradient = gradient.contiguous()
    runs, rows, width = total.shape
    parts = max(1, min(rows, PROGRAMS // runs))
    of_sum = torch.empty_like(total)
    sums = torch.empty(2, runs, parts, width if trains else 0, dtype=torch.float32, device=total.device)
    _backward[(runs, parts)](
        gradient, total, mean, scale, weight, of_sum, sums[0], sums[1], rows, weight.stride(0), parts,
        width=width, block=_block(width), trains=trains, num_warps=_warps(width),
    )  # fmt: skip
    if not trains:
        return of_sum, None, None
    of_weight, of_bias = sums.sum(2).to(weight.dtype)
    return of_sum, of_weight, of_bias


def _block(width: int) -> int:
    return int(triton.next_power_of_2(width))


def _warps(width: int) -> int:
    """Warps of a program: each thread holds 8 to 16 channels."""
    return min(16, max(1, _block(width) // 256))
