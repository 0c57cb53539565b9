"""The results of `xpet merge`: what was merged, packed or combined, and the proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xpet.core.estimates import Disparity
from xpet.jobs.results.document import disparity_fields, document


@dataclass(frozen=True)
class Verification:
    """The proof of a merge: how far features of captions by the run and by what was written differ (float32)."""

    texts: int
    """Captions that were encoded."""
    absolute: float
    """Largest difference of one value between two unit features."""
    relative: float
    """Largest length of the difference of two unit features."""
    tolerance: float
    """Largest `relative` that is allowed (`xpet.core.feature_difference.tolerance`)."""
    unmerged: Mapping[str, float]
    """R@1 in percent of the run, by language; empty where no image features were at hand."""
    merged: Mapping[str, float]
    """R@1 in percent of what was written, by language."""


@dataclass(frozen=True)
class PackedLanguage:
    """A language in a pack: its run, and R@1 in percent before and after, as measured when it was trained.

    Of a module made elsewhere both are None.
    """

    language: str
    run: str
    routine: str
    translates_queries: bool
    before: float | None
    after: float | None


@dataclass(frozen=True)
class PackResult:
    """The result of `xpet merge --pack`; `size` in bytes, `combination` None where runs were not combined."""

    base: str
    method: str
    synthetic: bool
    languages: tuple[PackedLanguage, ...]
    out: str
    size: int
    seconds: float
    combination: Combination | None = None

    def to_dict(self) -> dict[str, Any]:
        """The whole result as one JSON-ready document."""
        return document("merge", _fields(self))


@dataclass(frozen=True)
class Price:
    """R@1 in percent of one language on the test split: the base, its own module alone, all modules combined.

    `separate` of English is `base` where it has no module. `price` is combined minus separate, in points.
    """

    base: float
    separate: float
    combined: float
    price: float


@dataclass(frozen=True)
class WeightSearch:
    """What `--search` did on validation."""

    tried: int
    """Combinations that were measured."""
    images: int
    """Validation images."""
    start: tuple[float, float]
    """Mean and range over languages of R@1 in percent, at the start."""
    found: tuple[float, float]
    """Mean and range of the best combination."""


@dataclass(frozen=True)
class Combination:
    """How runs of several languages were combined into one module, and what that costs.

    `weights` are by language, `rank` is that of the module's products (None: the method has none), `density` the share
    of values kept (None: all), `trainable` the module's parameters, `search` None where weights were given. `languages`
    and `spreads` (disparity of `base`, `separate` and `combined`) include English; empty where nothing was measured.
    """

    strategy: str
    weights: Mapping[str, float]
    density: float | None
    rank: int | None
    seed: int
    trainable: int
    search: WeightSearch | None
    languages: Mapping[str, Price]
    spreads: Mapping[str, Disparity[float]]


@dataclass(frozen=True)
class MergeResult:
    """The result of `xpet merge`; `size` is the bytes of all files.

    `base` and `image` name the towers (None: no image tower is known), `form` is the export format. `verification` is
    None where it was skipped, `combination` None for a single run.
    """

    runs: tuple[str, ...]
    base: str
    image: str | None
    languages: tuple[str, ...]
    method: str
    form: str
    dtype: str
    synthetic: bool
    verification: Verification | None
    out: str
    files: tuple[str, ...]
    size: int
    seconds: float
    combination: Combination | None = None

    def to_dict(self) -> dict[str, Any]:
        """The whole result as one JSON-ready document."""
        return document("merge", _fields(self))


def _fields(result: PackResult | MergeResult) -> dict[str, Any]:
    """The fields of a result, with disparity as the document holds it."""
    fields = asdict(result)
    if result.combination is not None:
        spreads = {name: disparity_fields(spread) for name, spread in result.combination.spreads.items()}
        fields["combination"]["spreads"] = spreads
    return fields
