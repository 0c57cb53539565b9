"""Records of measured figures: one value with its interval, retrieval of a language, disparity, and differences.

Plain values without tensors: `statistics`, `comparison` and `disparity` compute them, reports hold them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval (bootstrap over images); None where no interval was asked for."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class DirectionEstimates:
    """Retrieval in one direction, or the mean of both: recall at 1, 5, 10 and MRR in percent, and the median rank."""

    r1: Estimate
    r5: Estimate
    r10: Estimate
    mrr: Estimate
    median_rank: Estimate


@dataclass(frozen=True)
class LanguageEstimates:
    """One language: figures averaged over `seeds`; `std` is the population standard deviation of mean R@1 over seeds.

    `images` and `captions` count the queries of either direction.
    """

    images: int
    captions: int
    image_to_text: DirectionEstimates
    text_to_image: DirectionEstimates
    mean: DirectionEstimates
    seeds: int = 1
    std: float = 0.0


Value = TypeVar("Value", float, Estimate)


@dataclass(frozen=True)
class Disparity(Generic[Value]):
    """Disparity of mean R@1 over `languages` in percentage points; `std` is the population standard deviation.

    `mean_gap` is the mean of (English - language) over the other languages, None without English. Figures are numbers
    (`Disparity[float]`), or estimates with intervals (`Disparity[Estimate]`); of several seeds they are means.
    """

    languages: Sequence[str]
    mean: Value
    range: Value
    std: Value
    worst: str
    best: str
    mean_gap: Value | None


@dataclass(frozen=True)
class SystemEstimates:
    """All languages of one system, their disparity, and the disparity within named groups of languages."""

    languages: Mapping[str, LanguageEstimates]
    spread: Disparity[Estimate]
    groups: Mapping[str, Disparity[Estimate]] = field(default_factory=dict)


@dataclass(frozen=True)
class DifferenceEstimates:
    """Mean R@1 of one language, system minus reference: points, and p of the paired permutation test.

    `p_holm` is corrected over the languages of the comparison (Holm).
    """

    r1: Estimate
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class ComparisonEstimates:
    """What changes from the reference to a system, per language and in disparity (of R@1 averaged over seeds)."""

    languages: Mapping[str, DifferenceEstimates]
    mean: Estimate
    range: Estimate
    std: Estimate
    mean_gap: Estimate | None
