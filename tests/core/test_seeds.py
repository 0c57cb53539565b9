"""Figures over seeds: population standard deviation, and means of what is known."""

from __future__ import annotations

import pytest

from xpet.core.seeds import mean_known, over_seeds


def test_mean_and_population_deviation() -> None:
    assert over_seeds([1.0, 2.0, 6.0]) == pytest.approx((3.0, (14 / 3) ** 0.5))
    assert over_seeds([4.0]) == (4.0, 0.0)


def test_what_is_not_known_does_not_count() -> None:
    assert mean_known([1.0, None, 2.0]) == 1.5
    assert mean_known([None]) is mean_known([]) is None
