"""How far two computations of the same text features differ, and how far rounding lets them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MARGIN = 4.0
"""How many times the expected difference is allowed."""
FLOAT32 = 2.0**-24
"""Largest relative error of rounding to float32."""
ROUNDOFF = {"fp32": FLOAT32, "fp16": 2.0**-11, "bf16": 2.0**-8}
"""Largest relative error of rounding one number to a type."""


def tolerance(dtype: str, layers: int, width: int) -> float:
    """Largest length that the difference of two unit features may have.

    Every matrix a text passes adds an error relative to what passes through it: the rounding of its weights to the
    stored type, and that of float32 sums of `width` products taken in another order (a random walk: sqrt(width)). The
    LayerNorms between keep the scale, and independent errors add up as the root of their number: six matrices a layer,
    the embeddings and the head. MARGIN times that is allowed.
    """
    matrices = 6 * layers + 2
    return MARGIN * math.sqrt(matrices) * (ROUNDOFF[dtype] + math.sqrt(width) * FLOAT32)


def unit_features(features: Tensor) -> Tensor:
    """Features [texts, d] in float64, each scaled to length 1; rows that are zero or not finite become not finite."""
    rows = features.double()
    return rows / rows.norm(dim=1, keepdim=True)


@dataclass(frozen=True)
class FeatureDifference:
    """How far unit features differ between two computations."""

    texts: int
    """Number of features compared."""
    absolute: float
    """Largest difference of one value."""
    relative: float
    """Largest length of the difference of two features."""


def feature_difference(features: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> FeatureDifference:
    """The largest differences of unit features [texts, d] from those of the same name in `reference`."""
    differences = [features[name] - rows for name, rows in reference.items()]
    return FeatureDifference(
        texts=sum(map(len, differences)),
        absolute=max(float(rows.abs().max()) for rows in differences),
        relative=max(float(rows.norm(dim=1).max()) for rows in differences),
    )
