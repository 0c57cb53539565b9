"""Equal but for rounding: what two computations of the same features must share on every machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from xpet.core.rundir import read_run

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


TIMED = ("seconds", "folder", "peak_memory")
"""Entries of a run's metrics that are no figures."""


def alike_runs(found: Path, expected: Path) -> None:
    """Two short runs of the same command, in float32: the same split, and the same figures but for rounding.

    Features that were stored, and a pool of other threads, change the last digit of what Adam starts from. A few steps
    make 1e-5 of that in a weight (5e-5 at most here); other data, seeds or initial values would make 1e-3 and more.
    """
    assert (found / "split.json").read_bytes() == (expected / "split.json").read_bytes()
    mine, other = read_run(found), read_run(expected)
    for one, two in zip([*mine.history, asdict(mine.metrics)], [*other.history, asdict(other.metrics)], strict=True):
        assert _flat(one) == {name: _nearly(value) for name, value in _flat(two).items()}
    assert mine.delta.keys() == other.delta.keys()
    for name, value in other.delta.items():
        torch.testing.assert_close(mine.delta[name], value, atol=5e-5, rtol=0)


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Entries by name, those of the documents in it by joined names."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        inner = _flat(value) if isinstance(value, Mapping) else None
        found |= {name: value} if inner is None else {f"{name}.{part}": own for part, own in inner.items()}
    return {name: value for name, value in found.items() if name not in TIMED}


def _nearly(value: Any) -> Any:
    return pytest.approx(value, rel=1e-4, abs=1e-6) if isinstance(value, float) else value
