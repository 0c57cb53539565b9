"""R@1 and mean reciprocal rank of many small searches at once, by which a stack of runs is validated.

The same figures as `xpet.core.metrics.retrieval`, in a fixed number of operations whatever the number of runs, and with
a single wait for the device at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xpet.core.metrics import retrieval
from xpet.core.ranking import Ranks

MOST_CELLS = 4_000_000
"""Scores held at a time, over all searches."""


@dataclass(frozen=True)
class Scores:
    """Per search R@1 and mean reciprocal rank in percent (mean of both directions), on the CPU in double precision."""

    recall: Tensor
    mrr: Tensor


def stacked_retrieval(image: Tensor, text: Tensor, image_index: Tensor) -> Scores:
    """Searches of images [s, n, d] by texts [s, m, d] and back; `image_index` [s, m] is each text's image.

    Searches of the same images share them, and the image indices, as [1, n, d] and [1, m]. Features need not be
    normalised, but must have a direction. Images without a text are candidates, not queries. Searches too large to be
    held whole are made one by one, in linear memory.
    """
    size = MOST_CELLS // (image.shape[1] * text.shape[1])
    image_index = image_index.expand(len(text), -1)
    if size == 0:
        searches = zip(image.expand(len(text), -1, -1), text, image_index, strict=True)
        results = [retrieval(*search) for search in searches]
        recall, mrr = ([getattr(result, name) for result in results] for name in ("recall", "mrr"))
        return Scores(torch.tensor(recall, dtype=torch.float64), torch.tensor(mrr, dtype=torch.float64))
    image = _unit(image)
    parts = [
        _scores(image if len(image) == 1 else image[i : i + size], text[i : i + size], image_index[i : i + size])
        for i in range(0, len(text), size)
    ]
    return Scores(torch.cat([part.recall for part in parts]), torch.cat([part.mrr for part in parts]))


def _scores(image: Tensor, text: Tensor, image_index: Tensor) -> Scores:
    """The scores [s] of as many searches as fit into memory: unit images [s or 1, n, d], texts [s, m, d]."""
    scores = image @ _unit(text).mT  # [s, n, m]
    right = image_index.unsqueeze(1) == torch.arange(scores.shape[1], device=image_index.device).view(1, -1, 1)
    directions = [_count(scores, right), _count(scores.mT, right.mT)]
    counts = torch.cat(directions, dim=2).cpu()  # [4, s, n + m]
    images = scores.shape[1]
    recalls, reciprocals = [], []
    for side in (counts[:, :, :images], counts[:, :, images:]):
        greater, tied, good, is_query = side
        ranks = Ranks(greater.flatten(), tied.flatten(), good.flatten().clamp_min(1))
        weight = is_query.double() / is_query.sum(dim=1, keepdim=True)
        recalls.append((ranks.hits(1).view_as(weight) * weight).sum(dim=1))
        reciprocals.append((ranks.reciprocal().view_as(weight) * weight).sum(dim=1))
    return Scores(50.0 * (recalls[0] + recalls[1]), 50.0 * (reciprocals[0] + reciprocals[1]))


def _count(scores: Tensor, right: Tensor) -> Tensor:
    """Counts [4, s, queries] from scores [s, queries, candidates], `right` where a candidate is right for a query.

    Of each query's best right candidate: how many candidates score above it, how many share its score, how many of
    these are right; and whether the query has a right candidate at all.
    """
    best = scores.masked_fill(~right, -torch.inf).amax(dim=2, keepdim=True)
    equal = scores == best
    counts = [(scores > best).sum(dim=2), equal.sum(dim=2), (equal & right).sum(dim=2), right.any(dim=2).long()]
    return torch.stack(counts)


def _unit(features: Tensor) -> Tensor:
    features = features.detach()
    features = features if features.dtype == torch.float64 else features.float()
    unit: Tensor = features / features.norm(dim=-1, keepdim=True)
    return unit
