"""R@1 and mean reciprocal rank of many small searches at once, by which a stack of runs is validated.

The same figures as `xpet.core.metrics.retrieval`, in a fixed number of operations whatever the number of runs, and with
a single wait for the device at the end, or none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xpet.core.metrics import retrieval
from xpet.core.ranking import Ranks

MOST_CELLS = 4_000_000
"""Scores held at a time, over all searches."""


@dataclass(frozen=True)
class Scores:
    """Per search R@1 and mean reciprocal rank in percent (mean of both directions), [s] in double precision.

    They are on the CPU, or where the features are if the device was not waited for.
    """

    recall: Tensor
    mrr: Tensor


def is_small(image: Tensor, text: Tensor) -> bool:
    """Whether a search of images [s or 1, n, d] by texts [s, m, d] can be held whole, and so without waiting."""
    return image.shape[1] * text.shape[1] <= MOST_CELLS


def stacked_retrieval(image: Tensor, text: Tensor, image_index: Tensor, waits: bool = True) -> Scores:
    """Searches of images [s, n, d] by texts [s, m, d] and back; `image_index` [s, m] is each text's image.

    Searches of the same images share them, and the image indices, as [1, n, d] and [1, m]. Features need not be
    normalised, but must have a direction. Images without a text are candidates, not queries. Searches too large to be
    held whole are made one by one, in linear memory. Unless it `waits`, nothing is asked of the device, which searches
    that are not small (`is_small`) do in any case.
    """
    size = MOST_CELLS // (image.shape[1] * text.shape[1])
    image_index = image_index.expand(len(text), -1)
    if size == 0:
        searches = zip(image.expand(len(text), -1, -1), text, image_index, strict=True)
        results = [retrieval(*search) for search in searches]
        recall, mrr = ([getattr(result, name) for result in results] for name in ("recall", "mrr"))
        return Scores(torch.tensor(recall, dtype=torch.float64), torch.tensor(mrr, dtype=torch.float64))
    image = _unit(image)
    measure = _on_the_cpu if waits else _on_the_device
    parts = [
        _scores(
            image if len(image) == 1 else image[i : i + size], text[i : i + size], image_index[i : i + size], measure
        )
        for i in range(0, len(text), size)
    ]
    return Scores(torch.cat([part.recall for part in parts]), torch.cat([part.mrr for part in parts]))


Measure = Callable[[Tensor, int], list[tuple[Tensor, Tensor, Tensor]]]
"""Counts [4, s, n + m] and n -> of each direction whether a query counts, its hits at 1 and its reciprocal rank."""


def _scores(image: Tensor, text: Tensor, image_index: Tensor, measure: Measure) -> Scores:
    """The scores [s] of as many searches as fit into memory: unit images [s or 1, n, d], texts [s, m, d]."""
    scores = image @ _unit(text).mT  # [s, n, m]
    right = image_index.unsqueeze(1) == torch.arange(scores.shape[1], device=image_index.device).view(1, -1, 1)
    directions = [_count(scores, right), _count(scores.mT, right.mT)]
    recalls, reciprocals = [], []
    for is_query, hits, reciprocal in measure(torch.cat(directions, dim=2), scores.shape[1]):
        weight = is_query.double() / is_query.sum(dim=1, keepdim=True)
        recalls.append((hits.view_as(weight) * weight).sum(dim=1))
        reciprocals.append((reciprocal.view_as(weight) * weight).sum(dim=1))
    return Scores(50.0 * (recalls[0] + recalls[1]), 50.0 * (reciprocals[0] + reciprocals[1]))


def _on_the_cpu(counts: Tensor, images: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """`Measure` that waits for the counts and looks at them: only ties cost anything."""
    counts, sides = counts.cpu(), []
    for greater, tied, good, is_query in (counts[:, :, :images], counts[:, :, images:]):
        ranks = Ranks(greater.flatten(), tied.flatten(), good.flatten().clamp_min(1))
        sides.append((is_query, ranks.hits(1), ranks.reciprocal()))
    return sides


def _on_the_device(counts: Tensor, images: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """`Measure` that does the same whatever the counts are, and so can be recorded."""
    texts, sides = counts.shape[2] - images, []
    for (greater, tied, good, is_query), candidates in (
        (counts[:, :, :images], texts),
        (counts[:, :, images:], images),
    ):
        good = good.clamp_min(1)
        missed = (tied - good).double().clamp_min(0) / tied.double().clamp_min(1)
        hits = torch.where(greater == 0, 1 - missed, 0.0)
        sides.append((is_query, hits, _mean_reciprocals(greater, tied, good, candidates)))
    return sides


def _mean_reciprocals(greater: Tensor, tied: Tensor, good: Tensor, candidates: int) -> Tensor:
    """E[1 / (greater + J)] [s, q]: J is the position of the first of `good` right ones among `tied` in random order.

    P(J = j) = C(tied - j, good - 1) / C(tied, good), of which the logarithms are summed. Counts are [s, q].
    """
    factorial = torch.arange(1, candidates + 2, dtype=torch.float64, device=tied.device).lgamma()  # log of 0!, 1!, ...
    position = torch.arange(1, candidates + 1, device=tied.device)  # [candidates]
    wrong = (tied - good).clamp_min(0)
    outside = factorial[tied] - factorial[good] - factorial[wrong]  # [s, q]; zero where nothing is undecided
    later = (tied.unsqueeze(-1) - position).clamp_min(0)  # [s, q, candidates], as all that follows
    inside = factorial[later] - factorial[good - 1].unsqueeze(-1)
    inside = inside - factorial[(later - good.unsqueeze(-1) + 1).clamp_min(0)]
    chance = torch.where(position <= wrong.unsqueeze(-1) + 1, (inside - outside.unsqueeze(-1)).exp(), 0.0)
    chance = torch.where(tied.unsqueeze(-1) > 0, chance, 0.0)
    return (chance / (greater.unsqueeze(-1) + position)).sum(dim=-1)


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
