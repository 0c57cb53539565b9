"""Retrieval metrics: exact, tie-safe, and linear in memory (disparity between languages: `disparity`).

Ties are resolved by expected value: a query whose best score is shared by `t` candidates, `p` of them right, counts as
`p/t` found at rank 1. Several captions per image: an image counts as found when any of its captions is on top; several
images per caption: a caption counts as found when any of its images is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xpet.core.errors import DataError
from xpet.core.ranking import Ranks, rank

NAMED = 5
"""Rows that an error about features names at most."""


@dataclass(frozen=True)
class DirectionRanks:
    """One direction of retrieval: the ranks of its queries, and which of `images` images each query belongs to.

    Entry `i` says that query `query[i]` belongs to image `image[i]` with `weight[i]`; a query's weights sum to 1 (a
    caption of m images belongs to each by 1/m). Image queries come in ascending order of image.
    """

    ranks: Ranks
    query: Tensor
    image: Tensor
    weight: Tensor
    images: int

    def per_image(self, values: Tensor | None = None) -> Tensor:
        """Weighted sum over each image's queries of values [queries], or of 1: a tensor [images], double."""
        part = self.weight if values is None else values[self.query] * self.weight
        return torch.zeros(self.images, dtype=torch.float64).index_add_(0, self.image, part)


@dataclass(frozen=True)
class Retrieval:
    """Per-query results in both directions: expected hits at rank 1 and expected reciprocal ranks, each in 0..1.

    On the CPU in double precision. `by_image` (image->text) and `by_text` (text->image) hold the ranks behind them.
    """

    image_hits: Tensor
    text_hits: Tensor
    image_reciprocal: Tensor
    text_reciprocal: Tensor
    by_image: DirectionRanks | None = None
    by_text: DirectionRanks | None = None

    @property
    def recall(self) -> float:
        """R@1 in percent: mean of image->text and text->image."""
        return 50.0 * (self.image_hits.double().mean().item() + self.text_hits.double().mean().item())

    @property
    def mrr(self) -> float:
        """Mean reciprocal rank in percent, mean of both directions."""
        return 50.0 * (self.image_reciprocal.double().mean().item() + self.text_reciprocal.double().mean().item())

    @property
    def directions(self) -> tuple[DirectionRanks, DirectionRanks]:
        """Image->text and text->image; raises DataError where only rank 1 was kept."""
        if self.by_image is None or self.by_text is None:
            raise DataError("expected the ranks behind a retrieval, found only its hits at 1; call retrieval()")
        return self.by_image, self.by_text


def retrieval(image: Tensor, text: Tensor, image_index: Tensor | None = None, pairs: Tensor | None = None) -> Retrieval:
    """Retrieval of images [images, d] by texts [texts, d] and back; `image_index` [texts] is each text's image.

    Without it, text i belongs to image i. `pairs` [n, 2] of (text, image) adds to these, for captions of several
    images; given alone, it is all there is. Features need not be normalised. Images without a caption, and texts
    without an image, are candidates but no queries. Equal texts, and equal images, get exactly equal scores. Memory is
    linear in the number of features. Raises DataError on non-finite or zero features, on which no ranking is defined,
    and when there are no texts or texts without an image.
    """
    pair_text, pair_image = _relevance(len(image), len(text), image_index, pairs, text.device)
    image, text = _unit(image, "image"), _unit(text, "text")
    image_ranks = _search(image, text, pair_image, pair_text)
    text_ranks = _search(text, image, pair_text, pair_image)
    return _retrieval(len(image), pair_text.cpu(), pair_image.cpu(), image_ranks, text_ranks)


def retrieval_of(images: int, image_index: Tensor, by_image: Ranks, by_text: Ranks) -> Retrieval:
    """The retrieval with these ranks, of `images` images and of texts whose images are `image_index` [texts].

    It equals the one that `retrieval` found the ranks in.
    """
    pair_text, pair_image = _relevance(images, len(image_index), image_index, None, torch.device("cpu"))
    return _retrieval(images, pair_text, pair_image, by_image, by_text)


def _retrieval(images: int, pair_text: Tensor, pair_image: Tensor, image_ranks: Ranks, text_ranks: Ranks) -> Retrieval:
    """The retrieval of right pairs, texts [pairs] and images [pairs] on the CPU, whose queries have these ranks."""
    captioned = torch.unique(pair_image)
    _, text_query = torch.unique(pair_text, return_inverse=True)
    weight = 1 / torch.bincount(text_query).double()
    return Retrieval(
        image_hits=image_ranks.hits(1),
        text_hits=text_ranks.hits(1),
        image_reciprocal=image_ranks.reciprocal(),
        text_reciprocal=text_ranks.reciprocal(),
        by_image=DirectionRanks(
            image_ranks, torch.arange(len(captioned)), captioned, torch.ones(len(captioned)).double(), images
        ),
        by_text=DirectionRanks(text_ranks, text_query, pair_image, weight[text_query], images),
    )


def _relevance(
    images: int, texts: int, image_index: Tensor | None, pairs: Tensor | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Right pairs as two columns, texts [pairs] and images [pairs], each pair once, sorted by text."""
    given = [] if pairs is None else [_checked(pairs, images, texts).to(device)]
    if image_index is not None or pairs is None:
        image_index = torch.arange(texts, device=device) if image_index is None else image_index.to(device)
        if len(image_index) != texts or not texts:
            raise DataError(
                f"expected an image for each of at least 1 text, found {len(image_index)} for {texts} texts"
            )
        if int(image_index.min()) < 0 or int(image_index.max()) >= images:
            low, high = int(image_index.min()), int(image_index.max())
            raise DataError(f"expected owners among {images} images, found {low} to {high}")
        given.append(torch.stack([torch.arange(texts, device=device), image_index.long()], dim=1))
    distinct = torch.unique(torch.cat(given), dim=0)
    return distinct[:, 0], distinct[:, 1]


def _checked(pairs: Tensor, images: int, texts: int) -> Tensor:
    """Pairs [n, 2] of (text, image); raises DataError for other shapes and for indices out of range."""
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise DataError(f"expected at least 1 pair (text, image), found shape {tuple(pairs.shape)}")
    low, high = pairs.amin(dim=0).tolist(), pairs.amax(dim=0).tolist()
    if min(low) < 0 or high[0] >= texts or high[1] >= images:
        raise DataError(
            f"expected pairs of {texts} texts and {images} images, found texts {low[0]} to {high[0]} and images "
            f"{low[1]} to {high[1]}"
        )
    return pairs.long()


def _search(query: Tensor, candidates: Tensor, query_index: Tensor, right: Tensor) -> Ranks:
    """Ranks of the rows of `query` [q, d] that have a right candidate among `candidates` [c, d].

    Pair `i` says that candidate `right[i]` is right for row `query_index[i]`; rows are in ascending order.
    """
    rows, index = torch.unique(query_index, return_inverse=True)
    return rank(query if len(rows) == len(query) else query[rows], candidates, index, right)


def _unit(features: Tensor, what: str) -> Tensor:
    """Rows of features [n, d] divided by their norm; raises DataError naming rows that are zero or not finite."""
    features = features.detach()
    features = features if features.dtype == torch.float64 else features.float()
    norm = features.norm(dim=-1, keepdim=True)
    bad = (~(norm.isfinite() & (norm > 0))).flatten().nonzero().flatten()
    if len(bad):
        rows = ", ".join(map(str, bad[:NAMED].tolist())) + (", ..." if len(bad) > NAMED else "")
        raise DataError(
            f"expected finite, non-zero {what} features, found {len(bad)} of {len(features)} that are not (row {rows})"
        )
    unit: Tensor = features / norm
    return unit
