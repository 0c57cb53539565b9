"""Triton's step of Adam: one pass over parameters, gradients and moments; `adam` has the twin."""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

import triton
import triton.language as tl
from torch import Tensor

from xpet.core.kernels.adam import BETAS, EPSILON

BLOCK = 1024
"""Parameters that a program updates."""


@triton.jit(do_not_specialize=["size"])
def _update(
    parameter, gradient, first, second, rate, correction, alive, size,
    kept1: tl.constexpr, new1: tl.constexpr, kept2: tl.constexpr, new2: tl.constexpr, epsilon: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    run = tl.program_id(1).to(tl.int64)
    columns = tl.program_id(0) * block + tl.arange(0, block)
    inside = columns < size
    place = run * size + columns
    lives = tl.load(alive + run) != 0
    slope = tl.load(gradient + place, mask=inside, other=0.0)
    slope = tl.where(lives, slope, 0.0)
    mean = tl.load(first + place, mask=inside, other=0.0) * kept1 + slope * new1
    square = tl.load(second + place, mask=inside, other=0.0) * kept2 + slope * slope * new2
    update = tl.load(rate + run) * mean / (tl.sqrt(square) / tl.load(correction + run) + epsilon)
    value = tl.load(parameter + place, mask=inside, other=0.0)
    tl.store(first + place, mean, mask=inside)
    tl.store(second + place, square, mask=inside)
    tl.store(parameter + place, value - tl.where(lives, update, 0.0), mask=inside)


def update(
    parameter: Tensor, gradient: Tensor, first: Tensor, second: Tensor, rate: Tensor, correction: Tensor, alive: Tensor
) -> None:
    """See `adam_step`; parameters, gradients and moments [runs, n] are contiguous and float32."""
    runs, size = parameter.shape
    _update[(triton.cdiv(size, BLOCK), runs)](
        parameter, gradient, first, second, rate.contiguous(), correction.contiguous(), alive.byte(), size,
        kept1=BETAS[0], new1=1 - BETAS[0], kept2=BETAS[1], new2=1 - BETAS[1], epsilon=EPSILON, block=BLOCK,
    )  # fmt: skip
