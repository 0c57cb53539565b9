"""How far features may differ and do: the formula, and three rows by hand."""

from __future__ import annotations

import pytest
import torch

from xpet.core.feature_difference import feature_difference, tolerance, unit_features


def test_the_tolerance_follows_the_type() -> None:
    """Of XLM-R large: sqrt(146) matrices, four times (2^-24 + 32 * 2^-24) in float32."""
    assert tolerance("fp32", 24, 1024) == pytest.approx(4 * 146**0.5 * 33 * 2**-24)
    assert tolerance("fp16", 24, 1024) == pytest.approx(4 * 146**0.5 * (2**-11 + 32 * 2**-24))
    assert tolerance("bf16", 24, 1024) == pytest.approx(4 * 146**0.5 * (2**-8 + 32 * 2**-24))


def test_differences_of_unit_features() -> None:
    one = {"de": torch.tensor([[3.0, 4.0], [1.0, 0.0]]), "en": torch.tensor([[0.0, 2.0]])}
    two = {"de": torch.tensor([[3.0, 4.0], [0.0, 5.0]]), "en": torch.tensor([[0.0, -7.0]])}
    units = [{name: unit_features(rows) for name, rows in each.items()} for each in (one, two)]
    assert units[0]["de"].tolist() == [[0.6, 0.8], [1.0, 0.0]]
    assert units[0]["de"].dtype == torch.float64
    found = feature_difference(*units)
    assert (found.texts, found.absolute, found.relative) == (3, 2.0, 2.0)
    assert feature_difference(units[0], units[0]).relative == 0.0
    turned = feature_difference({"de": units[0]["de"]}, {"de": units[1]["de"]})
    assert turned.absolute == 1.0
    assert turned.relative == pytest.approx(2**0.5)


def test_a_feature_of_zero_has_no_direction() -> None:
    assert not unit_features(torch.zeros(2, 3)).isfinite().any()
