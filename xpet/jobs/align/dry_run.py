"""`xpet align --dry-run`: checks everything, times a sample, and estimates what the whole will take."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.config import AlignConfig, AlignPlan
from xpet.core.errors import ConfigError
from xpet.core.events import OnEvent, ignore
from xpet.jobs.align.prepare import AlignSetup, prepare
from xpet.jobs.align.stacks import assign_runs, fitting_of, plan_stacks
from xpet.jobs.align.text_lines import read_once
from xpet.jobs.results.synthetic import SYNTHETIC

if TYPE_CHECKING:
    from xpet.training.queue import Run

LINES = 192
"""English lines that are prepared as a sample."""
STEPS = 3
"""Training steps that are timed, after one that warms up."""
BYTES = 4
"""Bytes of one float32 on disk."""


@dataclass(frozen=True)
class Phase:
    """What one phase will take: `runs` runs of `steps` steps each; times in seconds, `disk` is bytes of training pairs.

    `lines` English lines will be encoded and translated, but for those in the cache; None: the routine reads none.
    """

    routines: tuple[str, ...]
    runs: int
    steps: int
    lines: int | None
    preparing: float
    training: float
    disk: int


@dataclass(frozen=True)
class EstimateResult:
    """The outcome of `xpet align --dry-run`: nothing was trained or written but to the cache."""

    phases: tuple[Phase, ...]
    data: str
    languages: tuple[str, ...]
    synthetic: bool
    device: str

    @property
    def seconds(self) -> float:
        """Seconds that all phases take."""
        return sum(phase.preparing + phase.training for phase in self.phases)

    def to_dict(self) -> dict[str, Any]:
        """The whole result as one JSON-ready document."""
        note = {"note": SYNTHETIC} if self.synthetic else {}
        return {"command": "align", "schema": 1, "dry_run": True, **note, "seconds": self.seconds, **asdict(self)}


def run(config: AlignConfig, on_event: OnEvent = ignore) -> EstimateResult:
    """Check every phase as training would, and time a sample of it; raises what training would raise first."""
    phases = []
    for plan in [phase.check() for phase in config.phases()]:
        prepared, phase = _phase(plan, on_event)
        phases.append(phase)
    return EstimateResult(
        tuple(phases), prepared.corpus.name, prepared.config.languages, prepared.corpus.synthetic,
        str(prepared.engine.device),
    )  # fmt: skip


def _phase(config: AlignPlan, on_event: OnEvent) -> tuple[AlignSetup, Phase]:
    """Prepare a phase (of routine `text` with few lines) and estimate it; raises what preparing raises."""
    sample = config
    if config.text_only:
        limit = LINES if config.text.lines is None else min(LINES, config.text.lines)
        small_batches = replace(config.fit, batch_size=min(config.fit.batch_size, limit // 2))
        sample = replace(config, text=replace(config.text, lines=limit), fit=small_batches)
        pipes = read_once(config.text.corpus or ())
        if pipes:
            raise ConfigError(
                f"--dry-run: expected a corpus that can be read twice, found {', '.join(pipes)}; put it in a file"
            )
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="xpet-dry-run-") as scratch:  # the cache would make the sample look quick
        setup = prepare(sample, on_event, Path(scratch))
        preparing = time.monotonic() - started
        return _timed(config, sample, setup, preparing, on_event)


def _timed(
    config: AlignPlan, sample: AlignPlan, setup: AlignSetup, preparing: float, on_event: OnEvent
) -> tuple[AlignSetup, Phase]:
    """The estimate of `config`, from the setup of its `sample` that took `preparing` seconds."""
    from xpet.training.closed_form import MOST_PAIRS

    lines, disk = None, 0
    if setup.english is not None:
        counts: dict[str, int] = {}
        whole = replace(setup.english, config=config.text)
        for _ in whole.read(counts):
            pass
        lines = counts.get("kept", 0)
        share = lines / max(1, next(iter(setup.pairs.values())).counts["kept"])
        preparing += setup.pair_seconds * (share - 1)
        features = BYTES * lines * setup.towers.text.tower.dimensions  # languages share them
        disk = int(share * sum(pairs.disk for pairs in setup.pairs.values())) + features
    configs = list(setup.config.runs())
    plan = plan_stacks(setup, configs)
    runs = [run for _, run in plan.stacks[0].queue.admit(plan.stacks[0].slots)]
    if config.is_fitted:
        share = 1.0 if lines is None else max(1.0, min(lines, MOST_PAIRS) / len(runs[0][1].student))
        fitting = share * _fitting_seconds(setup, runs[0]) * len(configs)
        return setup, Phase(config.routines, len(configs), 1, lines, preparing, fitting, disk)
    rows = len(runs[0][1].student) if lines is None else int(lines / (1 - config.text.natural_share))
    steps = config.fit.steps_for(max(1, rows // config.fit.batch_size))
    step = _step_seconds(setup, runs, on_event) * config.fit.batch_size / sample.fit.batch_size
    training = step * steps * len(configs) / plan.workers
    return setup, Phase(config.routines, len(configs), steps, lines, preparing, training, disk)


def _fitting_seconds(setup: AlignSetup, run: Run) -> float:
    """Seconds that a run takes of a method that is fitted, at most: what runs share is encoded once."""
    from xpet.training.queue import Queue
    from xpet.training.setup import FitSetup

    fitting, fit = fitting_of(setup), setup.config.fit
    assert fitting is not None
    assign_runs(setup, setup.stack, [], [run])
    pad = setup.towers.text.tokenizer.pad
    return fitting.fitted(FitSetup(setup.stack, Queue([run], fit), 1, fit, pad, setup.engine), run).seconds


def _step_seconds(setup: AlignSetup, runs: Sequence[Run], on_event: OnEvent) -> float:
    """Seconds that a step takes per run of the stack, without validation."""
    from xpet.training.fit import fit

    assign_runs(setup, setup.stack, [], runs)
    pad, seconds = setup.towers.text.tokenizer.pad, []
    for steps in (1, 1 + STEPS):  # both validate once, at the end: their difference is STEPS steps
        short = replace(setup.config.fit, steps=steps, validate_every=steps + 1, include_start=False)
        started = time.monotonic()
        fit(setup.stack, runs, short, pad, setup.engine, ignore)
        seconds.append(time.monotonic() - started)
    return max(0.0, seconds[1] - seconds[0]) / STEPS / len(runs)
