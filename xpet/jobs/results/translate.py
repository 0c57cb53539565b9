"""The results of `xpet translate`: of texts, of a data set, of packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xpet.jobs.results.document import document


@dataclass(frozen=True)
class TranslateResult:
    """The result of `xpet translate` for texts. Of `lines`, `flagged_lines` have flags; `flags` counts lines by flag.

    `cached`, `translated` and `retried` count distinct lines over all hops of the `chain` of packages. `scores` are
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
        return document("translate", asdict(self))


def describe_scores(scores: Mapping[str, Any]) -> str:
    """Scores of a translation in one line, with what makes them comparable."""
    bleu, chrf = (f"{scores[name]:.1f} ({scores[f'{name}_signature']})" for name in ("bleu", "chrf"))
    return f"Against {scores['reference']}: BLEU {bleu}, chrF {chrf}"


@dataclass(frozen=True)
class ColumnResult:
    """One slot of one language in one split, translated: `rows` captions, of which `flagged` have flags."""

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
    """The result of `xpet translate --data`. `found` says whether `align` and `eval` look into `folder` unasked.

    `own` are slots that the data itself has: `align` and `eval` prefer these to files in the default folder.
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
        return document("translate", asdict(self))


@dataclass(frozen=True)
class PackageInfo:
    """An installed package. `used` is False when another one serves the pair; only `--install` sets `new`, `sha256`."""

    pair: str
    version: str
    folder: str
    used: bool = True
    sha256: str | None = None
    new: bool | None = None


@dataclass(frozen=True)
class PackagesResult:
    """Packages, the chain of packages for every pair of languages that has one, and problems of broken packages."""

    folder: str
    packages: tuple[PackageInfo, ...]
    chains: Mapping[str, tuple[str, ...]]
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The whole result as one JSON-ready document."""
        return document("translate", asdict(self))
