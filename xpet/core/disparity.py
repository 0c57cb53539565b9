"""Disparity between languages: the one formula, its mean over seeds, and its bootstrap interval.

Disparity is that of R@1 in percent (the mean of image->text and text->image) over languages, English included: mean,
range, population standard deviation, and the mean gap to English.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from xpet.core.errors import DataError
from xpet.core.estimates import Disparity, Estimate
from xpet.core.resampling import estimates


def disparity_figures(recall: Tensor, pivot: Tensor | None = None, pivot_column: int | None = None) -> Tensor:
    """Mean, range, population std and mean gap of R@1 `recall` [..., languages]: a tensor [..., 4], in points.

    `pivot` [...] is R@1 of English, `pivot_column` its column where it is one of the languages. The gap is the mean of
    (English - language) over the others; NaN without English or without others.
    """
    mean_gap = torch.full_like(recall[..., 0], torch.nan)
    others = [column for column in range(recall.shape[-1]) if column != pivot_column]
    if pivot is not None and others:
        mean_gap = pivot - recall[..., others].mean(dim=-1)
    range_ = recall.amax(dim=-1) - recall.amin(dim=-1)
    return torch.stack([recall.mean(dim=-1), range_, recall.std(dim=-1, correction=0), mean_gap], dim=-1)


def disparity(recall: Mapping[str, float], pivot: str = "en") -> Disparity[float]:
    """Disparity of R@1 per language (English included); raises DataError without any language."""
    return mean_disparity([recall], pivot)


def mean_disparity(per_seed: Sequence[Mapping[str, float]], pivot: str = "en") -> Disparity[float]:
    """Disparity of R@1 per language, computed for each seed and averaged; all seeds have the same languages.

    `worst` and `best` are by the means over seeds. Raises DataError without any language.
    """
    if not per_seed or not per_seed[0]:
        raise DataError("expected R@1 of at least one language, found none")
    languages = tuple(per_seed[0])
    table = torch.tensor([[recall[language] for language in languages] for recall in per_seed], dtype=torch.float64)
    column = languages.index(pivot) if pivot in languages else None
    figures = disparity_figures(table, None if column is None else table[:, column], column)
    mean, range_, std, mean_gap = (statistics.fmean(figure) for figure in figures.T.tolist())
    average = {language: statistics.fmean(recall[language] for recall in per_seed) for language in languages}
    return Disparity(languages, mean, range_, std, *extremes(average), None if math.isnan(mean_gap) else mean_gap)


def disparity_over_seeds(
    trained: Mapping[str, Mapping[int, float]], base: Mapping[str, float], pivot: str = "en"
) -> Disparity[float]:
    """Disparity when the languages of `trained` (seed -> R@1) have their modules and the others R@1 of the base.

    Computed for each seed and averaged; a language without a seed stands in with its mean.
    """
    means = {language: statistics.fmean(by_seed.values()) for language, by_seed in trained.items()}
    seeds = sorted({seed for by_seed in trained.values() for seed in by_seed})
    per_seed = [
        {**base, **{lang: by_seed.get(seed, means[lang]) for lang, by_seed in trained.items()}} for seed in seeds
    ]
    return mean_disparity(per_seed, pivot)


def extremes(recall: Mapping[str, float]) -> tuple[str, str]:
    """The languages with the lowest and the highest R@1; of equal ones the first."""
    return min(recall, key=recall.__getitem__), max(recall, key=recall.__getitem__)


def disparity_estimates(value: Tensor, replicates: Tensor | None, least: float = 0.0) -> list[Estimate]:
    """Estimates of what `disparity_figures` gives: value [4], replicates [count, 4]; range and std at least `least`.

    Noise pulls the best and the worst language apart: the range of a sample lies above the population's, and that of
    a resample above the sample's by about as much again. A percentile interval has this error twice and misses the
    truth when languages are close (which alignment makes them); the basic interval, the percentiles mirrored at the
    value (Davison and Hinkley 1997, section 5.2), removes it. Simulated with 11 languages, 1,000 images, nominal
    95 %: true range 34 points: percentile 96 %, basic 93 %; 8.8 points: 77 and 92 %; 3.5 points: 8 and 93 %; the
    bias-corrected percentile lies between (93, 88, 70 %). Where all languages are truly equal none of them covers. The
    value itself is not corrected, and may lie above its interval.
    """
    figures: list[Estimate] = estimates(value, replicates)
    if replicates is not None:
        for i in (1, 2):
            middle, low, high = figures[i].value, figures[i].low or 0.0, figures[i].high or 0.0
            figures[i] = Estimate(middle, max(least, 2 * middle - high), max(least, 2 * middle - low))
    return figures
