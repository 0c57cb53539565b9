"""The result of `xpet align`, which the view prints and `--json` writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from xpet.core.estimates import Disparity
from xpet.core.map_score import MapScore
from xpet.core.run_record import RunResult
from xpet.jobs.results.document import disparity_fields, document


@dataclass(frozen=True)
class LanguageResult:
    """The setting chosen for a language on validation: R@1 in percent on the test split, mean over its seeds.

    `target_before` and `translated_before` are the base's, with natural captions and with captions translated to
    English; `aligned_std` is the standard deviation over seeds, `gain` is aligned minus target_before in points.
    `seconds` is the training time of all seeds; `folder` and `trainable` (parameters) are those of the best run. `map`
    is the base with the best closed-form map of the same captions; None without English captions beside them.
    `candidate` is what a method that is fitted chose on validation, such as `ridge 0.3`; None where it was trained.
    """

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
    map: MapScore | None = None
    candidate: str | None = None


@dataclass(frozen=True)
class AlignResult:
    """The result of `xpet align`. `before` and `after` are disparity over `compared`: aligned languages and English.

    `trainable` (parameters) and `stored` (bytes) are those of the largest module, `total` counts the text tower's
    parameters, `peak_memory` is in MiB. `failed` are the labels of runs that diverged. `text` counts by language what
    became of the lines of routine `text`. `chosen_by` names the figure that settings are compared by on validation.
    `mapped` is disparity with the map of every language (None where one has none), `conclusion` the sentence that
    compares modules and maps on the `images` of the test split.
    """

    method: str
    trainable: int
    total: int
    data: str
    shots: int | None
    synthetic: bool
    compared: tuple[str, ...]
    english_before: float | None
    before: Disparity[float] | None
    after: Disparity[float] | None
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
    mapped: Disparity[float] | None = None
    conclusion: str = ""
    images: int = 0

    @property
    def share(self) -> float:
        """Trained share of the text tower's parameters, in percent."""
        return 100.0 * self.trainable / self.total

    def to_dict(self) -> dict[str, Any]:
        """The whole result as one JSON-ready document."""
        names = ("before", "mapped", "after")
        spreads = {name: getattr(self, name) and disparity_fields(getattr(self, name)) for name in names}
        return document("align", {**asdict(self), **spreads, "share": self.share})
