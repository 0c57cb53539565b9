"""Modules made elsewhere, as records of runs: PEFT adapters, OpenDelta folders, states of the paper's published code.

Such a module says neither its language nor its data, and of its base at most the name. Its record leaves these open:
fingerprints are None, the test split is the data's own (None), data set and base have no name (""); the routine is
search with natural text. The language is what the user names, else `und` (undetermined), which stands for every
language but English.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT
from xpet.core.config import DataConfig, FitPlan, MethodConfig, ModelConfig, RunConfig
from xpet.core.errors import ConfigError
from xpet.core.languages import ALL, UNDETERMINED, normalise
from xpet.core.run_record import RunEnvironment, RunMetrics, RunRecord, SplitNames

if TYPE_CHECKING:
    from torch import Tensor

STATES = (".ckpt", ".pt", ".pth", ".bin")
"""Endings of files with a state dict."""
Module = tuple[MethodConfig, "dict[str, Tensor]"]


@dataclass(frozen=True)
class Format:
    """One way modules are stored: whether a path is one, the module in it, and what it calls its base.

    `changes` are what the module makes of the tower's weights by the format's own formula, read apart from `read`: a
    merge is proven by them. None: it is proven by the module as it was read.
    """

    name: str
    holds: Callable[[Path], bool]
    read: Callable[[Path], Module]
    base: Callable[[Path], str | None] = lambda path: None
    changes: Callable[[Path], Mapping[str, Callable[[Tensor], Tensor]]] | None = None


def _peft(path: Path) -> Module:
    from xpet.methods import peft_format

    return peft_format.read(path)


def _peft_base(path: Path) -> str | None:
    from xpet.methods import peft_format

    return peft_format.base_of(path)


def _peft_changes(path: Path) -> Mapping[str, Callable[[Tensor], Tensor]]:
    from xpet.methods import peft_format

    return peft_format.weight_changes(path)


def _opendelta(path: Path) -> Module:
    from xpet.methods import opendelta_format

    return opendelta_format.read(path)


def _state(path: Path) -> Module:
    from xpet.methods import opendelta_format

    return opendelta_format.read_state(path)


def _is_delta(path: Path) -> bool:
    """An OpenDelta folder; told by its files first, so that nothing heavy is imported for others."""
    names = ("config.json", "pytorch_model.bin")
    if not all((path / name).is_file() for name in names):
        return False
    from xpet.methods import opendelta_format

    return opendelta_format.is_delta(path)


FORMATS = (
    Format("PEFT adapter", lambda path: (path / "adapter_config.json").is_file(), _peft, _peft_base, _peft_changes),
    Format("OpenDelta module", _is_delta, _opendelta),
    Format("state of a text tower", lambda path: path.suffix in STATES and path.is_file(), _state),
)


def is_foreign(path: Path) -> bool:
    """Whether there is a module of another software at a path."""
    return _format(path) is not None


def read_foreign(path: Path, languages: Sequence[str] | None) -> list[tuple[Path, RunRecord]]:
    """A record of the module at a path for each language named but English; for `und` where `languages` is None.

    Raises ConfigError when no such language is named, ModelError for what cannot be read.
    """
    found = _format(path)
    assert found is not None
    if languages is None:
        names = [UNDETERMINED]
    else:
        names = [name for name in dict.fromkeys(map(normalise, languages)) if name != PIVOT]
    if not names or ALL in names:
        raise ConfigError(
            f"{path}: a {found.name} does not say which language it is for: expected --lang with the languages to use "
            f"it for, found {'all' if ALL in names else 'none but English' if languages else 'none'}"
        )
    method, delta = found.read(path)
    text = found.base(path) or ""
    return [(path, _record(name, method, delta, text)) for name in names]


def foreign_changes(path: Path) -> Mapping[str, Callable[[Tensor], Tensor]] | None:
    """What the module at a path makes of the tower's weights, by its format's own formula; None where that has none."""
    found = _format(path)
    return None if found is None or found.changes is None else found.changes(path)


def _format(path: Path) -> Format | None:
    return next((known for known in FORMATS if known.holds(path)), None)


def _record(language: str, method: MethodConfig, delta: Mapping[str, Tensor], text: str) -> RunRecord:
    """The record of a module for a language; `text` is its base, empty where that has no name."""
    run = RunConfig(language, routine="baseline-target")
    metrics = RunMetrics(
        **asdict(run), status="made elsewhere", chosen_step=0, validation={}, target_before=None,
        translated_before=None, aligned=None, english_before=None, english_after=None, seconds=None, folder="",
        trainable=sum(value.numel() for value in delta.values()),
    )  # fmt: skip
    environment = RunEnvironment(
        versions={"xpet": None}, fingerprints={"text": None, "image": None}, test_captions=None
    )  # fmt: skip
    return RunRecord(
        run, ModelConfig(text), DataConfig(name=""), method, FitPlan(), delta, [], metrics, environment,
        SplitNames((), (), None),
    )  # fmt: skip
