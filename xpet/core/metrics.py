"""Retrieval metrics and disparity (SPEC section 8): exact, tie-safe, and linear in memory.

Ties are resolved by expected value: a query whose best score is shared by `t` candidates, `p` of them right, counts as
`p/t` found at rank 1. Several captions per image: an image counts as found when any of its captions is on top.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from xpet.core.errors import DataError

CHUNK_CELLS = 16_000_000
"""Cells of the similarity matrix held at a time."""


@dataclass(frozen=True)
class Retrieval:
    """Per-query results in both directions: expected hits at rank 1 and expected reciprocal ranks, each in 0..1."""

    image_hits: Tensor
    text_hits: Tensor
    image_reciprocal: Tensor
    text_reciprocal: Tensor

    @property
    def recall(self) -> float:
        """R@1 in percent: mean of image->text and text->image."""
        return 50.0 * (self.image_hits.double().mean().item() + self.text_hits.double().mean().item())

    @property
    def mrr(self) -> float:
        """Mean reciprocal rank in percent, mean of both directions."""
        return 50.0 * (self.image_reciprocal.double().mean().item() + self.text_reciprocal.double().mean().item())


def retrieval(image: Tensor, text: Tensor, owner: Tensor | None = None) -> Retrieval:
    """Retrieval of images [images, d] by texts [texts, d] and back; `owner[text]` is its image (default: same row).

    Features need not be normalised. Images without a caption are candidates but no queries. Equal texts, and equal
    images, get exactly equal scores. Memory is linear in the number of features (CHUNK_CELLS scores at a time).
    Raises DataError on non-finite or zero features, on which no ranking is defined, and when there are no texts or
    texts without an image.
    """
    owner = torch.arange(len(text), device=text.device) if owner is None else owner.to(text.device)
    if len(owner) != len(text) or not len(text):
        raise DataError(f"expected an image for each of at least 1 text, found {len(owner)} for {len(text)} texts")
    if int(owner.min()) < 0 or int(owner.max()) >= len(image):
        raise DataError(f"expected owners among {len(image)} images, found {int(owner.min())} to {int(owner.max())}")
    image, text = _unit(image, "image"), _unit(text, "text")
    text_hits, text_reciprocal = _search(text, image, owner, torch.arange(len(text), device=text.device))
    queries, place = torch.unique(owner, return_inverse=True)  # images that have captions
    image_hits, image_reciprocal = _search(image[queries], text, torch.arange(len(text), device=text.device), place)
    return Retrieval(image_hits, text_hits, image_reciprocal, text_reciprocal)


def _search(query: Tensor, candidates: Tensor, right: Tensor, of_query: Tensor) -> tuple[Tensor, Tensor]:
    """Expected hit at 1 and reciprocal rank of each query; candidate `right[i]` is right for query `of_query[i]`.

    Distinct candidates are scored once and weighted, so that duplicates tie exactly.
    """
    distinct, place = torch.unique(candidates, dim=0, return_inverse=True)
    weight = torch.bincount(place, minlength=len(distinct)).to(query.dtype)  # how many candidates share a vector
    order = torch.argsort(of_query, stable=True)
    right, of_query = place[right[order]], of_query[order]
    bounds = torch.searchsorted(of_query, torch.arange(len(query) + 1, device=query.device))
    size = max(1, CHUNK_CELLS // max(1, len(distinct)))
    hits, reciprocals = [], []
    for start in range(0, len(query), size):
        stop = min(start + size, len(query))
        scores = query[start:stop] @ distinct.T  # [chunk, distinct]
        mine = slice(int(bounds[start]), int(bounds[stop]))
        row, column = of_query[mine] - start, right[mine]
        best = scores.new_full((stop - start,), -torch.inf).scatter_reduce(0, row, scores[row, column], "amax")
        greater = ((scores > best.unsqueeze(1)) * weight).sum(dim=1)
        tied = ((scores == best.unsqueeze(1)) * weight).sum(dim=1)
        good = torch.zeros_like(best).index_add(0, row, (scores[row, column] == best[row]).to(best.dtype))
        hits.append(torch.where(greater == 0, good / tied, 0.0))
        reciprocals.append(_expected_reciprocal(greater, tied, good))
    return torch.cat(hits), torch.cat(reciprocals)


def _expected_reciprocal(greater: Tensor, tied: Tensor, good: Tensor) -> Tensor:
    """E[1 / rank of the first right one] when `good` of `tied` equal scores behind `greater` better ones are right."""
    value = 1 / (greater + 1)
    for i in (tied > good).nonzero().flatten().tolist():
        value[i] = _mean_reciprocal(int(greater[i]), int(tied[i]), int(good[i]))
    return value


@lru_cache(maxsize=4096)  # collapsed features give every query the same ties
def _mean_reciprocal(greater: int, tied: int, good: int) -> float:
    orders = math.comb(tied, good)
    first = [math.comb(tied - j, good - 1) / orders for j in range(1, tied - good + 2)]
    return sum(chance / (greater + j) for j, chance in enumerate(first, start=1))


def _unit(features: Tensor, what: str) -> Tensor:
    features = features if features.dtype == torch.float64 else features.float()
    norm = features.norm(dim=-1, keepdim=True)
    bad = int((~(norm.isfinite() & (norm > 0))).sum())
    if bad:
        raise DataError(f"expected finite, non-zero {what} features, found {bad} of {len(features)} that are not")
    unit: Tensor = features / norm
    return unit


@dataclass(frozen=True)
class Disparity:
    """Spread of R@1 over languages, in percentage points; `std` is the population standard deviation."""

    mean: float
    range: float
    std: float
    worst: str
    best: str
    mean_gap: float | None
    """Mean of (English - language) over the other languages; None without English."""


def disparity(recall: Mapping[str, float], pivot: str = "en") -> Disparity:
    """Disparity of R@1 per language (English included); raises DataError without any language."""
    if not recall:
        raise DataError("expected R@1 of at least one language, found none")
    values = list(recall.values())
    mean = sum(values) / len(values)
    others = [value for language, value in recall.items() if language != pivot]
    gap = recall[pivot] - sum(others) / len(others) if pivot in recall and others else None
    return Disparity(
        mean=mean,
        range=max(values) - min(values),
        std=math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)),
        worst=min(recall, key=recall.__getitem__),
        best=max(recall, key=recall.__getitem__),
        mean_gap=gap,
    )
