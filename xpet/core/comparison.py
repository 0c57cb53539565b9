"""Differences between two systems on the same test images: paired intervals and paired permutation tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xpet.core.disparity import disparity_estimates, disparity_figures
from xpet.core.errors import DataError
from xpet.core.estimates import ComparisonEstimates, DifferenceEstimates, Estimate
from xpet.core.metrics import Retrieval
from xpet.core.resampling import Resamples, estimates, holm, permutation_test, ratio
from xpet.core.statistics import one_size


@dataclass(frozen=True)
class Hits:
    """Expected hits at rank 1 per image [images] of one language, enough to compare systems later.

    `image` is image->text (0 without captions), `text` the sum over the image's captions of text->image, `captions`
    how many it has (a caption of m images counts 1/m for each).
    """

    image: Tensor
    text: Tensor
    captions: Tensor


def hits(results: Retrieval | Mapping[int, Retrieval]) -> Hits:
    """Hits at 1 per image of one language, averaged over seeds where there are several (seed -> retrieval)."""
    retrievals = [results] if isinstance(results, Retrieval) else list(results.values())
    sums = [
        torch.stack([direction.per_image(direction.ranks.hits(1)) for direction in result.directions])
        for result in retrievals
    ]
    image_to_text, text_to_image = torch.stack(sums).mean(dim=0)
    return Hits(image_to_text, text_to_image, retrievals[0].directions[1].per_image())


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
    correction is over them. Raises DataError without a common language, and when the two were measured on different
    images or captions.
    """
    names = [lang for lang in reference if lang in system]
    images = one_size([len(side[lang].image) for side in (reference, system) for lang in names], resamples)
    _check_captions(names, reference, system)
    sides = [_RecallTable([side[lang] for lang in names]) for side in (reference, system)]
    each_once = torch.ones(1, images).double()
    value = [side(each_once) for side in sides]
    chunks = [] if resamples is None else [[side(draws) for side in sides] for draws in resamples.chunks()]
    drawn = None if resamples is None else [torch.cat(parts) for parts in zip(*chunks, strict=True)]
    p = _p_values(names, sides[1].shares - sides[0].shares, permutations, seed, tested)
    corrected = holm(p)
    changes = estimates((value[1] - value[0])[0], None if drawn is None else drawn[1] - drawn[0])
    languages = {
        lang: DifferenceEstimates(r1, p.get(lang), corrected.get(lang)) for lang, r1 in zip(names, changes, strict=True)
    }
    mean, range_, std, gap = _disparity_changes(value, drawn, names.index(pivot) if pivot in names else None)
    return ComparisonEstimates(languages, mean, range_, std, None if math.isnan(gap.value) else gap)


def _check_captions(languages: Sequence[str], reference: Mapping[str, Hits], system: Mapping[str, Hits]) -> None:
    """Raise DataError unless both have as many captions of every image in these languages."""
    for lang in languages:
        if not torch.allclose(reference[lang].captions.double(), system[lang].captions.double()):
            raise DataError(f"{lang}: expected both systems on the same captions per image, found others")


def _p_values(
    languages: Sequence[str], differences: Tensor, permutations: int, seed: int, tested: Sequence[str] | None
) -> dict[str, float]:
    """The permutation test's p per tested language, from differences [images, languages]; empty without any."""
    if not permutations:
        return {}
    p = zip(languages, permutation_test(differences, permutations, seed).tolist(), strict=True)
    return {lang: value for lang, value in p if tested is None or lang in tested}


def _disparity_changes(value: Sequence[Tensor], drawn: Sequence[Tensor] | None, pivot: int | None) -> list[Estimate]:
    """Change of mean, range, std and mean gap from R@1 [b, languages] of reference and system."""

    def change(tables: Sequence[Tensor]) -> Tensor:
        before, after = (disparity_figures(r1, None if pivot is None else r1[..., pivot], pivot) for r1 in tables)
        return after - before

    return disparity_estimates(change(value)[0], None if drawn is None else change(drawn), least=-math.inf)


class _RecallTable:
    """Mean R@1 in percent of several languages as a function of the draws: [b, images] -> [b, languages].

    `shares` [images, languages] is what each image contributes when all are drawn once, summing to R@1 / 100.
    """

    def __init__(self, languages: Sequence[Hits]) -> None:
        sums = [part.double() for scored in languages for part in (scored.image, scored.text)]
        weights = [part.double() for scored in languages for part in (scored.captions > 0, scored.captions)]
        self.sums, self.weights = torch.stack(sums, dim=1), torch.stack(weights, dim=1)
        self.shares = (self.sums / self.weights.sum(dim=0)).view(len(self.sums), -1, 2).mean(dim=2)

    def __call__(self, drawn: Tensor) -> Tensor:
        return 100 * ratio(drawn, self.sums, self.weights).view(len(drawn), -1, 2).mean(dim=2)
