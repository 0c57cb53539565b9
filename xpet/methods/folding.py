"""Folding by replacement: trained weights take the place of the plain tower's."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from xpet.core.config import MethodConfig
from xpet.methods.base import Change


def replaced(config: MethodConfig, delta: Mapping[str, Tensor]) -> dict[str, Change]:
    """Name -> the change that puts the trained weight in the base weight's place."""
    return {name: _replacement(delta, name) for name in delta}


def _replacement(delta: Mapping[str, Tensor], name: str) -> Change:
    return lambda base: delta[name].float()  # converted only when called: a delta may be as large as the tower
