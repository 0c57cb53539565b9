"""Why a language is weak: the geometry of its embeddings against English and against the pictures.

What to do depends on the cause. Either the tower knows a language's words but places them wrongly (*geometric*: a few
captioned pictures can move them), or it does not know the words (*lexical*: they cannot). `recovery` decides by fitting
a shift, rotation and scale that bring half of the captions onto their English ones, and by searching with the other
half: such a map mends a wrong place, but cannot teach words. A free linear map can (in the demo's small world it
relearns a randomised vocabulary from 500 pairs), which is why it is not used. The bounds below were set by experiment
on the demo world; `tests/core/test_diagnosis.py` and `tests/jobs/eval/test_diagnose.py` hold the cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from xpet.core.errors import DataError
from xpet.core.metrics import retrieval
from xpet.core.ranking import CHUNK_CELLS

NEIGHBOURS = 10
"""Nearest candidates of a query that count as a hub's."""
MIN_PAIRS = 80
"""Fewer pairs fit no map: with 40 the demo's displaced languages came out anywhere between 0 and 1."""
MOST_IMAGES = 5000
"""Pictures that `recovery` uses at most: more only take time."""
NO_GAP = 5.0
"""Points of R@1 behind English (among half the pictures) below which 100 shots bring nothing measurable."""
GEOMETRIC, LEXICAL = 0.8, 0.6
"""Share of the gap closed from which on it is geometric, up to which it is lexical.

Measured on the demo (1,000 pairs, rows of a language's own tokens replaced by unknown, random or shuffled ones): the
displaced languages as they are 0.89 to 1.01; with 30 to 100 % of the tokens replaced 0 to 0.48; with 10 % replaced,
where both causes mix, 0.38 to 0.77.
"""


def _unit(features: Tensor) -> Tensor:
    return normalize(features.double(), dim=1)


def modality_gap(image: Tensor, text: Tensor) -> float:
    """Distance between the centres of unit image [n, d] and unit text features [m, d], 0..2 (Liang et al. 2022)."""
    return float((_unit(image).mean(dim=0) - _unit(text).mean(dim=0)).norm())


def anisotropy(features: Tensor) -> float:
    """Mean cosine of all pairs of different rows of [n, d] (Ethayarajh 2019): 0 isotropic, 1 all one direction.

    In closed form: the sum over all pairs is the squared norm of the sum. 1.0 for a single row.
    """
    rows = len(features)
    if rows < 2:
        return 1.0
    total = float(_unit(features).sum(dim=0).square().sum())
    return (total - rows) / (rows * (rows - 1))


def alignment(text: Tensor, english: Tensor) -> float:
    """Mean cosine of paired rows of [n, d]."""
    return float((_unit(text) * _unit(english)).sum(dim=1).mean())


def hubness(query: Tensor, candidates: Tensor, k: int = NEIGHBOURS) -> float:
    """Skewness of how often each candidate [m, d] is among the `k` nearest of a query [n, d].

    Radovanovic et al. 2010. Nearest by cosine; 0 without hubs, and when every candidate occurs equally often. Memory
    is linear.
    """
    query, candidates = normalize(query.float(), dim=1), normalize(candidates.float(), dim=1)
    counts = torch.zeros(len(candidates), dtype=torch.float64, device=candidates.device)
    for chunk in query.split(max(1, CHUNK_CELLS // len(candidates))):
        near = (chunk @ candidates.T).topk(min(k, len(candidates)), dim=1).indices
        counts += torch.bincount(near.flatten(), minlength=len(candidates))
    centred = counts - counts.mean()
    spread = centred.square().mean().sqrt()
    return float((centred**3).mean() / spread**3) if spread > 0 else 0.0


def procrustes(source: Tensor, target: Tensor) -> Callable[[Tensor], Tensor]:
    """Fit the shift, rotation and scale that bring `source` [n, d] onto `target` [n, d], row by row.

    Returns the map of features [m, d] to [m, d]; all features are first scaled to length 1. Orthogonal Procrustes on
    centred rows, then as much spread as `target` has. Directions the pairs say little about stay as they are: the
    identity is added to the covariance, weighted by its mean singular value times d / 2n (at 20 pairs in 128 dimensions
    that decides, at 500 it changes nothing).
    """
    source, target = _unit(source), _unit(target)
    source_centre, target_centre = source.mean(dim=0), target.mean(dim=0)
    source_spread, target_spread = source - source_centre, target - target_centre
    scale = target_spread.norm() / source_spread.norm().clamp(min=1e-12)
    covariance = source_spread.T @ target_spread
    weight = torch.linalg.matrix_norm(covariance, "nuc") / (2 * len(source))
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    left, _, right = torch.linalg.svd(covariance + weight * identity)
    rotation = left @ right
    return lambda features: scale * (_unit(features) - source_centre) @ rotation + target_centre


@dataclass(frozen=True)
class Recovery:
    """What the `procrustes` map fitted on half the pairs does for the other half, averaged over both ways round.

    `word_recognition`: percent of captions whose nearest English caption, after the map, is their own (ties by expected
    value). `before`, `after`: mean R@1 of images against the captions, untouched and moved; `english`: against their
    English captions. All three among the same half of the pictures, and so above R@1 among all.
    """

    pairs: int
    word_recognition: float
    before: float
    after: float
    english: float

    @property
    def gap(self) -> float:
        """Points of R@1 behind English."""
        return self.english - self.before

    @property
    def closed(self) -> float:
        """Share of the gap the map closes; meaningless without a gap."""
        return (self.after - self.before) / self.gap if self.gap else 0.0


def recovery(image: Tensor, text: Tensor, english: Tensor, image_index: Tensor, seed: int = 0) -> Recovery:
    """Fit and test the map: `text` [n, d] and `english` [n, d] are paired, `image_index[row]` is the row's image.

    The halves have no picture in common; of more than MOST_IMAGES pictures that many are drawn at random by `seed`.
    Raises DataError on features that are zero or not finite, and for fewer than two pictures with captions.
    """
    image, text, english = image.cpu(), text.cpu(), english.cpu()
    captioned = torch.unique(image_index.cpu())
    if len(captioned) < 2:
        raise DataError(f"expected captions of at least 2 pictures, found {len(captioned)}")
    order = captioned[torch.randperm(len(captioned), generator=torch.Generator().manual_seed(seed))][:MOST_IMAGES]
    first, second = (torch.isin(image_index.cpu(), half) for half in order.tensor_split([len(order) // 2]))
    sums = torch.zeros(4, dtype=torch.float64)
    for fit, test in ((first, second), (second, first)):
        pictures, index = torch.unique(image_index.cpu()[test], return_inverse=True)
        moved = procrustes(text[fit], english[fit])(text[test])
        sums += torch.tensor([
            100 * retrieval(english[test].double(), moved).text_hits.mean().item(),
            *(retrieval(image[pictures].double(), x.double(), index).recall for x in (text[test], moved, english[test]))
        ], dtype=torch.float64)  # fmt: skip
    return Recovery(int((first | second).sum()), *(sums / 2).tolist())


def kind(recovered: Recovery | None) -> str:
    """The cause: `none`, `geometric`, `lexical` or `unclear` (in between, too few pairs, or no English captions)."""
    if recovered is None or recovered.pairs < MIN_PAIRS:
        return "unclear"
    if recovered.gap < NO_GAP:
        return "none"
    if recovered.closed >= GEOMETRIC:
        return "geometric"
    return "lexical" if recovered.closed <= LEXICAL else "unclear"


@dataclass(frozen=True)
class Missed:
    """A caption whose image ranks badly.

    Attributes:
        text: the caption's row.
        rank: the expected rank of its image, from 1.
        top: the row of the image that ranks first instead.
    """

    text: int
    rank: float
    top: int


def worst_queries(image: Tensor, text: Tensor, image_index: Tensor, count: int = 10) -> list[Missed]:
    """The `count` captions [texts, d] whose image [images, d] ranks worst, worst first; rank 1 is no miss.

    `image_index` [texts] is each caption's image. Ties have their expected rank; of equally bad captions the earlier
    rows come first. Equal images tie exactly.
    """
    image, text = normalize(image.float(), dim=1), normalize(text.float(), dim=1)
    image_index = image_index.to(image.device)
    distinct, index = torch.unique(image, dim=0, return_inverse=True)
    weight = torch.bincount(index, minlength=len(distinct)).double()
    every = torch.arange(len(image), device=image.device)
    first = torch.zeros_like(every[: len(distinct)]).scatter_reduce(0, index, every, "amin", include_self=False)
    ranks, tops = [], []
    for rows in torch.arange(len(text), device=image.device).split(max(1, CHUNK_CELLS // len(distinct))):
        scores = text[rows] @ distinct.T  # [chunk, distinct]
        right = scores.gather(1, index[image_index[rows]].unsqueeze(1))
        ahead, tied = ((scores > right) * weight).sum(dim=1), ((scores == right) * weight).sum(dim=1)
        ranks.append(ahead + (tied + 1) / 2)
        tops.append(first[scores.argmax(dim=1)])
    rank, top = torch.cat(ranks), torch.cat(tops)
    order = torch.argsort(rank, descending=True, stable=True)[:count]
    return [Missed(int(i), float(rank[i]), int(top[i])) for i in order if rank[i] > 1]
