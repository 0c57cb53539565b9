"""Folding: from what a run trained to changes of the plain tower's weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from xpet.core.config import MethodConfig
from xpet.methods.base import Change


def replaced(config: MethodConfig, delta: Mapping[str, Tensor]) -> dict[str, Change]:
    """Trained weights take the place of the base's own."""
    return {name: _instead(delta, name) for name in delta}


def _instead(delta: Mapping[str, Tensor], name: str) -> Change:
    return lambda base: delta[name].float()  # read when its turn comes: a delta may be as large as the tower
