"""What jobs hand back: frozen records that the view prints and `--json` writes as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SYNTHETIC = "synthetic demo world: the numbers show how xpet works, not how a real model does"


@dataclass(frozen=True)
class RunResult:
    """One trained run on the test split; R@1 in percent, time in seconds, `stored` size of the module in bytes."""

    language: str
    routine: str
    loss: str
    align_weight: float
    learning_rate: float
    seed: int
    status: str
    chosen_step: int
    validation: Mapping[str, float]
    target_before: float
    translated_before: float | None
    aligned: float
    english_before: float | None
    english_after: float | None
    seconds: float
    folder: str
    image_weight: float = 1.0
    trainable: int = 0
    stored: int = 0

    @property
    def setting(self) -> tuple[str, str, float, float]:
        """What is chosen by validation: everything but language and seed."""
        return (self.routine, self.loss, self.align_weight, self.learning_rate)


@dataclass(frozen=True)
class LanguageResult:
    """The setting chosen for a language on validation, averaged over seeds. `gain` is aligned minus target_before."""

    language: str
    routine: str
    loss: str
    align_weight: float
    learning_rate: float
    seeds: tuple[int, ...]
    target_before: float
    translated_before: float | None
    aligned: float
    aligned_std: float
    gain: float
    english_after: float | None
    seconds: float
    folder: str
    trainable: int


@dataclass(frozen=True)
class Spread:
    """Mean, range, std (population), worst language and mean gap to English of R@1 over languages; mean of seeds."""

    mean: float
    range: float
    std: float
    worst: str
    mean_gap: float | None


@dataclass(frozen=True)
class AlignResult:
    """The outcome of `xpet align`. `before` and `after` cover `compared`: the aligned languages, and English.

    `trainable` and `stored` (bytes) are those of the largest module; `text` says by language what became of the lines
    of routine `text`; `chosen_by` is what settings are compared by on validation, in words.
    """

    method: str
    trainable: int
    total: int
    data: str
    shots: int | None
    synthetic: bool
    compared: tuple[str, ...]
    english_before: float | None
    before: Spread | None
    after: Spread | None
    languages: tuple[LanguageResult, ...]
    runs: tuple[RunResult, ...]
    translates_queries: bool
    seconds: float
    peak_memory: float
    folder: str
    failed: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    stored: int = 0
    text: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    chosen_by: str = ""

    @property
    def share(self) -> float:
        """Trainable share of the text tower's parameters, in percent."""
        return 100.0 * self.trainable / self.total

    def to_dict(self) -> dict[str, Any]:
        """The whole result as one JSON-ready document."""
        note = {"note": SYNTHETIC} if self.synthetic else {}
        return {"command": "align", "schema": 1, **note, **asdict(self), "share": self.share}


@dataclass(frozen=True)
class LintResult:
    """The outcome of `xpet eval --lint`: findings as plain records, errors first."""

    data: str
    findings: tuple[Mapping[str, Any], ...]

    @property
    def errors(self) -> int:
        """Number of findings that would stop training."""
        return sum(f["severity"] == "error" for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The whole result as one JSON-ready document."""
        return {"command": "lint", "schema": 1, "errors": self.errors, **asdict(self)}


@dataclass(frozen=True)
class TranslateResult:
    """The outcome of `xpet translate`. Of `lines`, `flagged_lines` have flags; `flags` counts each kind.

    `cached`, `translated` and `retried` count different lines over all hops of the `chain` of packages. `scores` are
    `bleu` and `chrf` (0 to 100) with `bleu_signature` and `chrf_signature`, over `lines` lines of `reference`; `noise`
    has `rate`, `seed` and `degraded_lines`. Flags are of the clean translation, scores of the one that is written.
    """

    source: str
    target: str
    chain: tuple[str, ...]
    out: str | None
    report: str | None
    lines: int
    cached: int
    translated: int
    retried: int
    flagged_lines: int
    flags: Mapping[str, int]
    seconds: float
    scores: Mapping[str, Any] | None = None
    noise: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The whole result as one JSON-ready document."""
        return {"command": "translate", "schema": 1, **asdict(self)}


def describe_scores(scores: Mapping[str, Any]) -> str:
    """Scores of a translation in one line, with what makes them comparable."""
    bleu, chrf = (f"{scores[name]:.1f} ({scores[f'{name}_signature']})" for name in ("bleu", "chrf"))
    return f"Against {scores['reference']}: BLEU {bleu}, chrF {chrf}"


@dataclass(frozen=True)
class ColumnResult:
    """One slot of one language in one split, translated: `rows` captions, of which `flagged` look wrong."""

    language: str
    slot: str
    split: str
    chain: tuple[str, ...]
    rows: int
    cached: int
    translated: int
    retried: int
    flagged: int
    flags: Mapping[str, int]
    file: str


@dataclass(frozen=True)
class TranslateDataResult:
    """The outcome of `xpet translate --data`. `found` says whether `align` and `eval` find `folder` by themselves.

    `own` names slots that the data itself has, which come before what is found in the default folder.
    """

    data: str
    synthetic: bool
    columns: tuple[ColumnResult, ...]
    folder: str
    found: bool
    own: tuple[str, ...]
    seconds: float
    noise: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The whole result as one JSON-ready document."""
        note = {"note": SYNTHETIC} if self.synthetic else {}
        return {"command": "translate", "schema": 1, **note, **asdict(self)}


@dataclass(frozen=True)
class PackageInfo:
    """An installed package. `used` is False when another one serves the pair; `new` and `sha256` are of an install."""

    pair: str
    version: str
    folder: str
    used: bool = True
    sha256: str | None = None
    new: bool | None = None


@dataclass(frozen=True)
class PackagesResult:
    """Installed packages, the chain of packages for every pair of languages that has one, and what is broken."""

    folder: str
    packages: tuple[PackageInfo, ...]
    chains: Mapping[str, tuple[str, ...]]
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The whole result as one JSON-ready document."""
        return {"command": "translate", "schema": 1, **asdict(self)}


@dataclass(frozen=True)
class Verification:
    """Captions encoded by the unmerged and by the merged tower, both with float32 arithmetic.

    `absolute` is the largest difference of one value of a unit feature, `relative` the largest length of the difference
    of two unit features, which `tolerance` bounds. R@1 in percent by language; empty where no image features were.
    """

    texts: int
    absolute: float
    relative: float
    tolerance: float
    unmerged: Mapping[str, float]
    merged: Mapping[str, float]


@dataclass(frozen=True)
class PackedLanguage:
    """A language in a pack: its run, and R@1 in percent before and after, as measured when it was trained."""

    language: str
    run: str
    routine: str
    translates_queries: bool
    before: float
    after: float


@dataclass(frozen=True)
class PackResult:
    """The outcome of `xpet merge --pack`; `size` in bytes."""

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
        note = {"note": SYNTHETIC} if self.synthetic else {}
        return {"command": "merge", "schema": 1, **note, **asdict(self)}


@dataclass(frozen=True)
class Price:
    """R@1 in percent of one language on the test split: the base, its own module alone, all modules combined.

    English keeps the base where it has no module of its own. `price` is combined minus separate: below 0 is lost.
    """

    base: float
    separate: float
    combined: float
    price: float


@dataclass(frozen=True)
class WeightSearch:
    """What `--search` did on validation: combinations tried, and mean and range of R@1 at its start and at its end."""

    tried: int
    images: int
    start: tuple[float, float]
    found: tuple[float, float]


@dataclass(frozen=True)
class Combination:
    """How runs of several languages became one, and what that costs.

    `rank` is that of the outcome's products (None: the method has none), `density` the share of values kept (None:
    all). `languages` and `spreads` (of `base`, `separate` and `combined`, English included) are empty where nothing was
    measured.
    """

    strategy: str
    weights: Mapping[str, float]
    density: float | None
    rank: int | None
    seed: int
    trainable: int
    search: WeightSearch | None
    languages: Mapping[str, Price]
    spreads: Mapping[str, Spread]


@dataclass(frozen=True)
class MergeResult:
    """The outcome of `xpet merge`. `verification` None means it was skipped; `size` is of all files, in bytes.

    `combination` is None for a single run.
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
        note = {"note": SYNTHETIC} if self.synthetic else {}
        return {"command": "merge", "schema": 1, **note, **asdict(self)}
