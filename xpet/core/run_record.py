"""The record of a finished run: its settings, what was trained and what was measured, typed and checked when read.

A record stands in five JSON documents and the tensors: as a run folder (`xpet.core.rundir`) or in a language pack
(`xpet.core.language_pack`). `documents_of` makes the documents, `record_of` reads and checks them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from xpet.core.choices import MAP_NAMES
from xpet.core.config import DataConfig, FitPlan, MethodConfig, ModelConfig, RunConfig, TextConfig, to_dict
from xpet.core.config.seeds import TORCH_SEEDS
from xpet.core.errors import DataError, quoted, unknown
from xpet.core.languages import is_language
from xpet.core.losses import ImageLoss
from xpet.core.map_score import MapScore
from xpet.core.routines import ROUTINES, Routine
from xpet.core.selection import RULES
from xpet.core.typed import build, field_types

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
"""Version of the documents, as `config` names it."""
DOCUMENTS = ("config", "history", "metrics", "environment", "split")
"""The documents of a record."""
DAMAGED = "the run is damaged, train it again"
"""What errors advise to do about a document that does not hold what it must."""
_SETTINGS: Mapping[str, type] = {"run": RunConfig, "model": ModelConfig, "data": DataConfig, "method": MethodConfig}
"""Sections of `config` that hold a configuration and nothing else."""
_WRITTEN: Mapping[str, tuple[str, ...]] = {
    "run": ("language", "routine", "loss", "align_weight", "learning_rate", "seed"), "model": ("text",),
    "data": ("name",), "method": ("name",),
}  # fmt: skip
"""Fields of these sections that every version wrote, so that a run without one is damaged."""
_RARE: Mapping[str, Mapping[str, Any]] = {
    "fit": {"gradient_cache": None, "image_loss": None, "logit_scale": None, "fused": True},
    "method": {"maps": list(MAP_NAMES)}, "metrics": {"map": None, "candidate": None, "image_loss": None},
}  # fmt: skip
"""By section, fields that are written only where they have another value than this one."""


_T = TypeVar("_T")


@dataclass(frozen=True)
class RunResult:
    """One trained run on the test split: its settings (`RunConfig`), the checkpoint chosen, R@1 before and after."""

    language: str
    routine: str
    loss: str
    align_weight: float
    learning_rate: float
    seed: int
    status: str
    """`ok`, or `made elsewhere` for a module that xpet did not train."""
    chosen_step: int
    """Step of the checkpoint that was best on validation; of a method that is fitted the number of the candidate."""
    validation: Mapping[str, float]
    """That checkpoint's validation figures: `val_r1` and `val_mrr` in percent, `val_loss`."""
    target_before: float
    """R@1 in percent of the base with natural captions."""
    translated_before: float | None
    """R@1 in percent of the base with captions translated to English."""
    aligned: float
    """R@1 in percent of the trained module, with the text its routine searches with."""
    english_before: float | None
    """R@1 in percent of the base with English captions."""
    english_after: float | None
    """R@1 in percent of the trained module with English captions."""
    seconds: float
    """Training time."""
    folder: str
    """Where the run was written."""
    image_weight: float = 1.0
    trainable: int = 0
    """Trained parameters."""
    stored: int = 0
    """Size of the module's tensors in bytes."""
    map: MapScore | None = None
    """The base with the best closed-form map of the run's captions; None without English captions beside them."""
    image_loss: ImageLoss | None = None
    """The image-text loss with its scale and bias; None: softmax with scale 100, or no such loss."""
    candidate: str | None = None
    """What a method that is fitted chose on validation, such as `ridge 0.3`; None where it was trained."""

    @property
    def setting(self) -> tuple[str, str, float, float]:
        """Routine, loss, weight and learning rate: what validation chooses, for each language over its seeds."""
        return (self.routine, self.loss, self.align_weight, self.learning_rate)


@dataclass(frozen=True)
class RunMetrics(RunResult):
    """What a run measured and cost. Of a module that xpet did not train most is not known, and None."""

    target_before: float | None  # type: ignore[assignment]
    aligned: float | None  # type: ignore[assignment]
    seconds: float | None  # type: ignore[assignment]
    total: int | None = None
    """Parameters of the text tower."""
    share: float | None = None
    """Trained parameters in percent of `total`."""
    peak_memory: float | None = None
    """Peak memory while training, in MiB."""
    synthetic: bool = False
    """Whether the data is the embedded demo world."""
    dropped: int = 0
    """Training captions that were left out as their translation looked wrong."""
    text: Mapping[str, int] | None = None
    """What became of the English lines; None but for routine `text`."""


@dataclass(frozen=True, kw_only=True)
class RunEnvironment:
    """What a run was trained with."""

    versions: Mapping[str, str | None]
    """Versions of xpet (None: it did not train the module) and of the packages its numbers depend on."""
    device: str | None = None
    precision: str | None = None
    """What training computed in."""
    feature_precision: str | None = None
    """What image features were computed in; None for the user's own."""
    towers: Mapping[str, str | None] = field(default_factory=dict)
    """Names of the `text` and `image` tower."""
    fingerprints: Mapping[str, str | None]
    """SHA-256 of the weights of the `text` and `image` tower; None: not known."""
    data: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the caption files, by name."""
    test_captions: str | None
    """SHA-256 of the test captions (`captions_digest`); None: not known."""


@dataclass(frozen=True)
class SplitNames:
    """Image names of each part of the data; `test` None: all test images of the data."""

    train: Sequence[str]
    validation: Sequence[str]
    test: Sequence[str] | None


@dataclass(frozen=True)
class RunRecord:
    """One finished run, or a module that xpet did not train (`xpet.jobs.shared.foreign_modules`).

    Of the latter, what is not known is None or empty.
    """

    run: RunConfig
    model: ModelConfig
    data: DataConfig
    method: MethodConfig
    fit: FitPlan
    delta: Mapping[str, Tensor]
    """The trained parameters by their names in the text tower."""
    history: Sequence[Mapping[str, float]]
    """Validation figures and mean training losses, one entry per validation."""
    metrics: RunMetrics
    environment: RunEnvironment
    split: SplitNames
    text: TextConfig | None = None
    """What routine `text` learnt from; None for other routines."""
    start: str | None = None
    """Where the runs are that training went on from; `from` in the document."""
    combination: Mapping[str, Any] | None = None
    """How several languages' runs became this one, as `xpet merge --json` tells it."""

    @property
    def language(self) -> str:
        """The language it was trained for."""
        return self.run.language

    @property
    def routine(self) -> Routine:
        """The routine it was trained by."""
        return ROUTINES[self.run.routine]


def documents_of(record: RunRecord) -> dict[str, Any]:
    """The JSON-ready documents of a record, by name (`DOCUMENTS`)."""
    settings = {name: _without_rare(name, to_dict(getattr(record, name))) for name in (*_SETTINGS, "fit")}
    more = {"text": record.text and to_dict(record.text), "from": record.start, "combination": record.combination}
    return {
        "config": {"schema": SCHEMA, **settings, **{name: value for name, value in more.items() if value is not None}},
        "history": list(record.history),
        "metrics": _without_rare("metrics", asdict(record.metrics)),
        "environment": asdict(record.environment),
        "split": {part.name: getattr(record.split, part.name) for part in fields(SplitNames)},
    }


def _without_rare(section: str, values: dict[str, Any]) -> dict[str, Any]:
    """A section without those of its rare fields that nothing was said of."""
    rare = _RARE.get(section, {})
    return {name: value for name, value in values.items() if name not in rare or value != rare[name]}


def record_of(path: Path, documents: Mapping[str, Any], delta: Mapping[str, Tensor]) -> RunRecord:
    """The record in some documents, with the tensors that belong to it; `path` is what errors name.

    Raises DataError, naming document and field, unless they hold all that is needed, of the right types.
    """
    files = {name: f"{path}/{name}.json: " for name in DOCUMENTS}
    config = documents["config"]
    settings: dict[str, Any] = {
        name: _section(files["config"], config, name, kind, _WRITTEN[name], closed=True)
        for name, kind in _SETTINGS.items()
    }
    fit = _section(files["config"], config, "fit", FitPlan, ("select",))
    metrics = _section(
        files["metrics"], documents["metrics"], "", RunMetrics, ("trainable", "total", "peak_memory"), ("folder",)
    )
    record = RunRecord(
        **settings, fit=fit, delta=delta, history=documents["history"], metrics=metrics,
        environment=_environment(files["environment"], documents["environment"]),
        split=_section(files["split"], documents["split"], "", SplitNames),
        text=_section(files["config"], config, "text", TextConfig) if config.get("text") is not None else None,
        start=_value(files["config"], "from", str | None, config.get("from")),
        combination=_value(files["config"], "combination", Mapping[str, Any] | None, config.get("combination")),
    )  # fmt: skip
    _check_values(files["config"], record)
    return record


def _environment(where: str, document: Any) -> RunEnvironment:
    versions = _object(where, "versions", _object(where, "", document).get("versions"))
    if "xpet" not in versions:
        raise DataError(f"{where}expected versions.xpet, found none; {DAMAGED}")
    return _section(where, document, "", RunEnvironment)


def _object(where: str, section: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{where}expected an object {section}, found {value!r:.60}; {DAMAGED}")
    return value


def _section(
    where: str,
    document: Any,
    section: str,
    kind: type[_T],
    needed: Sequence[str] = (),
    optional: Sequence[str] = (),
    closed: bool = False,
) -> _T:
    """A dataclass from a section of a document, or from the whole where `section` is empty; errors begin with `where`.

    Fields without a default must be there, but for the `optional` ones (which become empty), and so must the `needed`
    ones. Other entries are passed over, unless the section is `closed`.
    """
    value = _object(where, section, document.get(section) if section and isinstance(document, Mapping) else document)
    start = f"{section}." if section else ""
    types = field_types(cast(Any, kind))
    if closed and (extra := sorted(set(value) - set(types))):
        raise DataError(f"{where}unknown field {start}{extra[0]}; update xpet, or train the run again")
    missing = next((name for name in types if name not in value and name in _required(kind, needed, optional)), None)
    if missing is not None:
        raise DataError(f"{where}expected {start}{missing}, found none; {DAMAGED}")
    given = {name: _value(where, f"{start}{name}", types[name], value[name]) for name in types if name in value}
    return kind(**{**dict.fromkeys(optional, ""), **given})


def _required(kind: type, needed: Sequence[str], optional: Sequence[str]) -> set[str]:
    known = cast(Any, kind)
    bare = {f.name for f in fields(known) if f.default is MISSING and f.default_factory is MISSING}
    return (bare | set(needed)) - set(optional)


def _value(where: str, name: str, annotated: Any, value: Any) -> Any:
    try:
        return build(annotated, value)
    except ValueError as error:
        raise DataError(f"{where}{name}: {error}; {DAMAGED}") from None


def _check_values(where: str, record: RunRecord) -> None:
    """Raise DataError for values of the right type that are not valid."""
    problems = [
        f"{name}: {problem}"
        for name in ("model", "data", "method")
        for problem in getattr(record, name).problems()
    ]  # fmt: skip
    if record.run.routine not in ROUTINES:
        problems.append(unknown("routine", record.run.routine, list(ROUTINES)))
    if not is_language(record.language):
        problems.append(f"run.language: expected the name of a language, found {quoted(record.language)}")
    if record.fit.select not in RULES:
        problems.append(unknown("selection rule", record.fit.select, list(RULES)))
    if record.run.seed not in TORCH_SEEDS:
        problems.append(f"run.seed: expected a number of 64 bits, found {record.run.seed:.3g}")
    if problems:
        raise DataError(f"{where}{problems[0]}; {DAMAGED}")
