"""Work that is not finished: its plan, lock and checkpoints stand in `OUT.unfinished`, beside the output folder.

The output folder holds finished runs and nothing else. The same command with the same `--out` goes on with the rest. So
does `xpet align --resume OUT`, which takes the command from the plan.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from xpet.core.config import AlignPlan, to_dict
from xpet.core.errors import OutputError, quoted
from xpet.core.files import is_temporary, remove_left_over, replacing_folder, write_file, writing
from xpet.core.paths import exists
from xpet.core.processes import here
from xpet.core.run_record import RunRecord
from xpet.core.rundir import (
    HISTORIES,
    SWEEP,
    SWEEP_LOCK,
    check_free,
    is_run,
    read_run,
    read_sweep,
    unfinished_folder,
    write_run,
)  # fmt: skip
from xpet.data.locking import locked
from xpet.jobs.shared.run_records import Runs

SCHEMA = 1
CHECKPOINTS, DIVERGED = "checkpoints", "diverged"
"""Folders of checkpoints, and of one empty file for each run that diverged, named by its label."""
NEW, REPLACED = "new", "replaced"
"""Folders that stand for a moment, while the first finished run takes the place of an earlier output."""
REPLACING_LOCK = ".replacing.lock"
"""Lock of the process that replaces an earlier output."""
OWN = {SWEEP, SWEEP_LOCK, CHECKPOINTS, DIVERGED, HISTORIES, NEW, REPLACED, REPLACING_LOCK}
GLANCE = 0.3
"""Seconds that the lock is waited for: longer than `--status` looks at it."""
PATIENCE = 600.0
"""Seconds that a process waits for another to replace an earlier output."""
SPEED = ("workers", "stack", "compile", "cuda_graphs", "fused", "gradient_cache")
FREE = (
    ("out",),
    ("overwrite",),
    ("checkpoint_every",),
    ("track",),
    ("track_to",),
    ("timeout",),
    *(("fit", name) for name in SPEED),
)
"""Fields of a plan that may differ when work goes on: where it is, who watches it, and how fast it is trained."""


class Unfinished:
    """The unfinished work of a command that writes to the folder `out`.

    Attributes:
        out: the folder of the run, of the sweep, or of the chain; a chain's phases have unfinished work of their own.
        folder: where the plan, the checkpoints and the rest stand.
        is_chain: whether it is a chain. Then an earlier output is set aside until the last phase is finished.
        is_replacing: whether an earlier output stands at `out`, which the first finished run replaces (`--overwrite`).
    """

    def __init__(self, out: Path, is_chain: bool = False) -> None:
        self.out, self.is_chain = out, is_chain
        self.folder = unfinished_folder(out)
        self.is_replacing = False
        self._config: Mapping[str, Any] = {}

    @property
    def is_begun(self) -> bool:
        """Whether a command began this work, and did not finish it."""
        return exists(self.folder / SWEEP)

    def check(self, overwrite: bool) -> None:
        """Raise OutputError unless this work could be begun there now, or was begun and goes on."""
        here().first("checking the output folder", lambda: self._check(overwrite))

    def _check(self, overwrite: bool) -> None:
        if not self.is_begun:
            check_free(self.out, overwrite)
            check_free(self.folder, True, _is_left_over, "folder of unfinished work")
        elif overwrite and exists(self.out):
            check_free(self.out, overwrite)

    def hold(self, held: ExitStack, anew: bool) -> None:
        """Be the only process that does this work, which was begun; raises OutputError while another one does.

        What a killed process left half-written is removed. Raises DataError for a damaged plan, unless all begins
        `anew`. Of several processes the first does it for all.
        """
        here().first("going on", lambda: self._hold(held, anew))
        if not (anew or here().is_first):
            self._read_plan()

    def _hold(self, held: ExitStack, anew: bool) -> None:
        self._lock(held)
        if not anew:
            self._read_plan()
        with writing(f"the sweep in {self.out}"):
            if exists(self.folder / REPLACED) and (anew or not self.is_chain):
                self._end_replacing()
            remove_left_over(self.out)
            for folder in (self.folder, self.folder / CHECKPOINTS, self.out):
                for path in folder.iterdir() if folder.is_dir() and not is_run(folder) else ():
                    if is_temporary(path):
                        _remove(path)
            _remove(self.folder / NEW)

    def finished(self, plan: AlignPlan) -> Runs:
        """The runs of the plan that are written, where this work was begun with the same plan.

        Raises OutputError for work of another plan, naming what differs, and DataError for a damaged run.
        """
        self.compare(to_dict(plan))
        if self.is_replacing:
            return []
        paths = [self.run_folder(plan, run.label) for run in plan.runs()]
        return [(path, read_run(path)) for path in paths if is_run(path)]

    def compare(self, config: Mapping[str, Any]) -> None:
        """Raise OutputError unless this work was begun with this configuration, naming what differs."""
        differing = list(_differences(self._config, json.loads(json.dumps(config))))
        if differing:
            raise OutputError(
                f"output folder {self.out} holds an unfinished sweep of another plan: {'; '.join(differing)}; repeat "
                "that command to go on, choose another --out or pass --overwrite"
            )

    def run_folder(self, plan: AlignPlan, label: str) -> Path:
        """Where a run of the plan goes, given its label: a single run is the output folder itself."""
        return self.out if len(list(plan.runs())) == 1 else self.out / label

    def begin(self, config: Mapping[str, Any], overwrite: bool, held: ExitStack) -> None:
        """Put down the plan, before the first step. Earlier unfinished work is removed.

        Of several processes the first does it for all; raises OutputError where another one does not see the folder.
        """
        here().first("putting down the plan", lambda: self._begin(config, overwrite, held))
        if not self.is_begun:
            raise OutputError(
                f"{self.folder}: expected a folder that all processes share, found it only where process 0 runs; name "
                "one on a common file system by --out"
            )
        self._read_plan()

    def _begin(self, config: Mapping[str, Any], overwrite: bool, held: ExitStack) -> None:
        self.is_replacing, self._config = exists(self.out), config
        if self.is_replacing and not overwrite:
            raise OutputError(f"output folder {self.out} was made by somebody else meanwhile; choose another --out")
        with writing(f"the sweep in {self.out}"):
            _remove(self.folder)
            with replacing_folder(self.folder) as stage:
                (stage / SWEEP).write_text(self._plan_text(), encoding="utf-8")
        self._lock(held)

    def write(self, path: Path, record: RunRecord) -> None:
        """Write a finished run. What is overwritten is removed only when the first new run is there."""
        if not self.is_replacing:
            write_run(path, record)
            return
        with locked(self.folder / REPLACING_LOCK, f"the sweep in {self.out}", PATIENCE):
            self._read_plan()  # another process may have replaced it
            if self.is_replacing:
                self._replace(path, record)
            else:
                write_run(path, record)

    def _replace(self, path: Path, record: RunRecord) -> None:
        write_run(self.folder / NEW / path.relative_to(self.out), record)
        with writing(f"the sweep in {self.out}"):
            os.replace(self.out, self.folder / REPLACED)
            self._end_replacing()

    def finish(self) -> None:
        """Remove everything: the last run is written. The plan goes last, so that a killed command can do it again.

        Of several processes the first does it, when all are here.
        """
        here().barrier("the end")
        if here().is_first:
            self._finish()

    def _finish(self) -> None:
        with writing(f"the sweep in {self.out}"):
            for name in (*sorted(OWN - {SWEEP}), SWEEP):
                _remove(self.folder / name)
        with suppress(OSError):  # an empty folder without a plan stands for nothing
            _remove(self.folder)

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / CHECKPOINTS

    def is_settled(self, path: Path, label: str) -> bool:
        """Whether a run is written at `path`, or diverged."""
        return (not self.is_replacing and is_run(path)) or exists(self.folder / DIVERGED / label)

    def set_aside(self) -> None:
        """Move what a chain overwrites out of its way, until the last phase is finished."""
        if self.is_replacing and not exists(self.folder / REPLACED):
            with writing(f"the chain in {self.out}"):
                os.replace(self.out, self.folder / REPLACED)

    def take_back(self) -> None:
        """Where no phase of a chain began to train, leave everything as if there had been no command."""
        with suppress(OSError):
            self.out.rmdir()  # which is only done where it is empty
        if not exists(self.out):
            if exists(self.folder / REPLACED):
                os.replace(self.folder / REPLACED, self.out)
            self._finish()

    def note_divergence(self, label: str) -> None:
        """Remember that a run diverged, so that it is not trained again."""
        with writing(f"the sweep in {self.out}"):
            (self.folder / DIVERGED).mkdir(exist_ok=True)
            (self.folder / DIVERGED / label).touch()

    def diverged(self, plan: AlignPlan) -> list[str]:
        """The labels of the plan's runs that diverged."""
        return [run.label for run in plan.runs() if exists(self.folder / DIVERGED / run.label)]

    def _read_plan(self) -> None:
        document = read_sweep(self.folder)
        self.is_replacing, self._config = bool(document.get("replaces")), document["config"]

    def _lock(self, held: ExitStack) -> None:
        with writing(f"the sweep in {self.out}"):
            held.enter_context(locked(self.folder / SWEEP_LOCK, f"the sweep in {self.out}", GLANCE))

    def _write_plan(self, folder: Path) -> None:
        write_file(folder / SWEEP, self._plan_text())

    def _plan_text(self) -> str:
        document = {"schema": SCHEMA, "replaces": self.is_replacing, "config": self._config}
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    def _end_replacing(self) -> None:
        """End what was begun: the new output takes its place, or else the earlier one comes back."""
        new, replaced = self.folder / NEW, self.folder / REPLACED
        if not exists(self.out):
            os.replace(new if exists(new) else replaced, self.out)
        if exists(replaced):
            self.is_replacing = False
            if self._config:
                self._write_plan(self.folder)
            _remove(replaced)


def _remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    with suppress(FileNotFoundError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_left_over(folder: Path) -> bool:
    """Whether a folder without a plan is what a command left that was killed while it removed its unfinished work."""
    return folder.is_dir() and all(path.name in OWN or is_temporary(path) for path in folder.iterdir())


def _differences(stored: Mapping[str, Any], given: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Where two plans differ, in words."""
    for name in sorted({*stored, *given}):
        here, before, now = (*path, name), stored.get(name), given.get(name)
        if here in FREE or before == now:
            continue
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            yield from _differences(before, now, here)
        else:
            yield f"{'.'.join(here)} was {quoted(str(before))}, is {quoted(str(now))}"
