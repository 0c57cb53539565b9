"""Figures of one system with their uncertainty: retrieval per language, and disparity (differences: `comparison`).

Every figure is a function of how often each image is drawn. Its value is that of drawing each image once, its interval
comes from the bootstrap's draws, which are the same for all figures (paired). Recalls and MRR are percent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from xpet.core.disparity import disparity_estimates, disparity_figures, extremes
from xpet.core.errors import DataError
from xpet.core.estimates import DirectionEstimates, Disparity, Estimate, LanguageEstimates, SystemEstimates
from xpet.core.metrics import Retrieval
from xpet.core.resampling import Median, Resamples, estimates, ratio
from xpet.core.seeds import over_seeds

KS = (1, 5, 10)
"""Ranks k of R@k."""
RATIOS = len(KS) + 1
"""Figures that are means over queries: recall at each rank, and MRR."""
MEAN = 2
"""Index of the mean of both directions, behind image to text (0) and text to image (1)."""
Results = Mapping[str, "Retrieval | Mapping[int, Retrieval]"]
"""Language -> its retrieval, or seed -> retrieval where a setting was trained with several seeds."""
SeedRows = Mapping[str, Mapping[int, int]]
"""Language -> seed -> row of its retrieval in the table of figures."""


def estimate(
    results: Results,
    resamples: Resamples | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    pivot: str = "en",
) -> SystemEstimates:
    """Figures of one system on the same test images in every language; intervals where resamples are given.

    With several seeds, disparity is that of each seed, averaged; a language that lacks a seed counts there with its
    mean over the seeds it has. `groups` name languages; those that were not measured are left out, and a group of none
    of them is dropped.
    Raises DataError without languages, on results of different numbers of images, or on resamples of others.
    """
    rows, retrievals = _rows(results)
    images = one_size([retrieval.directions[0].images for retrieval in retrievals], resamples)
    figures = _SystemFigures(retrievals)
    value = figures(torch.ones(1, images).double())
    drawn = None if resamples is None else torch.cat([figures(draws) for draws in resamples.chunks()])
    languages = {lang: _language(retrievals, list(seeds.values()), value, drawn) for lang, seeds in rows.items()}
    r1 = _by_seed(value[:, :, MEAN, 0], rows), None if drawn is None else _by_seed(drawn[:, :, MEAN, 0], rows)
    names = list(rows)
    members = {group: [lang for lang in names if lang in listed] for group, listed in (groups or {}).items()}
    within = {group: _disparity(chosen, names, *r1, pivot) for group, chosen in members.items() if chosen}
    return SystemEstimates(languages, _disparity(names, names, *r1, pivot), within)


def _rows(results: Results) -> tuple[SeedRows, list[Retrieval]]:
    """All retrievals in a list, and where each language and seed stands in it."""
    rows: dict[str, dict[int, int]] = {}
    retrievals: list[Retrieval] = []
    for language, measured in results.items():
        seeds = {0: measured} if isinstance(measured, Retrieval) else measured
        rows[language] = {seed: len(retrievals) + i for i, seed in enumerate(seeds)}
        retrievals += seeds.values()
    return rows, retrievals


def one_size(images: Sequence[int], resamples: Resamples | None) -> int:
    """The number of images, which all results and the resamples share; raises DataError where they differ."""
    if not images:
        raise DataError("expected R@1 of at least one language, found none")
    sizes = sorted({*images, *([] if resamples is None else [resamples.images])})
    if len(sizes) > 1:
        raise DataError(f"expected results and resamples of the same images, found {' and '.join(map(str, sizes))}")
    return sizes[0]


class _SystemFigures:
    """All figures of several retrievals as a function of the draws: [b, images] -> [b, retrievals, 3, figures].

    Third axis: image->text, text->image, mean. Figures: R@1, R@5, R@10, MRR (percent), median rank.
    """

    def __init__(self, retrievals: Sequence[Retrieval]) -> None:
        sums: list[Tensor] = []
        weights: list[Tensor] = []
        self.medians: list[Median] = []
        for direction in (direction for retrieval in retrievals for direction in retrieval.directions):
            per_query = [*(direction.ranks.hits(k) for k in KS), direction.ranks.reciprocal()]
            sums += map(direction.per_image, per_query)
            weights += [direction.per_image()] * RATIOS
            expected = direction.ranks.expected()[direction.query]
            self.medians.append(Median(expected, direction.image, direction.weight, direction.images))
        self.sums, self.weights = torch.stack(sums, dim=1), torch.stack(weights, dim=1)

    def __call__(self, drawn: Tensor) -> Tensor:
        shares = 100 * ratio(drawn, self.sums, self.weights).view(len(drawn), -1, 2, RATIOS)
        medians = torch.stack([median(drawn) for median in self.medians], dim=1).view(len(drawn), -1, 2, 1)
        figures = torch.cat([shares, medians], dim=3)  # [b, retrievals, 2 directions, figures]
        return torch.cat([figures, figures.mean(dim=2, keepdim=True)], dim=2)


def _language(
    retrievals: Sequence[Retrieval], rows: Sequence[int], value: Tensor, drawn: Tensor | None
) -> LanguageEstimates:
    """One language from its rows (seeds) of value [1, retrievals, 3, figures] and replicates [b, ...]."""
    lines = estimates(value[0, rows].mean(dim=0), None if drawn is None else drawn[:, rows].mean(dim=1))
    image_to_text, text_to_image, mean = (DirectionEstimates(*line) for line in lines)
    first, (_, std) = retrievals[rows[0]], over_seeds(value[0, rows, MEAN, 0].tolist())
    queries = len(first.image_hits), len(first.text_hits)
    return LanguageEstimates(*queries, image_to_text, text_to_image, mean, len(rows), std)


def _by_seed(r1: Tensor, rows: SeedRows) -> Tensor:
    """R@1 [b, retrievals] -> [b, seeds, languages]; a language that lacks a seed gives its mean."""
    seeds: list[int | None] = [*sorted({seed for by_seed in rows.values() if len(by_seed) > 1 for seed in by_seed})]
    tables = []
    for seed in seeds or [None]:
        picked = [
            [by_seed[seed]] if seed is not None and seed in by_seed else list(by_seed.values())
            for by_seed in rows.values()
        ]
        tables.append(torch.stack([r1[:, columns].mean(dim=1) for columns in picked], dim=1))
    return torch.stack(tables, dim=1)


def _disparity(
    members: Sequence[str], languages: Sequence[str], value: Tensor, drawn: Tensor | None, pivot: str
) -> Disparity[Estimate]:
    """Disparity of some languages from R@1 [1, seeds, languages] and its replicates [b, seeds, languages]."""
    columns = [languages.index(language) for language in members]

    def figures(table: Tensor) -> Tensor:
        english = table[..., languages.index(pivot)] if pivot in languages else None
        pivot_column = members.index(pivot) if pivot in members else None
        return disparity_figures(table[..., columns], english, pivot_column).mean(dim=1)

    mean, range_, std, gap = disparity_estimates(figures(value)[0], None if drawn is None else figures(drawn))
    worst, best = extremes(dict(zip(members, value[0].mean(dim=0)[columns].tolist(), strict=True)))
    return Disparity(tuple(members), mean, range_, std, worst, best, None if math.isnan(gap.value) else gap)
