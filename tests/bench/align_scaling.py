"""Time per run and step, memory and use of the device against the number of runs side by side."""

from __future__ import annotations

import statistics
import time
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


def scaling(options: Options) -> Found:
    """G = 1, 2, 4, ... as far as memory and the time budget go; no validation."""
    rate = matmul_rate(options.device, options.precision)
    setting = options.setting()
    ours = Ours(setting, options.config, options.precision)
    plans = grid(options)
    config = fit_config(BATCH, options.steps)
    flops = statistics.mean(_flops(ours, options, language) for language in sorted({run.language for run in plans}))
    rows: Rows = []
    started, stopped = time.monotonic(), ""
    ours.fit(plans[:1], config, validation=2)
    count, took = 1, 0.0
    while count <= (4 if options.smoke else WIDEST):
        expected = 2.2 * rows[-1]["peak GiB"] if rows else 0.0
        stopped = _reason(options, expected, time.monotonic() - started + 2 * took)
        if stopped:
            break
        before = time.monotonic()
        peak = Peak(options.device)
        wide = [plans[(i * 7) % len(plans)] for i in range(count)]  # languages mixed, as in a search over all
        each = ours.fit(wide, config, validation=2) / count
        took = time.monotonic() - before
        rows.append({
            "runs": count, "speed-up": rows[0]["ms/run-step"] / each / 1000 if rows else 1.0,
            "ms/run-step": 1000 * each, "peak GiB": peak.gib(), "useful GFLOP/s": flops / each / 1e9,
            "of matmul rate %": 100 * flops / each / rate,
        })  # fmt: skip
        count *= 2
    notes = [
        f"matmul rate of this device in {options.precision}, measured beforehand: {rate / 1e9:,.0f} GFLOP/s",
        "useful FLOP: forward and backward through the frozen layers for real tokens only, padding not counted",
        f"{config.steps} steps, batch {BATCH}, {options.routine}, languages mixed; no validation",
    ]
    return Found(rows, notes + ([f"stopped before {count} runs: {stopped}"] if stopped else []))


def _reason(options: Options, expected: float, spent: float) -> str:
    """Why no wider stack is tried."""
    free = SHARE * free_memory(options.device)
    if expected > free:
        return f"about {expected:.1f} GiB expected, {free:.1f} may be used"
    if spent > options.budget:
        return f"would take more than the {options.budget:.0f} s allowed"
    return ""


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
