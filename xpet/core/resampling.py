"""Resampling of images: the paired bootstrap, the paired permutation test, and Holm's correction.

The test images are the sample; captions belong to them, and the candidates of a search stay fixed. One `Resamples` is
used for every language, direction and system of a report, so that figures computed from the same resamples may be
subtracted and combined (disparity, differences between systems) and keep their correlation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from xpet.core.errors import DataError
from xpet.core.estimates import Estimate

CHUNK_CELLS = 2_000_000
"""Cells (resamples x images) worked on at a time."""
KEEP_BYTES = 128_000_000
"""Resamples up to this size are drawn once and kept; larger ones are drawn again at every use."""
ROUNDING = 1e-9
"""Sums of weights closer than this (relative) are equal; fractions such as 1/3 do not add up exactly."""


class Resamples:
    """`count` resamples of `images` images with replacement: how often each is drawn (multinomial), from a seed.

    The same arguments give the same resamples on every machine and however much memory there is.
    """

    def __init__(self, images: int, count: int = 10_000, seed: int = 0) -> None:
        """Raises DataError without images or resamples."""
        if images < 1 or count < 1:
            raise DataError(f"expected at least 1 image and 1 resample, found {images} and {count}")
        self.images, self.count, self.seed = images, count, seed
        self._kept: list[Tensor] = []

    def chunks(self) -> Iterator[Tensor]:
        """Draws per image [chunk, images], double; all chunks together have `count` rows."""
        if self._kept:
            yield from (part.double() for part in self._kept)
            return
        keep, kept = self.count * self.images <= KEEP_BYTES, []
        for part in self._draw():
            if keep:
                kept.append(part.to(torch.uint8))  # an image drawn more than 255 times is out of reach
            yield part.double()
        self._kept = kept

    def _draw(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        size = max(1, CHUNK_CELLS // self.images)
        for start in range(0, self.count, size):
            rows = min(size, self.count - start)
            drawn = torch.randint(self.images, (rows, self.images), generator=generator)
            drawn += torch.arange(rows).unsqueeze(1) * self.images
            yield torch.bincount(drawn.flatten(), minlength=rows * self.images).view(rows, self.images)

    def ratio(self, sums: Tensor, weights: Tensor) -> Tensor:
        """Weighted means [count, figures]: sums [images, figures] over weights, each summed over the drawn images.

        NaN where a resample holds nothing of a figure.
        """
        return torch.cat([ratio(drawn, sums, weights) for drawn in self.chunks()])

    def median(self, values: Tensor, image: Tensor, weight: Tensor | None = None) -> Tensor:
        """Medians [count] of values [n]; value `i` counts as often as its `image[i]` is drawn, times `weight[i]`."""
        median = Median(values, image, weight, self.images)
        return torch.cat([median(drawn) for drawn in self.chunks()])


def ratio(drawn: Tensor, sums: Tensor, weights: Tensor) -> Tensor:
    """Sums [images, figures] over weights, for every row of drawn [b, images]: a tensor [b, figures]."""
    means: Tensor = (drawn @ sums) / (drawn @ weights)
    return means


class Median:
    """Weighted median of values that belong to images; the mean of the two middle ones where two share the middle."""

    def __init__(self, values: Tensor, image: Tensor, weight: Tensor | None, images: int) -> None:
        """Sort the values, and prepare those within six standard errors of the median: few draws need the others."""
        weight = torch.ones(len(values)) if weight is None else weight
        order = torch.argsort(values, stable=True)
        self.entries = values[order].double(), image[order], weight[order].double()
        self.total = _per_image(images, *self.entries[1:])
        reach = 3.0 / images**0.5  # six standard errors of the share of images below the median, 0.5 / sqrt(n) each
        first, last = (round((0.5 + side * reach) * len(values)) for side in (-1, 1))
        self.near = _Window(images, *self.entries, max(0, first), min(len(values), last + 1))

    def __call__(self, drawn: Tensor) -> Tensor:
        """Medians [b] for drawn [b, images]; NaN where nothing was drawn."""
        half = drawn @ self.total / 2
        medians, inside = self.near.middle(drawn, half)
        if not bool((inside | (half == 0)).all()):
            medians, _ = _Window(len(self.total), *self.entries, 0, len(self.entries[0])).middle(drawn, half)
        return torch.where(half > 0, medians, torch.nan)


class _Window:
    """The sorted entries `first` to `last` - 1, and the total weight of those before them."""

    def __init__(self, images: int, values: Tensor, image: Tensor, weight: Tensor, first: int, last: int) -> None:
        self.image, self.weight = image[first:last], weight[first:last]
        self.below = _per_image(images, image[:first], weight[:first]).unsqueeze(1)
        steps, column = torch.unique(values[first:last], return_inverse=True)
        self.sums, self.values = None, torch.cat([values[:1], values[first:last]])
        if images * len(steps) < 300 * (last - first):  # one matrix product is then quicker than picking entries
            table = torch.zeros(images, len(steps), dtype=torch.float64)
            table.index_put_((self.image, column), self.weight, accumulate=True)
            self.sums, self.values = torch.cat([self.below, table], dim=1).cumsum(dim=1), torch.cat([steps[:1], steps])

    def middle(self, drawn: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
        """Medians [b], and whether both middle values lie in the window [b]."""
        if self.sums is None:
            picked = drawn.index_select(1, self.image) * self.weight
            reached = torch.cat([drawn @ self.below, picked], dim=1).cumsum(dim=1)
        else:
            reached = drawn @ self.sums
        slack = ROUNDING * half
        lower = torch.searchsorted(reached, (half - slack).unsqueeze(1)).squeeze(1)
        upper = torch.searchsorted(reached, (half + slack).unsqueeze(1), right=True).squeeze(1)
        last = len(self.values) - 1
        middle = (self.values[lower.clamp(max=last)] + self.values[upper.clamp(max=last)]) / 2
        return middle, (lower > 0) & (upper <= last)


def _per_image(images: int, image: Tensor, weight: Tensor) -> Tensor:
    """Sum of the weights [n] of each image: a tensor [images], double."""
    return torch.zeros(images, dtype=torch.float64).index_add_(0, image, weight)


def interval(values: Tensor, level: float = 0.95) -> tuple[Tensor, Tensor]:
    """Percentile interval over the first dimension of values [count, ...]: lower and upper bounds [...].

    Resamples without the figure (NaN) are left out. Linear between order statistics. Bounds are NaN for a figure that
    no resample has.
    """
    import numpy as np

    shares = [(1 - level) / 2, (1 + level) / 2]
    table = values.reshape(len(values), -1).numpy()
    bounds = np.quantile(table, shares, axis=0)
    partly = np.flatnonzero(np.isnan(table).any(axis=0) & ~np.isnan(table).all(axis=0))
    if len(partly):
        bounds[:, partly] = np.nanquantile(table[:, partly], shares, axis=0)
    low, high = torch.from_numpy(bounds).view(2, *values.shape[1:])
    return low, high


def estimates(value: Tensor, replicates: Tensor | None) -> Any:
    """Estimates in nested lists shaped like `value`; percentile intervals of `replicates` [count, *shape], if given."""
    low, high = (None, None) if replicates is None else interval(replicates)

    def nested(*parts: Tensor | None) -> Any:
        first = parts[0]
        assert first is not None
        if first.ndim == 0:
            return Estimate(*(None if part is None else float(part) for part in parts))  # type: ignore[arg-type]
        return [nested(*(None if part is None else part[i] for part in parts)) for i in range(len(first))]

    return nested(value, low, high)


def permutation_test(differences: Tensor, count: int = 10_000, seed: int = 0) -> Tensor:
    """Two-sided p [figures] that paired differences [images, figures] sum to 0: random flips of their signs.

    Under the hypothesis the two systems are exchangeable on every image. p = (1 + flips whose sum is at least as far
    from 0 as the observed one) / (1 + count), never 0 (Phipson and Smyth 2010). The same flips serve all figures.
    """
    changed = differences.double()
    changed = changed[(changed != 0).any(dim=1)]  # the others contribute nothing, whatever their sign
    observed = changed.sum(dim=0).abs()
    slack = ROUNDING * changed.abs().sum(dim=0)
    generator = torch.Generator().manual_seed(seed)
    extreme = torch.zeros(differences.shape[1], dtype=torch.int64)
    size = max(1, CHUNK_CELLS // max(1, len(changed)))
    for start in range(0, count, size):
        flips = torch.randint(2, (min(size, count - start), len(changed)), generator=generator, dtype=torch.int8)
        sums = (flips.double() * 2 - 1) @ changed
        extreme += (sums.abs() >= observed - slack).sum(dim=0)
    return (1 + extreme).double() / (1 + count)


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """p-values, by name, corrected for their number (Holm 1979): step-down Bonferroni, monotone, at most 1."""
    corrected: dict[str, float] = {}
    highest = 0.0
    for smaller, name in enumerate(sorted(p, key=p.__getitem__)):
        highest = max(highest, min(1.0, (len(p) - smaller) * p[name]))
        corrected[name] = highest
    return {name: corrected[name] for name in p}
