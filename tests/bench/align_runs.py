"""One run and the paper's whole grid, and what each idea brings, against the reference loop."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tests.bench.meter import UNLIMITED, Allowance, Peak, Rows, in_turns, ratio, seconds
from tests.bench.ours import Ours, fit_config
from tests.bench.reference import VALIDATE_EVERY, Examples, Flags, ReferenceLoop
from tests.bench.setting import LANGUAGES, SIZES, Setting, image_tower, lengths_of, text_tower
from xpet.core.config import MethodConfig, RunConfig
from xpet.core.routines import ROUTINES
from xpet.methods.bridge import opendelta
from xpet.training.batches import batch_order

SHOTS, BATCH, STEPS = 50, 5, 500
RATES, WEIGHTS = (5e-5, 1e-4, 2e-4), (0.3, 0.1, 0.03, 0.01, 0.003)
WARM = VALIDATE_EVERY
"""The reference's first steps are not counted."""
RECORDING = [
    "beginnings: seconds of a fit beyond its steps at their usual rate (recording, allocating), counted once a stack",
]
LONGER = 4
"""How many times the sample's steps a single run of xpet is timed for on a GPU."""
METHODS = {
    "lora": MethodConfig("lora"), "adapter": MethodConfig("adapter"), "compacter": MethodConfig("compacter"),
}  # fmt: skip


@dataclass
class Found:
    """A part's table and what a reader must know of it."""

    rows: Rows
    notes: list[str]


@dataclass(frozen=True)
class Options:
    """The command line, less what concerns the output."""

    size: str = "tiny"
    method: str = "lora"
    device: str = "cpu"
    precision: str = "fp32"
    steps: int = 30
    rounds: int = 3
    stack: int | None = None
    routine: str = "routine1"
    data: Path | None = None
    whole: bool = False
    smoke: bool = False
    allowed: Allowance = UNLIMITED
    reference_steps: int | None = None
    compile: bool = False
    told: Callable[[Found], None] = lambda found: None
    kept: dict[object, tuple[float, float]] | None = None
    """Where time is short: samples of the reference, which no precision of xpet changes, are taken once and kept."""

    @property
    def config(self) -> MethodConfig:
        """The method; a narrow tower takes a smaller reduction."""
        config = METHODS[self.method]
        return replace(config, reduction=8) if self.size == "tiny" and self.method == "compacter" else config

    @property
    def taught(self) -> int:
        """Steps of a sample of the reference, and of what is as slow."""
        return self.reference_steps or self.steps

    @property
    def own(self) -> int:
        """Steps of a sample of xpet's stacks: on a GPU enough for a median that leaves out recordings."""
        return 2 * self.steps if self.device == "cuda" and self.precision != "fp32" else self.steps

    def setting(self, rows: int = SHOTS, validation: int = SHOTS) -> Setting:
        return Setting(SIZES[self.size], rows, validation, self.device, lengths_of(self.data))


class Reference:
    """The reference's towers and data; every sample is a run of its own."""

    def __init__(self, options: Options, setting: Setting) -> None:
        self.options, self.setting = options, setting
        self.image = image_tower(setting.size, setting.device)
        self.attaching: list[float] = []

    def sample(self, run: RunConfig, steps: int, flags: Flags = Flags(), batch: int = BATCH) -> float:  # noqa: B008
        """Seconds per step of the first `steps` of a run, validations included, without the first interval.

        A sample of the same kind that was kept is not taken again.
        """
        kept, kind = self.options.kept, (self.options.method, run.routine, flags, batch, self.setting.rows)
        if kept is not None and kind in kept:
            each, attaching = kept[kind]
            self.attaching.append(attaching)
            return each
        each = self._sample(run, steps, flags, batch)
        if kept is not None:
            kept[kind] = each, self.attaching[-1]
        return each

    def _sample(self, run: RunConfig, steps: int, flags: Flags, batch: int) -> float:
        torch.backends.cuda.matmul.allow_tf32 = False
        setting, routine = self.setting, ROUTINES[run.routine]
        text = text_tower(setting.size, setting.device)
        loops: list[ReferenceLoop] = []
        arguments = (text, self.image, setting.tokens, self.options.config, run, flags)
        self.attaching.append(seconds(lambda: loops.append(ReferenceLoop(*arguments)), setting.device))
        rows = setting.rows
        student = setting.texts(run.language, routine.student)
        anchor = setting.texts(run.language, routine.anchor)[:rows] if routine.anchor else None
        evaluated = setting.texts(run.language, routine.evaluation)
        train = Examples(student[:rows], anchor, setting.pixels[:rows])
        check = Examples(evaluated[rows:], None, setting.pixels[rows:])
        interval = VALIDATE_EVERY if setting.validation > 2 else steps + 1
        warm = WARM if interval == VALIDATE_EVERY else 1
        order = list(batch_order(rows, batch, steps + warm, run.seed))
        learned = loops[0].train(train, check, order, STEPS, interval)
        return statistics.mean(learned.seconds[warm:])


def grid(options: Options) -> list[RunConfig]:
    """10 languages x 3 learning rates x 5 weights, in the order `xpet align` trains them."""
    return [
        RunConfig(language, options.routine, "mse", weight, rate)
        for language, weight, rate in itertools.product(LANGUAGES, WEIGHTS, RATES)
    ]


class Sides:
    """Both sides on one setting, ready to be timed."""

    def __init__(self, options: Options) -> None:
        self.options = options
        opendelta()  # its import is not part of attaching
        self.setting = options.setting()
        self.runs = grid(options)
        self.reference = Reference(options, self.setting)
        self.ours = Ours(self.setting, options.config, options.precision)
        self.encoding = seconds(self.ours.images, options.device)
        self.size = options.stack or self.ours.stack_size(self.runs, BATCH)
        self.workers = self.ours.workers(self.runs)
        self.turn = 0

    def warm(self) -> None:
        """xpet's first steps; a sample of the reference leaves its own out, and so does a fit of twenty or more."""
        self.ours.fit(self.runs[:1], fit_config(BATCH, VALIDATE_EVERY, VALIDATE_EVERY))

    def chosen(self, count: int) -> list[RunConfig]:
        """`count` neighbours of the grid, others each time."""
        self.turn += 1
        start = (self.turn * 37) % max(1, len(self.runs) - count + 1)
        return self.runs[start : start + count]

    def plain(self, flags: Flags = Flags()) -> float:  # noqa: B008
        """Reference: seconds per run and step."""
        return self.reference.sample(self.chosen(1)[0], self.options.taught, flags)

    def stacked(self, count: int, precision: str | None = None, steps: int | None = None, **settings: Any) -> float:
        """xpet: seconds per run and step with `count` runs side by side."""
        if precision is not None and precision != self.ours.engine.precision:
            self.ours = Ours(self.setting, self.options.config, precision)
        torch.backends.cuda.matmul.allow_tf32 = self.ours.engine.precision == "tf32"
        config = fit_config(BATCH, steps or self.options.steps, VALIDATE_EVERY, **settings)
        return self.ours.fit(self.chosen(count), config) / count

    def alone(self, **settings: Any) -> float:
        """xpet: seconds per step of one run, of more steps on a GPU, where the first ones may record."""
        steps = LONGER * self.options.steps if self.options.device == "cuda" else None
        return self.stacked(1, steps=steps, **settings)

    def grid(self, precision: str | None = None, **settings: Any) -> float:
        """xpet: seconds per run and step of stacks as `xpet align` trains them, several at a time on a CPU."""
        if self.workers == 1:
            return self.stacked(self.size, precision, self.options.own, **settings)
        if precision is not None and precision != self.ours.engine.precision:
            self.ours = Ours(self.setting, self.options.config, precision)
        config = fit_config(BATCH, self.options.steps, VALIDATE_EVERY, **settings)
        runs = [run for _ in range(self.workers) for run in self.chosen(self.size)]
        return self.ours.fit_queue(runs, self.size, self.workers, config) / self.options.steps / len(runs)


TITLES = {
    "one": f"one run, {STEPS} steps", "recorded": f"one run, {STEPS} steps, --cuda-graphs",
    "not recorded": f"one run, {STEPS} steps, --no-cuda-graphs",
}  # fmt: skip


def runs(options: Options) -> Found:
    """One run, and the grid of 150."""
    sides = Sides(options)
    peak = Peak(options.device)
    beginnings: dict[str, float] = {}

    def timed(name: str, way: Callable[[], float]) -> Callable[[], float]:
        def run() -> float:
            each = way()
            beginnings[name] = sides.ours.beginning
            return each

        return run

    ways = {"reference": sides.plain, "one": timed("one", sides.alone), "grid": timed("grid", sides.grid)}
    if options.device == "cuda":
        ways["recorded"] = timed("recorded", lambda: sides.alone(cuda_graphs=True))
        ways["not recorded"] = timed("not recorded", lambda: sides.alone(cuda_graphs=False))
    sides.warm()

    def found(times: dict[str, list[float]], whole: float | None = None) -> Found:
        mine = [name for name in ways if name in times and name != "reference"]
        rows = [_row(sides, name, times, beginnings, peak, whole) for name in mine]
        return Found(rows, [*_notes(options, sides), *left_out_of(ways, times)])

    times = in_turns(ways, options.rounds, options.allowed, lambda times: options.told(found(times)))
    return found(times, _whole(sides) if options.whole else None)


def _row(
    sides: Sides, name: str, times: dict[str, list[float]], beginnings: dict[str, float], peak: Peak,
    whole: float | None,
) -> dict[str, Any]:  # fmt: skip
    """How long the reference and xpet take for one run or the grid."""
    count = len(sides.runs) if name == "grid" else 1
    stacks = math.ceil(count / sides.size / sides.workers)
    each, slow_each = statistics.median(times[name]), statistics.median(times["reference"])
    slow = count * (statistics.median(sides.reference.attaching) + STEPS * slow_each)
    beginning = stacks * beginnings.get(name, 0.0) if sides.options.device == "cuda" else 0.0
    training = whole if name == "grid" and whole else beginning + count * STEPS * each
    fast = sides.ours.seconds + sides.encoding + training
    grid_title = f"{count} runs x {STEPS} steps, stacks of {sides.size}, {sides.workers} at a time"
    return {
        "what": TITLES.get(name, grid_title), "ratio": slow / fast,
        "ratio of steps": ratio(times["reference"], times[name]),
        "reference s": slow, "xpet s": fast, "reference ms/run-step": 1000 * slow_each, "xpet ms/run-step": 1000 * each,
        "beginnings s": beginning, "peak GiB of both": peak.gib(),
    }  # fmt: skip


def left_out_of(ways: Mapping[str, object], times: Mapping[str, object]) -> list[str]:
    """A note of what was not measured for want of time."""
    missing = [name for name in ways if name not in times]
    return [f"left out, no time was left: {', '.join(missing)}"] if missing else []


def _whole(sides: Sides) -> float:
    """Seconds of the whole grid, all stacks one after another, nothing extrapolated."""
    return sides.ours.fit_queue(sides.runs, sides.size, sides.workers, fit_config(BATCH, STEPS, VALIDATE_EVERY))


def _notes(options: Options, sides: Sides) -> list[str]:
    xpet = "xpet's grid was trained whole" if options.whole else "xpet's stacks likewise, other ones each round"
    return [
        f"{options.routine}, {SHOTS} shots and {SHOTS} validation images, batch {BATCH}, validation every "
        f"{VALIDATE_EVERY} steps; median of {options.rounds} rounds, both sides in turns",
        f"reference: {options.taught} steps of one run each round, extrapolated to all steps and runs; {xpet}"
        + ("; the reference is measured once for all precisions" if options.kept is not None else ""),
        f"counted once for xpet: attaching {sides.ours.seconds:.2f} s, encoding {2 * SHOTS} images "
        f"{sides.encoding:.2f} s; for the reference in each run: attaching "
        f"{statistics.median(sides.reference.attaching):.2f} s; loading on neither side",
        *(RECORDING if options.device == "cuda" else []),
    ]


@dataclass(frozen=True)
class Step:
    """A row of the ablation: what is added, and how it is run."""

    name: str
    run: Callable[[], float]


def ablation(options: Options) -> Found:
    """Cumulative: each row has what those above it have."""
    sides = Sides(options)
    wide, on_gpu = sides.size, options.device == "cuda"
    lower, launched = "bf16", {"cuda_graphs": False}
    steps = [
        Step("reference loop", sides.plain),
        Step("+ image features stored", lambda: sides.plain(Flags(reencode=False))),
        Step("+ texts tokenised once", lambda: sides.plain(Flags(reencode=False, retokenise=False))),
        Step("+ no dropout in frozen layers", lambda: sides.plain(Flags(False, False, True, False))),
        Step("+ both texts in one forward", lambda: sides.plain(Flags(False, False, False, False))),
        Step("+ xpet's loop: a stack of 1", lambda: sides.stacked(1, "fp32", layout="padded", **launched)),
        Step("+ packed captions", lambda: sides.stacked(1, "fp32", **launched)),
        *([Step(f"+ a stack of {wide}", lambda: sides.stacked(wide, "fp32", **launched))] if wide > 1 else []),
        *([Step(f"+ {sides.workers} stacks at a time", lambda: sides.grid("fp32"))] if sides.workers > 1 else []),
        *([Step("+ tf32", lambda: sides.grid("tf32", **launched))] if on_gpu else []),
        Step(f"+ {lower}", lambda: sides.grid(lower, **launched)),
        *([Step("+ CUDA graphs", lambda: sides.grid(lower))] if on_gpu else []),
        *([Step("+ compiled", lambda: sides.grid(lower, compile=True))] if options.compile else []),
    ]
    sides.warm()
    ways = {step.name: step.run for step in steps}
    notes = [] if options.compile else ["compiled layers (--compile) left out"]

    def found(times: dict[str, list[float]]) -> Found:
        done = [step.name for step in steps if step.name in times]
        rows = [
            {
                "what": name, "ratio to reference": ratio(times[done[0]], times[name]),
                "ratio to the row above": ratio(times[above], times[name]),
                "ms/run-step": 1000 * statistics.median(times[name]),
            }
            for above, name in zip([done[0], *done], done, strict=False)
        ]  # fmt: skip
        return Found(rows, [*_notes(options, sides)[:2], *notes, *left_out_of(ways, times)])

    return found(in_turns(ways, options.rounds, options.allowed, lambda times: options.told(found(times))))
