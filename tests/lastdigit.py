"""Another processor's rounding on this one: the last digit of a product depends on where its matrices lie.

Turned on by `XPET_TEST_LAST_DIGIT=1` (see conftest.py) for the test process alone: the products of float32 and float64
matrices on the CPU are changed by up to a unit in the last place, always in the same way for the same shapes, strides
and alignments to 64 bytes, in another way for others. So libraries of products are allowed to behave (oneMKL promises
equal numbers for equally aligned arrays only), and a test that needs more fails here on any machine.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

LENGTH = 65_537
EIGHTHS, LARGEST = 8, 4096
"""Products of such fractions up to such numbers are exact in any order, and left alone."""
_library: list[torch.library.Library] = []


@cache
def _noise(dtype: torch.dtype) -> Tensor:
    drawn = torch.randint(-2, 3, (2 * LENGTH,), generator=torch.Generator().manual_seed(0))
    return drawn.to(dtype) * (torch.finfo(dtype).eps / 2)


def _exact(matrix: Tensor) -> bool:
    return not matrix.numel() or bool(matrix.abs().amax() <= LARGEST) and not (matrix * EIGHTHS).frac().any()


def _spoilt(out: Tensor, *inputs: Tensor) -> Tensor:
    if out.dtype not in (torch.float32, torch.float64) or not out.numel() or all(map(_exact, inputs)):
        return out
    start = hash(tuple((t.data_ptr() % 64, t.shape, t.stride()) for t in inputs)) % LENGTH
    flat = out.view(-1)
    noise = _noise(out.dtype)[start : start + flat.numel()]
    if len(noise) < flat.numel():
        noise = noise.repeat(-(-flat.numel() // len(noise)))[: flat.numel()]
    return (flat + flat * noise).view(out.shape)


def _product(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`plain` with its last digit changed; its last two arguments are the matrices."""

    def product(*arguments: Tensor, **factors: float) -> Tensor:
        left, right = arguments[-2:]
        out = torch.empty((*left.shape[:-1], right.shape[-1]), dtype=left.dtype)
        return _spoilt(plain(*arguments, **factors, out=out), left, right)

    return product


def turn_on() -> None:
    """Put the four products in the place of torch's own, in all threads, until the process ends."""
    library = torch.library.Library("aten", "IMPL")
    _library.append(library)  # kept: it takes its functions away with it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it puts something in the place of torch's own
        for name in ("mm", "addmm", "bmm", "baddbmm"):
            library.impl(name, _product(getattr(torch, name)), "CPU")
