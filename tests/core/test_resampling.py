"""Bootstrap, permutation test and Holm's correction against loops over the drawn images and exact enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from xpet.core import resampling
from xpet.core.errors import DataError
from xpet.core.resampling import Median, Resamples, holm, interval, permutation_test


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draws(resamples: Resamples) -> Tensor:
    return torch.cat(list(resamples.chunks()))


def test_every_resample_draws_as_many_images_as_there_are() -> None:
    found = draws(Resamples(50, 4000, seed=3))
    assert found.shape == (4000, 50)
    assert set(found.sum(dim=1).tolist()) == {50.0}
    assert found.mean(dim=0).tolist() == pytest.approx([1.0] * 50, abs=0.08)
    assert found.var(dim=0).mean().item() == pytest.approx(49 / 50, abs=0.03)  # multinomial: N (1/N) (1 - 1/N)
    other = np.cov(found.numpy().T)[np.triu_indices(50, 1)].mean()
    assert other == pytest.approx(-1 / 50, abs=0.003)


def test_a_seed_gives_the_same_resamples_kept_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "CHUNK_CELLS", 700)
    kept = Resamples(30, 100, seed=5)
    first = draws(kept)
    assert torch.equal(draws(kept), first)
    monkeypatch.setattr(resampling, "KEEP_BYTES", 0)
    afresh = Resamples(30, 100, seed=5)
    assert [len(part) for part in afresh.chunks()] == [23, 23, 23, 23, 8]
    assert torch.equal(draws(afresh), first)
    assert not torch.equal(draws(Resamples(30, 100, seed=6)), first)


def test_ratio_is_the_mean_over_what_was_drawn() -> None:
    resamples = Resamples(12, 40, seed=1)
    sums, weights = normal(12, 3), torch.randint(0, 4, (12, 3), generator=torch.Generator().manual_seed(2)).double()
    found = resamples.ratio(sums, weights)
    for row, drawn in zip(found.tolist(), draws(resamples).long().tolist(), strict=True):
        images = [i for i, times in enumerate(drawn) for _ in range(times)]
        for f in range(3):
            expected = sum(float(sums[i, f]) for i in images) / sum(float(weights[i, f]) for i in images)
            assert row[f] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("images", "entries", "levels"), [(7, 9, 4), (400, 400, 6), (400, 900, 10**6), (900, 900, 10**6), (1, 1, 2)]
)
def test_median_of_what_was_drawn(images: int, entries: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(images + entries)
    values = torch.randint(1, levels, (entries,), generator=generator).double() / 2
    image = torch.randint(0, images, (entries,), generator=generator)
    weight = torch.randint(1, 3, (entries,), generator=generator)
    resamples = Resamples(images, 30, seed=1)
    found = resamples.median(values, image, weight)
    for median, drawn in zip(found.tolist(), draws(resamples).long(), strict=True):
        several = np.repeat(values.numpy(), (drawn[image] * weight).numpy())
        assert median == pytest.approx(np.median(several)) if len(several) else np.isnan(median)


def test_median_far_from_the_sample_s() -> None:
    image = torch.cat([torch.arange(4).repeat_interleave(150), torch.arange(4, 500)])
    values = torch.cat([torch.full((600,), 9.0), 1 + torch.arange(496.0) / 500])
    drawn = draws(Resamples(500, 50, seed=2))
    find = Median(values, image, None, 500)
    inside = find.near.middle(drawn, drawn @ find.total / 2)[1]
    assert bool(inside.any())
    assert not bool(inside.all())  # four images own most captions: the window is left
    for median, times in zip(find(drawn).tolist(), drawn.long(), strict=True):
        assert median == np.median(np.repeat(values.numpy(), times[image].numpy()))


def test_median_with_shares_of_a_caption() -> None:
    values, image, weight = (
        torch.tensor([1.0, 1.0, 1.0, 4.0]),
        torch.tensor([0, 1, 2, 3]),
        torch.tensor([1, 1, 1, 3]).double() / 3,
    )
    assert Median(values, image, weight, 4)(torch.ones(1, 4).double()).tolist() == [2.5]


def test_interval_takes_percentiles_and_leaves_out_what_is_missing() -> None:
    values = normal(1000, 2, 2)
    values[:100, 0, 0] = values[:, 1, 1] = torch.nan
    low, high = interval(values)
    for i, j in ((0, 0), (0, 1), (1, 0)):
        column = values[:, i, j].numpy()
        expected = np.quantile(column[~np.isnan(column)], [0.025, 0.975])
        assert (float(low[i, j]), float(high[i, j])) == pytest.approx(tuple(expected), abs=1e-12)
    assert np.isnan(float(low[1, 1]))


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.8])
def test_permutation_p_against_every_flip(shift: float) -> None:
    moved = normal(10, seed=4) + shift
    table = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=10))).double() @ moved
    exact = float((table.abs() >= moved.sum().abs() - 1e-12).double().mean())
    padded = torch.cat([moved, torch.zeros(5).double()]).unsqueeze(1)
    found = permutation_test(torch.cat([padded, torch.zeros_like(padded)], dim=1), 20_000, seed=1).tolist()
    assert found[0] == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 20_000) ** 0.5 + 1e-4)
    assert found[1] == 1.0  # no difference at all


def test_permutation_p_is_never_zero_and_repeats() -> None:
    clear = torch.ones(60, 1)
    assert permutation_test(clear, 999).tolist() == [1 / 1000]
    noisy = normal(60, 2)
    assert torch.equal(permutation_test(noisy, 500, seed=3), permutation_test(noisy, 500, seed=3))


def test_holm_of_known_numbers() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert list(found) == ["a", "b", "c", "d"]
    assert list(found.values()) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_resamples_of_nothing() -> None:
    with pytest.raises(DataError, match="^expected at least 1 image and 1 resample, found 0 and 10$"):
        Resamples(0, 10)
