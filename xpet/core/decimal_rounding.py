"""Rounding to decimals on any device, digit for digit as Python's `round`."""

from __future__ import annotations

import torch
from torch import Tensor

SPLIT = 2.0**27 + 1
"""Splits a double into two halves whose products with short numbers are exact (Dekker 1971)."""


def rounded(values: Tensor, digits: int) -> Tensor:
    """Values of any shape, float64 and not negative, rounded to so many decimals (at most 6): those of `round`.

    What torch.round does is another thing: it multiplies first, so that 0.00125, which is a little more than that as a
    double, becomes 0.0012 where Python says 0.0013. Here the error of the product decides.
    """
    scale = 10.0**digits
    product = values * scale
    high = values * SPLIT
    high = high - (high - values)
    error = (high * scale - product) + (values - high) * scale  # the exact product is product + error
    whole = product.floor()
    rest = (product - whole) - 0.5
    odd = torch.remainder(whole, 2) == 1
    up = (rest > 0) | ((rest == 0) & ((error > 0) | ((error == 0) & odd)))
    return torch.where(product.isfinite(), (whole + up) / scale, values)
