"""What `xpet merge` can write: a form is a row with functions that write a folder and read it back for the proof."""

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


@dataclass(frozen=True)
class Task:
    """One thing to write: `record`, which `runs` were made into (a single one stands for itself), and its base."""

    config: MergeConfig
    runs: Runs
    record: RunRecord
    model: ModelConfig

    @property
    def path(self) -> Path:
        """The folder of the first run, which errors name."""
        return self.runs[0][0]

    def mapped(self) -> Mapping[str, Tensor]:
        """What was trained; a run's own file is mapped anew, so that what is read stays in memory only while used."""
        path, own = self.runs[0]
        return read_delta(path) if self.record is own and is_run(path) else self.record.delta

    @property
    def searched(self) -> Mapping[str, str]:
        """Trained language -> slot of the texts it is searched with."""
        return {record.language: record.routine.evaluation for _, record in self.runs}

    @property
    def languages(self) -> tuple[str, ...]:
        """The trained languages, then the pivot."""
        return tuple(dict.fromkeys((*self.searched, PIVOT)))


def task_of(config: MergeConfig, runs: Runs) -> Task:
    """The task of writing runs, of which the first stands for all until they are combined."""
    return Task(config, runs, runs[0][1], runs[0][1].model)


@dataclass(frozen=True)
class Form:
    """One form of output.

    `write` fills an empty folder and returns the image tower that belongs to it, None where that is unknown; `encoder`
    reads the folder back, on a device, and encodes texts with it. `size` is how many bytes the folder will have, about.
    `files` are the patterns of names the folder consists of; `own` tells whether a folder of such files is xpet's.
    `folds`: the method must fold into the weights; else `methods` are those it has a place for, None: all; `check`
    raises for other runs it cannot hold. `packages`: what must be importable, with `extra` of xpet that brings it.
    `options` are the settings of `MergeConfig` that it heeds.

    Texts, with {out}, {base}, {method} and {languages} to fill in: `said` in one line what was done, `use` how to load
    it, `about` what the card says of it, `code` an example in Python for the card. `tags` are the card's.
    `towers`: xpet itself takes it as `--model`.
    """

    name: str
    summary: str
    write: Callable[[Path, Task, OnEvent], str | None]
    encoder: Callable[[Path, Task, str], Encode]
    size: Callable[[Task], int]
    files: tuple[str, ...]
    own: Callable[[Path], bool]
    check: Callable[[Task], None] | None = None
    folds: bool = True
    methods: tuple[str, ...] | None = None
    packages: tuple[str, ...] = ()
    extra: str | None = None
    options: tuple[str, ...] = ()
    said: str = "Exported {method} for {languages} of {base}"
    use: str = ""
    about: str = ""
    code: str = ""
    tags: tuple[str, ...] = ()
    towers: bool = False


def filled(text: str, result: MergeResult, out: str | None = None) -> str:
    """One of a form's texts about a result; `out` is its folder's name unless given."""
    return text.format(
        out=out or Path(result.out).name, base=result.base, method=result.method, languages=", ".join(result.languages)
    )
