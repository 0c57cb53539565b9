"""Closed-form maps of a language's text features onto the English features of the same captions: no training.

A map is affine on the features as the tower's head gives them, not normalised, so that it folds into the head. It is
fitted on pairs of captions: `source` [n, d] are features of captions of the language, `target` [n, d] those of the same
captions in English. With `x` and `y` their rows minus their means:

| map | weight |
|---|---|
| `shift` | the identity |
| `rotation` | the orthogonal W of least `sum |W x - y|^2` (orthogonal Procrustes: Schönemann 1966) |
| `ridge` | the W of least `mean |W x - y|^2 + strength * v * |W - 1|^2` (ridge regression: Hoerl and Kennard 1970) |

All take the mean of the source to that of the target: bias = mean(target) - W mean(source). `v` is the mean variance
of a feature of the source, so that strengths mean the same at every scale. What is shrunk is the difference to the
identity: a strong ridge is the shift, a weak one least squares, and in directions that the captions do not span all of
them leave features as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xpet.core.choices import IDENTITY, MAP_NAMES
from xpet.core.errors import ModelError

STRENGTHS = (100.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.01, 0.001)
"""Strengths of the ridge that are tried, the strongest first."""


@dataclass(frozen=True)
class LinearMap:
    """An affine map of text features: `weight` [d, d] and `bias` [d]."""

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Features [n, d], not normalised, -> `features @ weight.T + bias` [n, d]."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True)
class MapCandidate:
    """A fitted map, its name, and the strength where it is a ridge."""

    name: str
    strength: float | None
    map: LinearMap


Fit = Callable[[Tensor, Tensor], Iterable[tuple[float | None, LinearMap]]]
"""(source [n, d], target [n, d]) -> maps of one kind with their strengths, the simplest first."""


def identity(features: Tensor) -> LinearMap:
    """The map that leaves features [n, d] as they are."""
    d = features.shape[1]
    return LinearMap(torch.eye(d).to(features), torch.zeros(d).to(features))


def shift(source: Tensor, target: Tensor) -> LinearMap:
    """Add the difference of the means of target [n, d] and source [n, d]."""
    return _with_means(torch.eye(source.shape[1]).to(source.device), source, target)


def rotation(source: Tensor, target: Tensor) -> LinearMap:
    """Orthogonal Procrustes on centred rows of source [n, d] and target [n, d], then the target's mean.

    With the singular value decomposition `x^T y = U S V^T` the weight is `V U^T` (Schönemann 1966). Captions that span
    less than the space leave singular values of zero, whose vectors are arbitrary: of all minimisers this is the one
    nearest to the identity.
    """
    x, y = _centred(source), _centred(target)
    u, s, vt = torch.linalg.svd(x.mT @ y)
    spanned = int((s > s[0] * len(s) * torch.finfo(s.dtype).eps).sum())
    weight = vt[:spanned].mT @ u[:, :spanned].mT
    rest_u, rest_v = u[:, spanned:], vt[spanned:].mT
    if spanned < len(s):
        a, _, bt = torch.linalg.svd(rest_v.mT @ rest_u)  # the same problem, of the rest and the identity
        weight = weight + rest_v @ (a @ bt) @ rest_u.mT
    return _with_means(weight, source, target)


def ridge(source: Tensor, target: Tensor, strength: float) -> LinearMap:
    """Ridge regression of target [n, d] on source [n, d], shrunk towards the identity.

    `W = 1 + (y - x)^T x (x^T x + c 1)^-1` with `c = strength * sum(x^2) / d`, for rows x, y [n, d] that are centred.
    """
    return next(iter(ridges(source, target, [strength])))[1]


def ridges(source: Tensor, target: Tensor, strengths: Sequence[float]) -> Iterator[tuple[float, LinearMap]]:
    """`ridge` of source [n, d] and target [n, d] for each strength, out of one eigendecomposition.

    The decomposed matrix is `x^T x` [d, d], or `x x^T` [n, n] where there are fewer captions than dimensions, which
    gives the same: `(y - x)^T (x x^T + c 1)^-1 x`.
    """
    x, y = _centred(source), _centred(target)
    n, d = x.shape
    values, vectors = torch.linalg.eigh(x.mT @ x if d <= n else x @ x.mT)
    left = (y - x).mT @ (x @ vectors if d <= n else vectors)  # [d, min(n, d)]
    right = vectors.mT if d <= n else vectors.mT @ x  # [min(n, d), d]
    variance = float(x.square().sum()) / d
    for strength in strengths:
        penalised = (values.clamp(min=0) + strength * variance).clamp(min=torch.finfo(values.dtype).tiny)
        weight = torch.eye(d).to(x) + (left / penalised) @ right
        yield strength, _with_means(weight, source, target)


MAPS: dict[str, Fit] = {
    "shift": lambda source, target: [(None, shift(source, target))],
    "rotation": lambda source, target: [(None, rotation(source, target))],
    "ridge": lambda source, target: ridges(source, target, STRENGTHS),
}
"""The kinds of maps by name, the simplest first."""


def candidates(source: Tensor, target: Tensor, maps: Sequence[str] = MAP_NAMES) -> Iterator[MapCandidate]:
    """The identity, then maps of these kinds fitted on source [n, d] and target [n, d], the simplest first.

    Raises ModelError for features that are not finite, or not as many of one as of the other.
    """
    if source.shape != target.shape or not len(source):
        found = f"{list(source.shape)} and {list(target.shape)}"
        raise ModelError(f"expected features of the same captions in two languages, [n, d] each, found {found}")
    if not bool(source.isfinite().all() and target.isfinite().all()):
        raise ModelError("expected finite text features to fit a map on, found infinite ones or NaN")
    yield MapCandidate(IDENTITY, None, identity(source))
    for name in (name for name in MAPS if name in maps):
        for strength, fitted in MAPS[name](source, target):
            yield MapCandidate(name, strength, fitted)


def best(fitted: Iterable[MapCandidate], score: Callable[[LinearMap], Any]) -> MapCandidate:
    """The candidate with the highest score on validation; of equal ones the first, which is the simplest."""
    ordered = iter(fitted)
    chosen = next(ordered)
    highest = score(chosen.map)
    for candidate in ordered:
        found = score(candidate.map)
        if found > highest:
            chosen, highest = candidate, found
    return chosen


def _centred(rows: Tensor) -> Tensor:
    """Rows [n, d] minus their mean, in float64."""
    return rows.double() - rows.double().mean(dim=0)


def _with_means(weight: Tensor, source: Tensor, target: Tensor) -> LinearMap:
    """The map with this weight [d, d] that takes the mean of source [n, d] to that of target [n, d], in their type."""
    weight = weight.double()
    bias = target.double().mean(dim=0) - weight @ source.double().mean(dim=0)
    return LinearMap(weight.to(source.dtype), bias.to(source.dtype))
