"""Compares Triton's kernels with their twins; run with TRITON_INTERPRET=1, or on a machine with a GPU.

TRITON_INTERPRET=1 python -m tests.core.kernels.interpreted
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor
from torch.nn import functional

from xpet.core.errors import XpetWarning
from xpet.core.kernels import choice
from xpet.core.kernels.adam import BETAS, _plain, _update_for, adam_step
from xpet.core.kernels.residual_norm import PLAIN, _kernel_for, norm_of_sum

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NEAR = {torch.float32: 1e-5, torch.bfloat16: 0.02}


def drawn(*shape: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).to(DEVICE, dtype)


def near(found: Tensor, expected: Tensor, dtype: torch.dtype, what: object) -> None:
    error = float((found.detach().double() - expected.detach()).abs().max() / expected.detach().abs().max())
    assert error < NEAR[dtype], (what, error)


def check_norm(runs: int, rows: int, width: int, dtype: torch.dtype, trains: bool) -> None:
    """Values and gradients of a LayerNorm of a sum, against PyTorch's own in float64, a run at a time."""
    output, residual, above = (drawn(runs, rows, width, dtype=dtype) + i for i in range(3))
    affine = drawn(runs, 2 * width + 1, dtype=dtype)[:, 1:]  # rows of a wider tensor, at odd addresses
    weight, bias = affine[:, :width], affine[:, width:]
    assert _kernel_for(output, weight) is not PLAIN
    inputs = [output.requires_grad_(), residual.requires_grad_()]
    inputs += [weight.detach().requires_grad_(trains), bias.detach().requires_grad_(trains)]
    needed = inputs if trains else inputs[:2]
    out = norm_of_sum(inputs[0], inputs[1], inputs[2], inputs[3], 1e-5)
    found = [out, *torch.autograd.grad(out, needed, above)]
    exact = [value.detach().double().requires_grad_() for value in inputs]
    each = [
        functional.layer_norm(exact[0][run] + exact[1][run], (width,), exact[2][run], exact[3][run], 1e-5)
        for run in range(runs)
    ]
    expected = [torch.stack(each), *torch.autograd.grad(torch.stack(each), exact[: len(needed)], above.double())]
    for index, (mine, other) in enumerate(zip(found, expected, strict=True)):
        near(mine, other, dtype, ("LayerNorm", runs, rows, width, dtype, index))


def check_adam(runs: int, size: int) -> None:
    """A step in which one run's gradients are not finite and it is not alive, against torch.optim.Adam's first step."""
    parameter, gradient = drawn(runs, size, dtype=torch.float32), drawn(runs, size + 1, dtype=torch.float32)[:, 1:]
    alive = torch.arange(runs, device=DEVICE).unsqueeze(1) != 1
    gradient = torch.where(alive, gradient, torch.nan)
    rates = torch.arange(1, runs + 1, device=DEVICE).unsqueeze(1) / 100
    mine, moments = parameter.clone(), [torch.zeros_like(parameter) for _ in range(2)]
    assert _update_for(mine, gradient, *moments) is not _plain
    root = torch.full_like(rates, (1 - BETAS[1]) ** 0.5)
    adam_step(mine, gradient, moments[0], moments[1], rates / (1 - BETAS[0]), root, alive)
    for run in range(runs):
        value = parameter[run].double().requires_grad_()
        value.grad = gradient[run].double()
        if alive[run]:
            torch.optim.Adam([value], lr=float(rates[run])).step()
        near(mine[run], value, torch.float32, ("Adam", run, size))


def main() -> None:
    """Compare; raises AssertionError where a kernel differs or is left out."""
    from xpet.core.kernels import residual_norm_triton

    warnings.simplefilter("error", XpetWarning)
    choice.DEVICES = (DEVICE,)
    residual_norm_triton.PROGRAMS = 8  # so that a program has several rows
    for runs, rows, width in ((1, 1, 3), (3, 7, 48), (2, 11, 33), (1, 5, 128)):
        for dtype in NEAR:
            for trains in (True, False):
                check_norm(runs, rows, width, dtype, trains)
    for runs, size in ((1, 1), (3, 1025), (2, 4096)):
        check_adam(runs, size)


if __name__ == "__main__":
    main()
