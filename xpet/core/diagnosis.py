"""Why a language is weak: the geometry of its embeddings against English and against the pictures.

What to do depends on the cause. Either the tower knows a language's words but places them wrongly (*geometric*: a map
in closed form, or a few captioned pictures, can move them), or it does not know the words (*lexical*: only text with
these words can teach them), or both (*mixed*). `xpet.core.recovery` measures what maps close of the gap to English,
`xpet.core.word_evidence` whether words explain the rest; `kind` puts both together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from xpet.core.ranking import CHUNK_CELLS
from xpet.core.recovery import ENGLISH, Recovery
from xpet.core.word_evidence import WordEvidence

NEIGHBOURS = 10
"""Nearest candidates of a query that count as a hub's."""
MIN_PAIRS = 80
"""Fewer pairs fit no map: with 40, languages that only lie apart came out anywhere between 0 and 1."""
NO_GAP = 5.0
"""Points of R@1 behind English (among half the pictures) below which 100 shots bring nothing measurable."""
GEOMETRIC, MOST, PARTLY = 0.75, 0.5, 0.25
"""Shares of the gap that the better map closes.

From GEOMETRIC on nothing else matters, from MOST on unless words explain the rest; up to PARTLY maps fail, as long as
the interval does not reach MOST. Measured with 1,000 pairs: four languages that a tower only places apart 0.95 to 0.98;
with 10 % of their tokens made unknown 0.57 to 0.91, with 30 % 0.44 to 0.52, with 60 % 0.14 to 0.33, with all 0.0; a
tower that had read 100 to 2,500 real captions of a language 0.0 to 0.15.
"""
NOTHING = 0.1
"""Share of English R@1 up to which no word is known."""


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


def kind(recovered: Recovery | None, evidence: WordEvidence | None) -> str:
    """The cause: `none`, `geometric`, `lexical`, `mixed` or `unclear`; `evidence` is that of the captions' words.

    Unclear are too few pairs, no English captions, and a gap that neither maps nor words explain. Where after the best
    map next to nothing is found of what English captions find, no word is known, and none can tell from others.
    """
    if recovered is None or recovered.pairs < MIN_PAIRS:
        return "unclear"
    if recovered.gap < NO_GAP:
        return "none"
    closed, r1 = recovered.closed, recovered.r1
    lexical = (evidence is not None and evidence.holds) or r1[recovered.best] <= NOTHING * r1[ENGLISH]
    if closed.value >= GEOMETRIC or (closed.value >= MOST and not lexical):
        return "geometric"
    if not lexical:
        return "unclear"
    fails = closed.value < PARTLY and (closed.high is None or closed.high < MOST)
    return "lexical" if fails else "mixed"


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
