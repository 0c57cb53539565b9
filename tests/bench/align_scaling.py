"""Time per run and step, memory and use of the device against the number of runs side by side."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.align_runs import BATCH, Found, Options, grid
from tests.bench.meter import Peak, Rows, free_memory, matmul_rate
from tests.bench.ours import Ours, fit_config
from tests.bench.setting import useful_flops
from xpet.core.routines import ROUTINES

WIDEST = 256
SHARE = 0.7
"""Of the free memory a stack may be expected to take."""
LEAST = 10
"""Steps that a stack is timed for at least."""


def scaling(options: Options) -> Found:
    """G = 1, 2, 4, ... as far as memory and the time allowed go; no validation."""
    rate = matmul_rate(options.device, options.precision)
    ours = Ours(options.setting(), options.config, options.precision)
    plans = grid(options)
    flops = statistics.mean(_flops(ours, options, language) for language in sorted({run.language for run in plans}))
    rows: Rows = []
    notes = [
        f"matmul rate of this device in {options.precision}, measured beforehand: {rate / 1e9:,.0f} GFLOP/s",
        "useful FLOP: forward and backward through the frozen layers for real tokens only, padding not counted",
        f"at most {options.own} steps, batch {BATCH}, {options.routine}, languages mixed; no validation",
    ]
    ours.fit(plans[:1], fit_config(BATCH, options.steps), validation=2)
    count = 1
    while count <= (4 if options.smoke else WIDEST):
        steps = _steps(options, count, rows)
        stopped = _reason(options, 2.2 * rows[-1]["peak GiB"] if rows else 0.0, steps)
        if stopped:
            return Found(rows, [*notes, *_best(rows), f"stopped before {count} runs: {stopped}"])
        peak = Peak(options.device)
        wide = [plans[(i * 7) % len(plans)] for i in range(count)]  # languages mixed, as in a search over all
        each = ours.fit(wide, fit_config(BATCH, steps), validation=2) / count
        gib = peak.gib()
        rows.append({
            "runs": count, "speed-up": rows[0]["ms/run-step"] / each / 1000 if rows else 1.0,
            "ms/run-step": 1000 * each, "peak GiB": gib, "useful GFLOP/s": flops / each / 1e9,
            "of matmul rate %": 100 * flops / each / rate,
            "GiB of a run": (gib - rows[0]["peak GiB"]) / (count - 1) if rows else None,
        })  # fmt: skip
        options.told(Found(rows, [*notes, *_best(rows)]))
        count *= 2
    return Found(rows, [*notes, *_best(rows)])


def _best(rows: Rows) -> list[str]:
    """The quickest width, and what a run takes in memory at the widest."""
    if not rows:
        return []
    best, widest = max(rows, key=lambda row: row["of matmul rate %"]), rows[-1]
    memory = (
        ""
        if len(rows) < 2
        else f"; memory of a run beside {widest['runs'] - 1} others {widest['GiB of a run']:.3f} GiB"
    )
    return [f"best: {best['runs']} runs, {best['of matmul rate %']:.1f} % of the matmul rate{memory}"]


def _steps(options: Options, count: int, rows: Rows) -> int:
    """As many steps as the sample has, or as fit into half of the time that is left; 0 where too few do."""
    if not rows or math.isinf(options.allowed.left()):
        return options.own
    expected = count * rows[-1]["ms/run-step"] / 1000  # of a step, if more runs side by side gained nothing
    fitting = int(options.allowed.left() / 2 / expected)
    return 0 if fitting < min(LEAST, options.own) else min(fitting, options.own)


def _reason(options: Options, expected: float, steps: int) -> str:
    """Why no wider stack is tried."""
    free = SHARE * free_memory(options.device)
    if expected > free:
        return f"about {expected:.1f} GiB expected, {free:.1f} may be used"
    return "" if steps else f"would take more than the {options.allowed.seconds:.0f} s allowed"


def _flops(ours: Ours, options: Options, language: str) -> float:
    """Of an average step of a run of the language."""
    routine, rows = ROUTINES[options.routine], ours.setting.rows
    slots = [slot for slot in (routine.student, routine.anchor) if slot]
    lengths = [len(row) for slot in slots for row in ours.tokens(language, slot)[:rows]]
    return useful_flops(ours.setting.size, lengths) / rows * BATCH


def plot(tables: Sequence[Mapping[str, Any]], path: Path, options: Options) -> None:
    """Milliseconds per run and step against the number of runs side by side, a line a method and precision."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.4))
    for table in tables:
        rows = table["rows"]
        name = f"{table['method']}, {table['precision']}"
        axes.plot([row["runs"] for row in rows], [row["ms/run-step"] for row in rows], marker="o", label=name)
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    axes.set(xlabel="runs side by side (G)", ylabel="ms per run and step")
    axes.set_title(f"{options.size} tower, {options.device}, batch {BATCH}, {options.routine}", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
