"""A sweep that was stopped goes on: until its last run is written, its plan stands beside its runs.

The same command with the same `--out` trains what is missing. So does `xpet align --resume FOLDER`, which takes the
command from the plan.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from xpet.core.config import AlignPlan, to_dict
from xpet.core.errors import OutputError, quoted
from xpet.core.files import is_temporary, write_file, writing
from xpet.core.paths import exists
from xpet.core.rundir import SWEEP, SWEEP_LOCK, is_run, read_run, read_sweep
from xpet.data.locking import locked
from xpet.jobs.shared.run_records import Runs

SCHEMA = 1
SPEED = ("workers", "stack", "compile", "cuda_graphs", "gradient_cache")
FREE = (("out",), ("overwrite",), *(("fit", name) for name in SPEED))
"""Fields of a plan that may differ when a sweep goes on: where it is, and how fast it is trained."""


def is_unfinished(folder: Path) -> bool:
    """Whether a sweep was stopped there before its last run was written."""
    return exists(folder / SWEEP)


def write_plan(folder: Path, plan: AlignPlan) -> None:
    """Put the plan into the folder of a sweep, before its first run."""
    document = {"schema": SCHEMA, "config": to_dict(plan)}
    with writing(f"the sweep in {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / SWEEP, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def finish(folder: Path) -> None:
    """Remove the plan of a sweep whose runs are all written."""
    (folder / SWEEP).unlink(missing_ok=True)
    (folder / SWEEP_LOCK).unlink(missing_ok=True)


def finished_runs(plan: AlignPlan, folder: Path) -> Runs:
    """The runs that are written in the folder of a stopped sweep, which must have been the same one.

    What a killed process left half-written is removed. Raises OutputError for a sweep of another plan, naming what
    differs, and DataError for a damaged run.
    """
    differing = list(_differences(read_sweep(folder), json.loads(json.dumps(to_dict(plan)))))
    if differing:
        raise OutputError(
            f"output folder {folder} holds an unfinished sweep of another plan: {'; '.join(differing)}; repeat that "
            "command to go on, choose another --out or pass --overwrite"
        )
    for path in folder.iterdir():
        if is_temporary(path):
            shutil.rmtree(path, ignore_errors=True)
    paths = [folder / run.label for run in plan.runs()]
    return [(path, read_run(path)) for path in paths if is_run(path)]


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only process that writes runs of a sweep into its folder; raises OutputError while another one does."""
    with ExitStack() as held:
        with writing(f"the sweep in {folder}"):
            held.enter_context(locked(folder / SWEEP_LOCK, f"the sweep in {folder}"))
        yield


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
