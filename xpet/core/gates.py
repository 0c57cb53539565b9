"""Arithmetic of the limits on which a CI job fails: the largest drop of R@1."""

from __future__ import annotations

from collections.abc import Mapping


def largest_drop(before: Mapping[str, float], after: Mapping[str, float]) -> tuple[str, float]:
    """The name in both whose R@1 falls most, and by how many points (negative: all rise); of equal ones the first.

    Names are in the order of `after`. Raises ValueError without a common name.
    """
    lost = {name: before[name] - value for name, value in after.items() if name in before}
    worst = max(lost, key=lost.__getitem__)
    return worst, lost[worst]
