"""Equal but for rounding: what two computations of the same features must share on every machine."""

from __future__ import annotations

import torch
from torch import Tensor

BOUNDS = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 4e-3}
"""Largest difference of features of a tiny tower (values of 1 to 3): some four units in the last place of 3."""


def alike(found: Tensor, expected: Tensor) -> None:
    """Equal but for the last digits; for equal weights that lie elsewhere in memory (loaded, copied or built again).

    A product of matrices picks its kernel, and with it the order of its sums, by how its inputs are aligned and how
    many threads it has; a memory-mapped file puts its tensors anywhere. So the last digit is the processor's to choose,
    and `torch.equal` is for what is stored, copied or computed again by the very same module.
    """
    torch.testing.assert_close(found, expected, atol=BOUNDS[found.dtype], rtol=0)


def apart(found: Tensor, other: Tensor, least: float = 1e-3) -> bool:
    """Whether features differ by far more than rounding."""
    return float((found - other).abs().max()) > least
