"""Reads modules made by other software as records of runs: PEFT, OpenDelta, and the paper's published code.

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
"""A method, and its trained tensors by their names in the text tower."""


@dataclass(frozen=True)
class ModuleFormat:
    """One way modules are stored."""

    name: str
    holds: Callable[[Path], bool]
    """Whether a path is such a module."""
    read: Callable[[Path], Module]
    """Reads the module at a path."""
    base: Callable[[Path], str | None] = lambda path: None
    """The name the module gives its base; None where it gives none."""
    changes: Callable[[Path], Mapping[str, Callable[[Tensor], Tensor]]] | None = None
    """By name of a weight of the tower, the function that makes the changed weight of it, by the format's own formula
    and read apart from `read`: the proof of a merge uses them. None: the proof uses the module as it was read."""


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
    """Whether a path is an OpenDelta folder. File names are checked first: nothing heavy is imported for others."""
    names = ("config.json", "pytorch_model.bin")
    if not all((path / name).is_file() for name in names):
        return False
    from xpet.methods import opendelta_format

    return opendelta_format.is_delta(path)


MODULE_FORMATS = (
    ModuleFormat(
        "PEFT adapter", lambda path: (path / "adapter_config.json").is_file(), _peft, _peft_base, _peft_changes
    ),
    ModuleFormat("OpenDelta module", _is_delta, _opendelta),
    ModuleFormat("state of a text tower", lambda path: path.suffix in STATES and path.is_file(), _state),
)


def is_foreign(path: Path) -> bool:
    """Whether there is a module made by other software at a path."""
    return _format(path) is not None


def read_foreign(path: Path, languages: Sequence[str] | None) -> list[tuple[Path, RunRecord]]:
    """A record of the module at a path for each language named but English; for `und` where `languages` is None.

    Raises ConfigError when no such language is named, ModelError for what cannot be read.
    """
    module_format = _format(path)
    assert module_format is not None
    if languages is None:
        names = [UNDETERMINED]
    else:
        names = [name for name in dict.fromkeys(map(normalise, languages)) if name != PIVOT]
    if not names or ALL in names:
        raise ConfigError(
            f"{path}: a {module_format.name} does not say which language it is for: expected --lang with the languages "
            f"to use it for, found {'all' if ALL in names else 'none but English' if languages else 'none'}"
        )
    method, delta = module_format.read(path)
    text = module_format.base(path) or ""
    return [(path, _record(name, method, delta, text)) for name in names]


def foreign_changes(path: Path) -> Mapping[str, Callable[[Tensor], Tensor]] | None:
    """By name of a weight of the tower, the function that makes the changed weight of it: see `ModuleFormat.changes`.

    None where there is no such module, or its format has no formula of its own.
    """
    module_format = _format(path)
    return None if module_format is None or module_format.changes is None else module_format.changes(path)


def _format(path: Path) -> ModuleFormat | None:
    return next((known for known in MODULE_FORMATS if known.holds(path)), None)


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
