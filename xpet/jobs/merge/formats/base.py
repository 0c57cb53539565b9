"""What an export format is: a function that writes a folder, one that reads it back for the proof, and texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT
from xpet.core.config import MergeConfig, ModelConfig
from xpet.core.events import OnEvent
from xpet.core.run_record import RunRecord
from xpet.core.rundir import is_run, read_delta
from xpet.jobs.results.merge import MergeResult
from xpet.jobs.shared.measure import Encode
from xpet.jobs.shared.run_records import Runs

if TYPE_CHECKING:
    from torch import Tensor

CARD = "README.md"
"""Name of the model card, which every format has."""


@dataclass(frozen=True)
class MergeJob:
    """What one `xpet merge` writes: a module, of one run or several combined, and its base."""

    config: MergeConfig
    runs: Runs
    """The runs that were named (one per language), each with its path."""
    record: RunRecord
    """The record to write: the combination of the runs, or the single run."""
    model: ModelConfig
    """The towers, at the paths where they are now."""

    @property
    def path(self) -> Path:
        """The folder of the first run, which errors name."""
        return self.runs[0][0]

    def mapped(self) -> Mapping[str, Tensor]:
        """The trained tensors by name; those of a run folder are mapped anew, in memory only while they are used."""
        path, first = self.runs[0]
        return read_delta(path) if self.record is first and is_run(path) else self.record.delta

    @property
    def searched(self) -> Mapping[str, str]:
        """Trained language -> slot of the texts it is searched with."""
        return {record.language: record.routine.evaluation for _, record in self.runs}

    @property
    def languages(self) -> tuple[str, ...]:
        """The trained languages, then the pivot."""
        return tuple(dict.fromkeys((*self.searched, PIVOT)))


def job_of(config: MergeConfig, runs: Runs) -> MergeJob:
    """The job of writing runs; its record is the first run's until they are combined."""
    return MergeJob(config, runs, runs[0][1], runs[0][1].model)


@dataclass(frozen=True)
class ExportFormat:
    """One format of output. The texts may hold {out}, {base}, {family}, {method} and {languages}."""

    name: str
    """As `--export` takes it and `xpet.core.choices.EXPORT_OPTIONS` lists it."""
    write: Callable[[Path, MergeJob, OnEvent], str | None]
    """Fills an empty folder and returns the image tower that belongs to it, None where that is unknown."""
    encoder: Callable[[Path, MergeJob, str], Encode]
    """Loads the folder on a device and returns an encoder of it, for the proof of the merge."""
    size: Callable[[MergeJob], int]
    """Estimates the bytes of the folder."""
    files: tuple[str, ...]
    """Patterns of the names of all files that `write` leaves, to recognise a folder that may be overwritten."""
    is_ours: Callable[[Path], bool]
    """Whether a folder of such files was written by xpet, so that it may be overwritten."""
    check: Callable[[MergeJob], None] | None = None
    """Raises ConfigError or ModelError for a run that the format cannot hold."""
    folds: bool = True
    """Whether the run is folded into the weights, which its method must allow."""
    methods: tuple[str, ...] | None = None
    """Methods that a format which does not fold can hold; None: all."""
    packages: tuple[str, ...] = ()
    """Packages that must be installed."""
    extra: str | None = None
    """The extra of xpet that brings these packages."""
    said: str = "Exported {method} for {languages} of {base}"
    """One line for the terminal: what was done."""
    use: str = ""
    """One line for the terminal: how to load it."""
    about: str = ""
    """Paragraph of the model card: what it is."""
    code: str = ""
    """An example in Python for the model card."""
    tags: tuple[str, ...] = ()
    """Tags of the model card, the family of the base among them as {family}."""
    more: Callable[[Path], tuple[str, ...]] = lambda folder: ()
    """Names of further files that `write` left in a folder, where they depend on the base."""
    towers: bool = False
    """Whether xpet itself loads the folder by `--model`."""


def filled(text: str, result: MergeResult, out: str | None = None, family: str = "") -> str:
    """A text of a format with its fields filled in from a result; `out` is the name of its folder unless given."""
    return text.format(
        out=out or Path(result.out).name, base=result.base, method=result.method, family=family,
        languages=", ".join(result.languages),
    )  # fmt: skip
