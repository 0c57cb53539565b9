"""One figure over several seeds of a setting, or over several runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def over_seeds(values: Sequence[float]) -> tuple[float, float]:
    """Mean and population standard deviation of one figure over several seeds of a setting."""
    return statistics.fmean(values), statistics.pstdev(values)


def mean_known(values: Sequence[float | None]) -> float | None:
    """Mean of the values that are there; None when none is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
