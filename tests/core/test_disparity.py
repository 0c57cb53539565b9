"""Disparity between languages: known numbers, over seeds, and how often its interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from xpet.core.disparity import (
    disparity,
    disparity_estimates,
    disparity_figures,
    disparity_over_seeds,
    mean_disparity,
)
from xpet.core.errors import DataError
from xpet.core.estimates import Estimate
from xpet.core.resampling import Resamples


def test_disparity_of_known_numbers() -> None:
    found = disparity({"en": 70.0, "de": 40.0, "ja": 55.0, "tr": 35.0})
    assert (found.mean, found.range, found.worst, found.best) == (50.0, 35.0, "tr", "en")
    assert found.std == pytest.approx((400 + 100 + 25 + 225) ** 0.5 / 2, abs=1e-12)  # divided by 4, not by 3
    assert found.mean_gap == pytest.approx(70 - (40 + 55 + 35) / 3, abs=1e-12)


def test_disparity_without_english_or_of_one_language() -> None:
    assert disparity({"de": 40.0, "ja": 50.0}).mean_gap is None
    only = disparity({"en": 61.5})
    assert (only.mean, only.range, only.std, only.mean_gap) == (61.5, 0.0, 0.0, None)
    assert disparity({"de": 40.0, "ja": 50.0}, pivot="ja").mean_gap == 10.0
    with pytest.raises(DataError, match="^expected R@1 of at least one language, found none$"):
        disparity({})


def test_disparity_after_is_taken_per_seed_and_then_averaged() -> None:
    trained = {"de": {1: 40.0, 2: 60.0}, "ja": {1: 60.0, 2: 40.0}}
    spread = disparity_over_seeds(trained, {"en": 90.0, "de": 1.0, "ja": 1.0})
    assert spread.range == pytest.approx(50.0)  # 90 - 40 in either seed, not 90 - 50
    assert spread.mean == pytest.approx(190 / 3)
    assert spread.mean_gap == pytest.approx(40.0)
    assert (spread.languages, spread.worst, spread.best) == (("en", "de", "ja"), "de", "en")


def test_disparity_over_seeds_is_the_mean_of_the_seeds() -> None:
    seeds = [{"en": 90.0, "de": 40.0, "ja": 10.0}, {"en": 80.0, "de": 20.0, "ja": 35.0}]
    each, both = [disparity(recall) for recall in seeds], mean_disparity(seeds)
    for name in ("mean", "range", "std", "mean_gap"):
        assert getattr(both, name) == pytest.approx(sum(getattr(one, name) for one in each) / 2)
    assert (both.worst, [one.worst for one in each]) == ("ja", ["ja", "de"])


def covered(levels: Tensor, images: int, sets: int = 200) -> dict[str, float]:
    """Share of simulated data sets whose intervals hold the truth: mean and range, and range by plain percentiles."""
    generator = torch.Generator().manual_seed(7)
    ease = torch.randn(100_000, 1, generator=generator).double()
    true = disparity_figures(100 * torch.sigmoid(levels + ease).mean(dim=0))
    draws = torch.cat(list(Resamples(images, 300, 1).chunks()))
    count = dict.fromkeys(("mean", "range", "percentile"), 0)
    for _ in range(sets):
        ease = torch.randn(images, 1, generator=generator).double()
        hit = torch.rand(images, len(levels), generator=generator).double() < torch.sigmoid(levels + ease)
        replicates = disparity_figures(100 * draws @ hit.double() / images)
        mean, extent, *_ = disparity_estimates(disparity_figures(100 * hit.double().mean(dim=0)), replicates)
        low, high = map(float, np.quantile(replicates[:, 1].tolist(), [0.025, 0.975]))
        inside = {"mean": mean, "range": extent, "percentile": Estimate(0.0, low, high)}
        for name, one in inside.items():
            assert one.low is not None
            assert one.high is not None
            count[name] += one.low <= float(true[0 if name == "mean" else 1]) <= one.high
    return {name: number / sets for name, number in count.items()}


def test_spread_intervals_cover_the_truth_also_when_languages_are_close() -> None:
    apart = covered(torch.linspace(-1.2, 1.2, 6).double(), 300)
    assert 0.90 <= apart["mean"] <= 0.99
    assert 0.90 <= apart["range"] <= 0.99
    close = covered(torch.linspace(-0.15, 0.15, 6).double(), 300)
    assert 0.90 <= close["mean"] <= 0.99
    assert close["range"] > 0.85
    assert close["percentile"] < close["range"] - 0.15
