"""Times xpet's training against the reference loop (tests/bench/reference.py), both in one process; ratios first.

    python -m tests.bench.bench_align [--what runs,ablation,scaling,full,cold] [--size tiny|base|large]
        [--method lora|adapter|compacter|all] [--device cpu|cuda] [--precision fp32|tf32|bf16|all] [--steps SAMPLE]
        [--rounds N] [--clock wall|cpu] [--stack G] [--routine routine1] [--whole] [--data FOLDER] [--smoke]
        [--compile] [--out FILE.json] [--plot FILE.svg]

- runs: one run; the paper's grid of 10 languages x 3 learning rates x 5 weights.
- ablation: what each idea brings, one upon the other.
- scaling: time per run and step, memory, share of the device's matmul rate, for 1, 2, 4, ... 256 runs side by side.
- full: 29,000 captions in batches of 256, against the loop and against a plain accelerate + PEFT LoRA script.
- cold: start-up, `align` to its first step, `eval`, `translate` as whole processes; what `--help` imports.

On a GPU: --device cuda --size large --precision all --whole (clocks wait for the device; memory is the GPU's).
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.bench import meter
from tests.bench.align_full import full
from tests.bench.align_runs import METHODS, Found, Options, ablation, runs
from tests.bench.align_scaling import plot, scaling
from tests.bench.cold import cold
from tests.bench.setting import DATA, SIZES, WORDS
from xpet.core.routines import ROUTINES

PARTS: dict[str, Callable[[Options], Found]] = {
    "runs": runs, "ablation": ablation, "scaling": scaling, "full": full, "cold": cold,
}  # fmt: skip
ONCE = ("cold",)
"""Parts that neither method nor precision changes."""
PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("bf16", "tf32", "fp32")}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, and write the document that is returned."""
    given = parser().parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no GPU here; nothing was measured")
    if given.device == "cuda" and given.clock == "cpu":
        raise SystemExit("--clock cpu tells nothing of a GPU; use --clock wall")
    meter.use_clock(given.clock)
    options = options_of(given)
    methods = tuple(METHODS) if given.method == "all" else tuple(given.method.split(","))
    precisions = PRECISIONS[given.device] if given.precision == "all" else tuple(given.precision.split(","))
    parts = tuple(PARTS) if given.what == "all" else tuple(given.what.split(","))
    lengths = "XTD's" if ((options.data or DATA) / "xtd10").is_dir() else "drawn from XTD's quantiles"
    document: dict[str, Any] = {
        "machine": meter.machine(options.device), "size": options.size, "towers": vars(SIZES[options.size]),
        "lengths": lengths, "clock": given.clock, "smoke": options.smoke, "tables": [],
    }  # fmt: skip
    meter.show("", [], [
        f"{key} {value}" for key, value in document["machine"].items()
    ] + [f"random weights, {WORDS} words; caption lengths {lengths}, tokens estimated from characters",
         f"clock of all but cold: {given.clock}"])  # fmt: skip
    for name, method, precision in itertools.product(parts, methods, precisions):
        if name in ONCE and (method, precision) != (methods[0], precisions[0]):
            continue
        chosen = replace(options, method=method, precision=precision)
        before = os.getloadavg()[0]
        found = PARTS[name](chosen)
        load = f"load before {before:.1f}, after {os.getloadavg()[0]:.1f} (this process included)"
        title = name if name in ONCE else f"{name}: {options.size}, {method}, {precision}, {options.device}"
        meter.show(title, found.rows, [*found.notes, load])
        document["tables"].append(
            {"part": name, "method": method, "precision": precision, "rows": found.rows, "notes": [*found.notes, load]}
        )
        meter.write(given.out, document)  # as far as it got, should it be stopped
    if given.plot is not None:
        plot([table for table in document["tables"] if table["part"] == "scaling"], given.plot, options)
    return document


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--what", default="all", help="parts, comma-separated, or all")
    made.add_argument("--size", default="tiny", choices=tuple(SIZES))
    made.add_argument("--method", default="lora", help="methods, comma-separated, or all")
    made.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    made.add_argument("--precision", help="of xpet's side, comma-separated, or all; default fp32, on a GPU bf16")
    made.add_argument("--steps", type=int, default=30, help="steps of a sample, best 20 or more")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--stack", type=int, help="runs side by side; default what align would choose")
    made.add_argument("--routine", default="routine1", choices=tuple(ROUTINES))
    made.add_argument("--data", type=Path, help="folder with xtd10/; default ../shared/data")
    made.add_argument("--clock", default="wall", choices=("wall", "cpu"), help="cpu: this process's CPU seconds")
    made.add_argument("--whole", action="store_true", help="train xpet's grid whole instead of a sample")
    made.add_argument("--budget", type=float, default=120.0, help="seconds the scaling part may take")
    made.add_argument("--smoke", action="store_true", help="smallest sizes: only shows that every part runs")
    made.add_argument("--compile", action="store_true", help="a row of the ablation with compiled layers")
    made.add_argument("--plot", type=Path, help="draw time per run against the number of runs (part scaling)")
    made.add_argument("--out", type=Path, help="write the results to this file")
    return made


def options_of(given: argparse.Namespace) -> Options:
    """The options; settles what the device or a smoke test decides."""
    if given.precision is None:
        given.precision = "bf16" if given.device == "cuda" else "fp32"
    made = Options(
        size=given.size, device=given.device, steps=given.steps, rounds=given.rounds, stack=given.stack,
        routine=given.routine, data=given.data, whole=given.whole, smoke=given.smoke, budget=given.budget,
        compile=given.compile,
    )  # fmt: skip
    return replace(made, steps=5, rounds=1, stack=made.stack or 3) if given.smoke else made


if __name__ == "__main__":
    main()
