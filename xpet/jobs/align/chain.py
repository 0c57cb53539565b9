"""Entry of `xpet align`: trains one phase, or with `--chain` one phase per routine, each going on from the last."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xpet.core.config import AlignConfig
from xpet.core.events import OnEvent, ignore
from xpet.core.files import setting_aside, write_file
from xpet.core.processes import connected
from xpet.core.rundir import CHAIN, check_free
from xpet.core.stopping import catching
from xpet.jobs.align.prepare import new_folder
from xpet.jobs.align.run import run as run_phase
from xpet.jobs.align.watching import tracking_folder
from xpet.jobs.results.align import AlignResult


def run(config: AlignConfig, on_event: OnEvent = ignore) -> AlignResult:
    """Train a configuration: `run_phases` of its phases."""
    phases = config.phases()
    with catching(), connected(60 * config.timeout) as processes:
        return run_phases(phases, processes.listener(on_event))


def run_phases(configs: Sequence[AlignConfig], on_event: OnEvent = ignore) -> AlignResult:
    """Train configurations one after another, each starting from the runs of the one before; the last one's result.

    With several, phase k is in the subfolder `k-ROUTINE` of the first one's folder, which stands for the last phase.
    Every configuration is checked before the first is trained; raises what `xpet.jobs.align.run.run` raises.
    """
    checked = [config.check() for config in configs]
    if len(checked) == 1:
        return run_phase(checked[0], on_event)
    folder = Path(checked[0].out) if checked[0].out else new_folder(checked[0])
    check_free(folder, checked[0].overwrite)
    start, results = checked[0].start, []
    phases = [f"{number}-{'-'.join(config.routines)}" for number, config in enumerate(checked, start=1)]
    with setting_aside(folder):  # what is overwritten comes back when a phase fails
        for name, config in zip(phases, checked, strict=True):
            track_to = str(tracking_folder(config, folder) / name) if config.track else None
            phase = replace(config, out=str(folder / name), start=start, track_to=track_to)
            results.append(run_phase(phase, on_event))
            start = str(folder / name)
        write_file(folder / CHAIN, json.dumps(phases) + "\n")
    return replace(results[-1], seconds=sum(result.seconds for result in results))
