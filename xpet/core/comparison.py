"""Differences between two systems on the same test images: paired intervals and paired permutation tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xpet.core.errors import DataError
from xpet.core.metrics import Retrieval
from xpet.core.resampling import Resamples, holm, permutation_test, ratio
from xpet.core.statistics import Estimate, estimates, one_size, spread, spread_estimates


@dataclass(frozen=True)
class Hits:
    """Expected hits at rank 1 per image [images] of one language, enough to compare systems later.

    `image` is image->text (0 without captions), `text` the sum over the image's captions of text->image, `captions`
    how many it has (a caption of m images counts 1/m for each).
    """

    image: Tensor
    text: Tensor
    captions: Tensor


@dataclass(frozen=True)
class DifferenceEstimates:
    """Mean R@1 of one language, system minus reference, in points; p of the paired permutation test, and Holm's."""

    r1: Estimate
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class ComparisonEstimates:
    """What changes from the reference to a system, per language and in disparity (of R@1 averaged over seeds)."""

    languages: Mapping[str, DifferenceEstimates]
    mean: Estimate
    range: Estimate
    std: Estimate
    mean_gap: Estimate | None


def hits(result: Retrieval | Mapping[int, Retrieval]) -> Hits:
    """Hits at 1 per image of one language, averaged over seeds where there are several (seed -> retrieval)."""
    seeds = [result] if isinstance(result, Retrieval) else list(result.values())
    sums = [torch.stack([search.per_image(search.ranks.hits(1)) for search in found.searches]) for found in seeds]
    forth, back = torch.stack(sums).mean(dim=0)
    return Hits(forth, back, seeds[0].searches[1].per_image())


def compare(
    reference: Mapping[str, Hits],
    system: Mapping[str, Hits],
    resamples: Resamples | None = None,
    permutations: int = 10_000,
    seed: int = 0,
    pivot: str = "en",
    tested: Sequence[str] | None = None,
) -> ComparisonEstimates:
    """Differences, system minus reference, over the languages of both; no p where no permutations are asked for.

    `tested` are the languages that the systems search differently (default: all): only these are tests, and Holm's
    correction is over them. Raises DataError without a common language, and when the two were
    measured on different images or captions.
    """
    names = [lang for lang in reference if lang in system]
    images = one_size([len(side[lang].image) for side in (reference, system) for lang in names], resamples)
    for lang in names:
        if not torch.allclose(reference[lang].captions.double(), system[lang].captions.double()):
            raise DataError(f"{lang}: expected both systems on the same captions per image, found others")
    before, after = (_Table([side[lang] for lang in names]) for side in (reference, system))
    once = torch.ones(1, images).double()
    value, drawn = (before(once), after(once)), None
    if resamples is not None:
        parts = [(before(part), after(part)) for part in resamples.chunks()]
        drawn = (torch.cat([one for one, _ in parts]), torch.cat([other for _, other in parts]))
    p: dict[str, float] = {}
    if permutations:
        found = permutation_test(after.shares - before.shares, permutations, seed)
        p = {lang: value for lang, value in zip(names, found.tolist(), strict=True) if tested is None or lang in tested}
    corrected = holm(p)
    moved = estimates((value[1] - value[0])[0], None if drawn is None else drawn[1] - drawn[0])
    languages = {
        lang: DifferenceEstimates(r1, p.get(lang), corrected.get(lang)) for lang, r1 in zip(names, moved, strict=True)
    }
    mean, extent, std, gap = _spreads(value, drawn, names.index(pivot) if pivot in names else None)
    return ComparisonEstimates(languages, mean, extent, std, None if math.isnan(gap.value) else gap)


def _spreads(value: Sequence[Tensor], drawn: Sequence[Tensor] | None, pivot: int | None) -> list[Estimate]:
    """Change of mean, range, std and mean gap from R@1 [b, languages] of reference and system."""

    def moved(tables: Sequence[Tensor]) -> Tensor:
        before, after = (spread(table, None if pivot is None else table[..., pivot], pivot) for table in tables)
        return after - before

    return spread_estimates(moved(value)[0], None if drawn is None else moved(drawn), least=-math.inf)


class _Table:
    """Mean R@1 in percent of several languages as a function of the draws: [b, images] -> [b, languages].

    `shares` [images, languages] is what each image contributes when all are drawn once, summing to R@1 / 100.
    """

    def __init__(self, languages: Sequence[Hits]) -> None:
        sums = [part.double() for one in languages for part in (one.image, one.text)]
        weights = [part.double() for one in languages for part in ((one.captions > 0), one.captions)]
        self.sums, self.weights = torch.stack(sums, dim=1), torch.stack(weights, dim=1)
        self.shares = (self.sums / self.weights.sum(dim=0)).view(len(self.sums), -1, 2).mean(dim=2)

    def __call__(self, drawn: Tensor) -> Tensor:
        return 100 * ratio(drawn, self.sums, self.weights).view(len(drawn), -1, 2).mean(dim=2)
