"""The evaluation report (schema 2): what `xpet eval` measures, as plain frozen records that every format renders.

A report compares *systems* on one test split: the bare tower, runs, a merged checkpoint; each with the text it searches
with and, perhaps, a prompt. The first system is the reference; a comparison says how another one differs from it.
Recalls are percent, ranks count from 1, times are seconds, sizes bytes unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from xpet.core.estimates import DifferenceEstimates, Disparity, Estimate, LanguageEstimates
from xpet.jobs.results.document import document

SCHEMA = 2


@dataclass(frozen=True)
class PerImage:
    """Expected hits at rank 1 (0..1) per test image, for later comparisons.

    `image` is image->text, `text` the sum over the image's captions of text->image, `captions` how many it has (one
    of m images counts 1/m for each).
    """

    image: Sequence[float]
    text: Sequence[float]
    captions: Sequence[float]


@dataclass(frozen=True)
class LanguageScores(LanguageEstimates):
    """One language under one system. `std` is of mean R@1 over `seeds`; `run` the folder of the best seed."""

    run: str | None = None
    english: Estimate | None = None
    """Mean R@1 of English under this language's module (forgetting)."""
    untrained: Mapping[str, Estimate] = field(default_factory=dict)
    """Mean R@1 of the languages without a module of their own, under this one."""
    per_image: PerImage | None = None


@dataclass(frozen=True)
class Latency:
    """Encoding of single queries, and of many at once, on `device`."""

    device: str
    milliseconds_per_query: float
    texts_per_second: float
    against_bare: float
    """Time per query divided by the bare tower's, measured in turns in the same process."""


@dataclass(frozen=True)
class Cost:
    """What a system costs: parameters trained and in all, size on disk of one language's module, training, encoding."""

    trainable: int
    total: int
    module_bytes: int | None = None
    training_seconds: float | None = None
    peak_mebibytes: float | None = None
    latency: Latency | None = None

    @property
    def share(self) -> float:
        """Trainable share in percent."""
        return 100.0 * self.trainable / self.total


@dataclass(frozen=True)
class System:
    """A way of searching, measured: `kind` is base, run or merged; `text` the slot searched with."""

    name: str
    kind: str
    text: str
    languages: Mapping[str, LanguageScores]
    spread: Disparity[Estimate]
    groups: Mapping[str, Disparity[Estimate]] = field(default_factory=dict)
    prompt: str | None = None
    method: str | None = None
    routine: str | None = None
    shots: int | None = None
    aligned: Sequence[str] = ()
    """Languages searched with a module of their own; all others use the base."""
    translates_queries: bool = False
    cost: Cost | None = None
    english: Estimate | None = None
    """Mean R@1 of English under the bare tower, also where English is not shown; of the reference only."""


@dataclass(frozen=True)
class Difference(DifferenceEstimates):
    """Mean R@1 of one language, system minus reference: points with interval, and paired permutation test.

    `p_holm` is corrected over the languages of the comparison; `significant` is `p_holm < 0.05`.
    """

    significant: bool | None = None


@dataclass(frozen=True)
class Comparison:
    """Two systems by name: what changes from `reference` to `system`."""

    reference: str
    system: str
    languages: Mapping[str, Difference]
    mean: Estimate
    range: Estimate
    std: Estimate
    mean_gap: Estimate | None


@dataclass(frozen=True)
class WorstQuery:
    """A caption that finds its picture badly; `found` is the picture on top, `found_caption` a caption of it."""

    text: str
    image: str
    rank: float
    found: str
    found_caption: str
    english: str | None = None
    thumbnail: str | None = None
    """data: URI of the picture, where pictures exist; of the one found in `found_thumbnail`."""
    found_thumbnail: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """Why a language is weak: geometry of its embeddings against English and pictures, and its tokens.

    `word_recognition` and `unknown_rate` are shares from 0 to 1, `alignment` a mean cosine.
    `kind` is lexical (words not known), geometric (known, but placed apart), none (no gap worth mending) or unclear.
    """

    modality_gap: float
    hubness: float
    anisotropy: float
    alignment: float | None
    word_recognition: float | None
    tokens_per_caption: float
    unknown_rate: float
    kind: str
    closed: float | None = None
    """Share of the gap to English that a rigid map closes on held-out pictures: what `kind` rests on."""
    worst: Sequence[WorstQuery] = ()


@dataclass(frozen=True)
class Advice:
    """What to do for a language, what serving then costs, and why."""

    routine: str | None
    method: str | None
    shots: int | None
    loss: str | None
    serving: str
    why: str
    command: str | None = None


@dataclass(frozen=True)
class Gate:
    """A condition of the command line that a CI job depends on."""

    option: str
    limit: float
    passed: bool
    message: str


@dataclass(frozen=True)
class Report:
    """Everything one `xpet eval` found. `warnings` are what a reader must not miss.

    Raises ValueError without systems, or when two have the same name: comparisons go by name.
    """

    data: str
    synthetic: bool
    images: int
    resamples: int
    systems: Sequence[System]
    comparisons: Sequence[Comparison] = ()
    diagnosis: Mapping[str, Diagnosis] = field(default_factory=dict)
    advice: Mapping[str, Advice] = field(default_factory=dict)
    gates: Sequence[Gate] = ()
    warnings: Sequence[str] = ()
    configuration: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    """Digest of the test captions and images: reports with the same one may be compared."""

    def __post_init__(self) -> None:
        names = [system.name for system in self.systems]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected systems with different names, found {names}")

    def to_dict(self) -> dict[str, Any]:
        """The whole report as one JSON-ready document."""
        return document("eval", asdict(self), SCHEMA)
