"""What the documents of a run must hold, compared with the types of the records they are read into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from xpet.core.config import DataConfig, MethodConfig, ModelConfig, RunConfig
from xpet.core.config.seeds import TORCH_SEEDS
from xpet.core.errors import DataError, unknown
from xpet.core.routines import ROUTINES
from xpet.core.rundir import RunRecord
from xpet.core.selection import RULES
from xpet.core.typed import build, field_types
from xpet.jobs.results.align import RunResult

_REMEDY = "the run is damaged, train it again"


@dataclass(frozen=True)
class _Fit:
    select: str


@dataclass(frozen=True)
class _Costs:
    trainable: int
    total: int | None
    peak_memory: float | None


@dataclass(frozen=True)
class _Environment:
    fingerprints: Mapping[str, str | None]
    test_captions: str | None
    feature_precision: str | None = None


@dataclass(frozen=True)
class _Versions:
    xpet: str | None


@dataclass(frozen=True)
class _Split:
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] | None


_SETTINGS: Mapping[str, type] = {"run": RunConfig, "model": ModelConfig, "data": DataConfig, "method": MethodConfig}
_PLACES: tuple[tuple[str, str, type], ...] = (
    *(("config", section, kind) for section, kind in _SETTINGS.items()), ("config", "fit", _Fit),
    ("metrics", "", RunResult), ("metrics", "", _Costs), ("environment", "", _Environment),
    ("environment", "versions", _Versions), ("split", "", _Split),
)  # fmt: skip
"""Document, its section (the whole where that is empty), and what that must hold."""
_OPEN = ("target_before", "aligned", "seconds")
"""Fields of RunResult that are not known of a module made elsewhere, which a pack may hold."""


def check_record(path: Path, record: RunRecord) -> None:
    """Raise DataError, naming file and field, unless a record holds all that is read of it, of the right types."""
    for document, section, kind in _PLACES:
        found: Any = getattr(record, document)
        where = f"{path}/{document}.json: "
        if section and isinstance(found, Mapping):
            found = found.get(section)
        if not isinstance(found, Mapping):
            raise DataError(f"{where}expected an object {section}, found {found!r:.60}; {_REMEDY}")
        _check_fields(where, section, kind, found)
    _check_values(f"{path}/config.json: ", record)


def _check_fields(where: str, section: str, kind: type, found: Mapping[str, Any]) -> None:
    types = field_types(kind)
    start = f"{section}." if section else ""
    if section in _SETTINGS and (extra := sorted(set(found) - set(types))):
        raise DataError(f"{where}unknown field {start}{extra[0]}; update xpet, or train the run again")
    needed = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}
    needed -= {"folder"}  # where the run is now, whatever it says
    for name, annotated in types.items():
        if name in needed and name not in found:
            raise DataError(f"{where}expected {start}{name}, found none; {_REMEDY}")
        if name not in found or (name in _OPEN and found[name] is None):
            continue
        try:
            build(annotated, found[name])
        except ValueError as error:
            raise DataError(f"{where}{start}{name}: {error}; {_REMEDY}") from None


def _check_values(where: str, record: RunRecord) -> None:
    """What the types allow and the settings do not."""
    run, select = record.config["run"], record.config["fit"]["select"]
    problems = [f"{name}: {problem}" for name, kind in _SETTINGS.items() if name != "run"
                for problem in kind(**record.config[name]).problems()]  # fmt: skip
    if run["routine"] not in ROUTINES:
        problems.append(unknown("routine", run["routine"], list(ROUTINES)))
    if select not in RULES:
        problems.append(unknown("selection rule", select, list(RULES)))
    if run["seed"] not in TORCH_SEEDS:
        problems.append(f"run.seed: expected a number of 64 bits, found {run['seed']:.3g}")
    if problems:
        raise DataError(f"{where}{problems[0]}; {_REMEDY}")
