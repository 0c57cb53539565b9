"""What an export format is: functions that write a folder and read it back for the proof, and texts about it."""

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
"""File of the model card, which every format has."""


@dataclass(frozen=True)
class MergeJob:
    """One thing to write."""

    config: MergeConfig
    runs: Runs
    """The runs that were named, each with its path."""
    record: RunRecord
    """What the runs were made into; a single run stands for itself."""
    model: ModelConfig
    """The towers, at the paths where they are now."""

    @property
    def path(self) -> Path:
        """The folder of the first run, which errors name."""
        return self.runs[0][0]

    def mapped(self) -> Mapping[str, Tensor]:
        """The trained tensors; those of a run folder are mapped anew, to be in memory only while they are used."""
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
    """The job of writing runs, of which the first stands for all until they are combined."""
    return MergeJob(config, runs, runs[0][1], runs[0][1].model)


@dataclass(frozen=True)
class ExportFormat:
    """One format of output. The texts may hold {out}, {base}, {method} and {languages}, which are filled in."""

    name: str
    """As `--export` takes it and `xpet.core.choices.EXPORT_OPTIONS` lists it."""
    write: Callable[[Path, MergeJob, OnEvent], str | None]
    """Fills an empty folder and returns the image tower that belongs to it, None where that is unknown."""
    encoder: Callable[[Path, MergeJob, str], Encode]
    """Reads the folder back, on a device, and encodes texts with it: the proof of the merge."""
    size: Callable[[MergeJob], int]
    """About how many bytes the folder will have."""
    files: tuple[str, ...]
    """Patterns of the names of all files that `write` leaves, to recognise a folder that may be overwritten."""
    is_ours: Callable[[Path], bool]
    """Whether a folder of such files was written by xpet, so that it may be overwritten."""
    check: Callable[[MergeJob], None] | None = None
    """Raises ConfigError or ModelError for a run that the format cannot hold."""
    folds: bool = True
    """Whether the run is folded into the weights, so that its method must fold."""
    methods: tuple[str, ...] | None = None
    """Methods that a format which does not fold has a place for; None: all."""
    packages: tuple[str, ...] = ()
    """What must be importable."""
    extra: str | None = None
    """The extra of xpet that brings these packages."""
    said: str = "Exported {method} for {languages} of {base}"
    """What was done, in one line."""
    use: str = ""
    """How to load it, in one line."""
    about: str = ""
    """What the model card says of it."""
    code: str = ""
    """An example in Python for the model card."""
    tags: tuple[str, ...] = ()
    """Tags of the model card."""
    towers: bool = False
    """Whether xpet itself takes it as `--model`."""


def filled(text: str, result: MergeResult, out: str | None = None) -> str:
    """One of a format's texts about a result; `out` is its folder's name unless given."""
    return text.format(
        out=out or Path(result.out).name, base=result.base, method=result.method, languages=", ".join(result.languages)
    )
