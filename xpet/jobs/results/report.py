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
from xpet.core.map_score import MapScore
from xpet.jobs.results.document import document

SCHEMA = 2


@dataclass(frozen=True)
class PerImage:
    """Expected hits at rank 1 per test image, for later comparisons.

    `image` is the hit of image->text (0 to 1), `text` the sum of text->image hits over the image's captions, `captions`
    how many these are (a caption of m images counts 1/m for each).
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
    map: MapScore | None = None
    """The base with the best closed-form map of the run's captions, as measured when the run was trained."""


@dataclass(frozen=True)
class Latency:
    """Speed of encoding, of single queries and of many texts at once, on `device`."""

    device: str
    milliseconds_per_query: float
    texts_per_second: float
    against_bare: float
    """Time per query divided by the bare tower's, measured in turns in the same process."""


@dataclass(frozen=True)
class Cost:
    """What a system costs: parameters trained and in `total`, bytes of one language's module, training, encoding."""

    trainable: int
    total: int
    module_bytes: int | None = None
    training_seconds: float | None = None
    peak_mebibytes: float | None = None
    latency: Latency | None = None

    @property
    def share(self) -> float:
        """Trained share of the parameters, in percent."""
        return 100.0 * self.trainable / self.total


@dataclass(frozen=True)
class System:
    """A measured way of searching: `kind` is `base` or `run`, `text` the slot of captions that it searches with.

    `spread` is disparity over all its languages, `groups` that within groups of them. `shots` counts training pictures;
    None for the base, and where runs differ in it or do not say.
    """

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
    mapped: Disparity[Estimate] | None = None
    """Disparity with the maps in place of the modules; None where an aligned language has none."""
    conclusion: str = ""
    """The sentence that compares modules and maps; empty without any map."""


@dataclass(frozen=True)
class Difference(DifferenceEstimates):
    """The change of one language's mean R@1 from reference to system; `significant` is `p_holm < 0.05`.

    `significant` is None where nothing was tested.
    """

    significant: bool | None = None


@dataclass(frozen=True)
class Comparison:
    """What changes from system `reference` to `system`: R@1 of languages, and figures of disparity, in points."""

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
    """Picture `image` as a data: URI, and `found` in `found_thumbnail`; None without pictures."""
    found_thumbnail: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """Why a language is weak: geometry of its embeddings against English and pictures, its words, and its tokens.

    `word_recognition` and `unknown_rate` are shares from 0 to 1, `alignment` a mean cosine. `kind` is lexical (words
    not known), geometric (known, but placed apart), mixed (both), none (no gap worth mending) or unclear.
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
    """Share of the gap to English that the better one of both maps closes."""
    worst: Sequence[WorstQuery] = ()
    rotation: Estimate | None = None
    """Share of the gap that a rotation closes, fitted on half of the pictures' captions and tested on the others."""
    ridge: Estimate | None = None
    """Share of the gap that a ridge map closes."""
    words: float | None = None
    """Share of the rest that goes with which words captions have (`xpet.core.word_evidence`)."""
    words_p: float | None = None
    """How likely words that mean nothing would go with it as closely."""


@dataclass(frozen=True)
class Advice:
    """What to do for a language, what serving then needs, and why; `routine` None: leave it as it is."""

    routine: str | None
    method: str | None
    shots: int | None
    loss: str | None
    serving: str
    why: str
    command: str | None = None


@dataclass(frozen=True)
class Gate:
    """A limit of the command line that a CI job depends on, and whether it was kept."""

    option: str
    limit: float
    passed: bool
    message: str


@dataclass(frozen=True)
class Report:
    """Everything one `xpet eval` found. `images` counts test images; `warnings` must not be missed by a reader.

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
    """Digest of the data's name and its test images: only reports with the same one may be compared."""

    def __post_init__(self) -> None:
        names = [system.name for system in self.systems]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"expected systems with different names, found {names}")

    def to_dict(self) -> dict[str, Any]:
        """The whole report as one JSON-ready document."""
        return document("eval", asdict(self), SCHEMA)
