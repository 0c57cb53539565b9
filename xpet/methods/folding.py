"""Folding: from what a run trained to changes of the plain tower's weights."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from xpet.core.config import MethodConfig
from xpet.methods.base import Change


def replaced(config: MethodConfig, delta: Mapping[str, Tensor]) -> dict[str, Change]:
    """Trained weights take the place of the base's own."""
    return {name: _instead(value) for name, value in delta.items()}


def _instead(value: Tensor) -> Change:
    return lambda base: value.float()
