"""`xpet align --dry-run`: everything checked, a sample timed, and what the whole will take."""

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
from xpet.jobs.align import prepare as bench
from xpet.jobs.align import stacks as groups
from xpet.jobs.align import text_lines as english
from xpet.jobs.results.synthetic import SYNTHETIC

if TYPE_CHECKING:
    from xpet.training.queue import Run

LINES = 192
"""English lines of the sample."""
STEPS = 3
"""Steps of the sample, counted behind a first one that warms up."""
BYTES = 4
"""Of a number on disk."""


@dataclass(frozen=True)
class Phase:
    """What one routine will take: `runs` of `steps` steps; times in seconds, `disk` for its pairs in bytes.

    `lines` English lines will be encoded and translated (None: the routine reads none), in so far as they are not in
    the cache.
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
        """Of all phases."""
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


def _phase(config: AlignPlan, on_event: OnEvent) -> tuple[bench.Bench, Phase]:
    sample = config
    if config.text_only:
        limit = LINES if config.text.lines is None else min(LINES, config.text.lines)
        few = replace(config.fit, batch_size=min(config.fit.batch_size, limit // 2))
        sample = replace(config, text=replace(config.text, lines=limit), fit=few)
        once = english.read_once(config.text.corpus or ())
        if once:
            found = ", ".join(once)
            raise ConfigError(f"--dry-run: expected a corpus that can be read twice, found {found}; put it in a file")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="xpet-dry-run-") as scratch:  # the cache would make the sample look quick
        made = bench.prepare(sample, on_event, Path(scratch))
        preparing = time.monotonic() - started
        return _timed(config, sample, made, preparing, on_event)


def _timed(
    config: AlignPlan, sample: AlignPlan, made: bench.Bench, preparing: float, on_event: OnEvent
) -> tuple[bench.Bench, Phase]:
    """The estimate from a prepared sample."""
    lines, disk = None, 0
    if made.english is not None:
        counts: dict[str, int] = {}
        whole = replace(made.english, config=config.text)
        for _ in whole.read(counts):
            pass
        lines = counts.get("kept", 0)
        share = lines / max(1, next(iter(made.pairs.values())).counts["kept"])
        preparing += made.pair_seconds * (share - 1)
        features = BYTES * lines * made.towers.text.tower.dimensions  # languages share them
        disk = int(share * sum(pairs.disk for pairs in made.pairs.values())) + features
    plans = list(made.config.runs())
    stacks, workers = groups.stackable(made, plans)
    group = [run for _, run in stacks[0].queue.take(stacks[0].places)]
    rows = len(group[0][1].student) if lines is None else int(lines / (1 - config.text.natural_share))
    steps = config.fit.steps_for(max(1, rows // config.fit.batch_size))
    timed = _step_seconds(made, group, on_event) * config.fit.batch_size / sample.fit.batch_size
    return made, Phase(config.routines, len(plans), steps, lines, preparing, timed * steps * len(plans) / workers, disk)


def _step_seconds(made: bench.Bench, group: Sequence[Run], on_event: OnEvent) -> float:
    """Seconds of a step of one run in its stack; validation is left out."""
    from xpet.training.fit import fit

    groups.start(made, made.stack, [], group)
    pad, marks = made.towers.text.tokenizer.pad, []
    for steps in (1, 1 + STEPS):  # both read the validation texts once at the end: the difference is of steps alone
        short = replace(made.config.fit, steps=steps, validate_every=steps + 1, include_start=False)
        started = time.monotonic()
        fit(made.stack, group, short, pad, made.engine, ignore)
        marks.append(time.monotonic() - started)
    return max(0.0, marks[1] - marks[0]) / STEPS / len(group)
