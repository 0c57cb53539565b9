"""How much of a language's gap to English closed-form maps close: fitted on half of the captions, tested on the other.

A rotation (with a shift) mends a language that lies apart as a whole, a ridge map also one that is distorted. Neither
can teach words that the tower takes for the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from xpet.core.choices import MAP_NAMES
from xpet.core.errors import DataError
from xpet.core.estimates import Estimate
from xpet.core.linear_map import LinearMap, MapCandidate, best, candidates, identity, ridge, rotation
from xpet.core.metrics import Retrieval, retrieval
from xpet.core.resampling import Resamples, estimates, ratio

MOST_IMAGES = 5000
"""Pictures that `recovery` uses at most: more only take time."""
CHOOSING = 4
"""Of the pictures that a ridge map may be fitted on, one in so many chooses its strength instead."""
BEFORE, ROTATION, RIDGE, ENGLISH = "before", "rotation", "ridge", "english"
SEARCHES = (BEFORE, ROTATION, RIDGE, ENGLISH)
"""What is searched with: the captions as they are, moved by either map, and their English ones."""


@dataclass(frozen=True)
class Recovery:
    """What maps fitted on half of the pairs do for the other half, both ways round.

    Attributes:
        r1: R@1 in percent by search (`SEARCHES`), mean of both halves, each among its own pictures and so above R@1
            among all.
        rotation: share of the gap to English that a rotation closes; meaningless without a gap.
        ridge: share that a ridge map closes.
        word_recognition: percent of captions whose nearest English caption of their half, after the best map, is their
            own (ties by expected value).
        rows: the rows of the captions that were used [pairs].
        picture: the picture of each of these, numbered from 0 [pairs].
        deficit: how far each of these lies from its English caption after the best map, 1 - cosine [pairs].
        shortfall: what captions of each picture lack after the best map [pictures]: English hits at 1 minus theirs,
            the mean of both directions, -1 to 1.
    """

    r1: Mapping[str, float]
    rotation: Estimate
    ridge: Estimate
    word_recognition: float
    rows: Tensor
    picture: Tensor
    deficit: Tensor
    shortfall: Tensor

    @property
    def pairs(self) -> int:
        """Number of pairs of captions that were used."""
        return len(self.rows)

    @property
    def gap(self) -> float:
        """Points of R@1 behind English."""
        return self.r1[ENGLISH] - self.r1[BEFORE]

    @property
    def rest(self) -> float:
        """Points of R@1 behind English after the best map."""
        return self.r1[ENGLISH] - self.r1[self.best]

    @property
    def closed(self) -> Estimate:
        """Share of the gap that the better one of both maps closes."""
        return max(self.rotation, self.ridge, key=lambda share: share.value)

    @property
    def best(self) -> str:
        """The search that is best without English: `before` where no map helps."""
        return best_of(self.r1)


def best_of(r1: Mapping[str, float]) -> str:
    """The search with the highest R@1 but the English one; of equal ones the simplest."""
    return max((BEFORE, ROTATION, RIDGE), key=lambda name: r1[name])


def recovery(
    image: Tensor, text: Tensor, english: Tensor, image_index: Tensor, seed: int = 0, resamples: int = 0
) -> Recovery:
    """Fit and test the maps: `text` [n, d] and `english` [n, d] are paired, `image_index[row]` is the row's image.

    The halves have no picture in common; of more than MOST_IMAGES pictures that many are drawn at random by `seed`.
    Intervals come from `resamples` of the pictures (0: none). Raises DataError on features that are zero or not
    finite, and for fewer than two pictures with captions.
    """
    pairs = _pairs(image, text, english, image_index)
    order = shuffled(pairs.image_index, seed)[:MOST_IMAGES]
    first, second = order.tensor_split([len(order) // 2])
    halves = [pairs.test(fit, test) for fit, test in ((first, second), (second, first))]
    value = _r1(halves, torch.ones(1, len(order)).double())
    samples = Resamples(len(order), resamples, seed).chunks() if resamples else []
    drawn = [_r1(halves, draws) for draws in samples]
    rotated, ridged = estimates(_closed(value)[0], _closed(torch.cat(drawn)) if drawn else None)
    r1 = dict(zip(SEARCHES, value[0].tolist(), strict=True))
    chosen = best_of(r1)
    recognised = [half.recognised(chosen) for half in halves]
    return Recovery(
        r1, rotated, ridged, sum(recognised) / len(halves), torch.cat([half.rows for half in halves]),
        torch.cat([halves[0].picture, halves[1].picture + len(second)]),
        torch.cat([half.deficit(chosen) for half in halves]), torch.cat([half.shortfall(chosen) for half in halves]),
    )  # fmt: skip


def _pairs(image: Tensor, text: Tensor, english: Tensor, image_index: Tensor) -> _Pairs:
    """Features [images, d], [n, d], [n, d] and image indices [n] on the CPU, in double precision."""
    return _Pairs(image.cpu().double(), text.cpu().double(), english.cpu().double(), image_index.cpu())


def shuffled(image_index: Tensor, seed: int) -> Tensor:
    """The images of captions [n], each once, in an order drawn by `seed`; raises DataError for fewer than two."""
    captioned = torch.unique(image_index)
    if len(captioned) < 2:
        raise DataError(f"expected captions of at least 2 pictures, found {len(captioned)}")
    return captioned[torch.randperm(len(captioned), generator=torch.Generator().manual_seed(seed))]


@dataclass(frozen=True)
class _Pairs:
    """Features of images [images, d], of captions [n, d] and of their English ones [n, d], and each caption's image."""

    image: Tensor
    text: Tensor
    english: Tensor
    image_index: Tensor

    def rows(self, images: Tensor) -> Tensor:
        """The rows [m] of the captions of some images [k]."""
        return torch.isin(self.image_index, images).nonzero().flatten()

    def search(self, rows: Tensor, texts: Tensor) -> Retrieval:
        """Retrieval of the images of some rows by `texts` [rows, d]."""
        pictures, picture = torch.unique(self.image_index[rows], return_inverse=True)
        return retrieval(self.image[pictures], texts, picture)

    def fitted(self, fit: Tensor, choose: Tensor, maps: Sequence[str]) -> MapCandidate:
        """The map of some kinds, fitted on the captions of images `fit` [k], that finds images `choose` [l] best."""
        rows, held = self.rows(fit), self.rows(choose)
        return best(
            candidates(self.text[rows], self.english[rows], maps),
            lambda each: self.search(held, each(self.text[held])).mrr,
        )

    def ridge(self, fit: Tensor) -> LinearMap:
        """A ridge map of the captions of images `fit` [k], with the strength that a part of them chooses."""
        chosen = self.fitted(fit[len(fit) // CHOOSING :], fit[: max(1, len(fit) // CHOOSING)], ["ridge"])
        rows = self.rows(fit)
        if chosen.strength is None:
            return identity(self.text)
        return ridge(self.text[rows], self.english[rows], chosen.strength)

    def test(self, fit: Tensor, test: Tensor) -> _Half:
        """Fit maps on the captions of images `fit` [k], and search with those of images `test` [l]."""
        fitted_on, rows = self.rows(fit), self.rows(test)
        text = self.text[rows]
        moved = {
            BEFORE: text,
            ROTATION: rotation(self.text[fitted_on], self.english[fitted_on])(text),
            RIDGE: self.ridge(fit)(text),
            ENGLISH: self.english[rows],
        }
        _, picture = torch.unique(self.image_index[rows], return_inverse=True)
        return _Half(rows, picture, moved, {name: self.search(rows, texts) for name, texts in moved.items()})


@dataclass(frozen=True)
class _Half:
    """One half, searched with maps that the other was fitted on.

    `rows` are its captions, `picture` the picture of each, numbered within the half; `texts` [rows, d] and `found` what
    they find, by search.
    """

    rows: Tensor
    picture: Tensor
    texts: Mapping[str, Tensor]
    found: Mapping[str, Retrieval]

    @property
    def pictures(self) -> int:
        """Number of pictures."""
        return int(self.picture.max()) + 1

    def hits(self, name: str) -> Tensor:
        """Sums of hits at 1 per picture in both directions [pictures, 2]."""
        return torch.stack([side.per_image(side.ranks.hits(1)) for side in self.found[name].directions], dim=1)

    @property
    def queries(self) -> Tensor:
        """Number of queries per picture in both directions [pictures, 2]."""
        return torch.stack([side.per_image() for side in self.found[ENGLISH].directions], dim=1)

    def deficit(self, name: str) -> Tensor:
        """1 - cosine of each caption to its English one [rows]."""
        return 1 - cosine_similarity(self.texts[name], self.texts[ENGLISH], dim=1)

    def shortfall(self, name: str) -> Tensor:
        """English hits at 1 minus those of a search, per picture, mean of both directions [pictures]."""
        return ((self.hits(ENGLISH) - self.hits(name)) / self.queries).mean(dim=1)

    def recognised(self, name: str) -> float:
        """Percent of captions that find their English one first."""
        return 100 * retrieval(self.texts[ENGLISH], self.texts[name]).text_hits.mean().item()


def _r1(halves: Sequence[_Half], drawn: Tensor) -> Tensor:
    """R@1 in percent of `SEARCHES` [b, 4] where pictures are drawn as often as `drawn` [b, pictures] says.

    The mean of both halves, and of both directions in each.
    """
    parts = []
    for half, draws in zip(halves, drawn.split([half.pictures for half in halves], dim=1), strict=True):
        sums = torch.cat([half.hits(name) for name in SEARCHES], dim=1)  # [pictures, 8]
        parts.append(100 * ratio(draws, sums, half.queries.repeat(1, len(SEARCHES))).view(len(draws), -1, 2))
    return torch.cat(parts, dim=2).mean(dim=2)


def _closed(r1: Tensor) -> Tensor:
    """Shares of the gap that rotation and ridge close [b, 2], of R@1 [b, 4]; 0 where there is no gap."""
    before, english = r1[:, [0]], r1[:, [3]]
    gap = english - before
    return torch.where(gap == 0, 0.0, (r1[:, 1:3] - before) / gap)


def mapped(image: Tensor, text: Tensor, english: Tensor, image_index: Tensor, shots: int, seed: int = 0) -> float:
    """R@1 in percent among all images with the best closed-form map that the captions of `shots` pictures give.

    Each half of the pictures is moved by a map of the other: fitted on the captions of `shots` of them, chosen on those
    of as many others, or on as many as there are. `image` [images, d], `text` [n, d] and so on, and errors, are those
    of `recovery`.
    """
    pairs = _pairs(image, text, english, image_index)
    order = shuffled(pairs.image_index, seed)
    first, second = order.tensor_split([len(order) // 2])
    moved = pairs.text.clone()
    for fit, test in ((first, second), (second, first)):
        used = fit[: 2 * shots]
        half = max(1, len(used) // 2)
        chosen = pairs.fitted(used[:half], used[half:] if len(used) > 1 else used, MAP_NAMES)
        rows = pairs.rows(test)
        moved[rows] = chosen.map(pairs.text[rows])
    return retrieval(pairs.image, moved, pairs.image_index).recall
