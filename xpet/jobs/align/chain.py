"""Entry of `xpet align`: trains one phase, or with `--chain` one phase per routine, each going on from the last."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from xpet.core.config import AlignConfig, to_dict
from xpet.core.events import OnEvent, ignore
from xpet.core.files import write_file
from xpet.core.paths import exists
from xpet.core.processes import connected, here
from xpet.core.rundir import CHAIN
from xpet.core.stopping import Stopped, catching
from xpet.jobs.align.prepare import new_folder
from xpet.jobs.align.run import absolute_paths
from xpet.jobs.align.run import run as run_phase
from xpet.jobs.align.unfinished import Unfinished
from xpet.jobs.align.watching import tracking_folder
from xpet.jobs.results.align import AlignResult


def run(config: AlignConfig, on_event: OnEvent = ignore) -> AlignResult:
    """Train a configuration: `run_phases` of its phases."""
    phases = config.phases()
    with catching(), connected(60 * config.timeout) as processes:
        return run_phases(phases, processes.listener(on_event), absolute_paths(config))


def run_phases(
    configs: Sequence[AlignConfig], on_event: OnEvent = ignore, command: AlignConfig | None = None
) -> AlignResult:
    """Train configurations one after another, each starting from the runs of the one before; the last one's result.

    With several, phase k is in the subfolder `k-ROUTINE` of the first one's folder, which stands for the last phase. A
    chain that was stopped goes on with the phase it was in; `command` is the configuration that `--resume` takes.
    Every configuration is checked before the first is trained; raises what `xpet.jobs.align.run.run` raises.
    """
    checked = [config.check() for config in configs]
    if len(checked) == 1:
        return run_phase(checked[0], on_event)
    first = checked[0]
    folder = Path(here().first("the output folder", lambda: first.out or str(new_folder(first))))
    document = to_dict(command) if command is not None else {"phases": [to_dict(config) for config in checked]}
    names = [f"{number}-{'-'.join(config.routines)}" for number, config in enumerate(checked, start=1)]
    with catching(), ExitStack() as held:
        work = _begun(folder, document, first.overwrite, held)
        try:
            result = _train(folder, dict(zip(names, checked, strict=True)), on_event)
        except BaseException as error:
            if isinstance(error, Stopped) and error.go_on:
                error.go_on = f"xpet align --resume {shlex.quote(str(folder))}"
            if here().is_first:
                work.take_back()
            raise
        if here().is_first:
            write_file(folder / CHAIN, json.dumps(names) + "\n")
        work.finish()
        Unfinished(folder / names[-1]).finish()
    return result


def _begun(folder: Path, document: Mapping[str, Any], overwrite: bool, held: ExitStack) -> Unfinished:
    """The unfinished chain in a folder, which begins now or goes on; what it overwrites is set aside."""
    work, processes = Unfinished(folder, is_chain=True), here()
    work.check(overwrite)
    is_begun = processes.first("unfinished chain", lambda: work.is_begun)
    if is_begun:
        work.hold(held, anew=overwrite)
    if is_begun and not overwrite:
        work.compare(document)
    else:
        work.begin(document, overwrite, held)
    processes.first("what is overwritten", work.set_aside)
    return work


def _train(folder: Path, phases: Mapping[str, AlignConfig], on_event: OnEvent) -> AlignResult:
    """Train the phases that are not finished, each by its name; returns the last one's result.

    What stands for a phase that goes on is removed when the next one begins.
    """
    start, seconds, result = next(iter(phases.values())).start, 0.0, None
    for name, config in phases.items():
        work = Unfinished(folder / name)
        if not here().first("finished phase", lambda work=work: exists(work.out) and not work.is_begun):  # type: ignore[misc]
            track_to = str(tracking_folder(config, folder) / name) if config.track else None
            phase = replace(config, out=str(folder / name), start=start, track_to=track_to, overwrite=False)
            result = run_phase(phase, on_event, is_phase=True)
            seconds += result.seconds
            if name != list(phases)[-1]:
                work.finish()
        start = str(folder / name)
    assert result is not None, "the last phase is finished by its chain"
    return replace(result, seconds=seconds)
