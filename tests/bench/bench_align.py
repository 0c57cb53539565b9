"""Times xpet's training against the reference loop (tests/bench/reference.py), both in one process; ratios first.

    python -m tests.bench.bench_align [--what runs,ablation,scaling,full,cold] [--size tiny|base|large]
        [--method lora|adapter|compacter|all] [--device cpu|cuda] [--precision fp32|tf32|bf16|all] [--steps SAMPLE]
        [--rounds N] [--clock wall|cpu] [--stack G] [--routine routine1] [--whole] [--data FOLDER] [--smoke]
        [--compile] [--minutes M] [--out FILE.json] [--plot FILE.svg]

- runs: one run; the paper's grid of 10 languages x 3 learning rates x 5 weights.
- ablation: what each idea brings, one upon the other.
- scaling: time per run and step, memory, share of the device's matmul rate, for 1, 2, 4, ... 256 runs side by side.
- full: 29,000 captions in batches of 256, against the loop and against a plain accelerate + PEFT LoRA script.
- cold: start-up, `align` to its first step, `eval`, `translate` as whole processes; what `--help` imports.

On a GPU: --device cuda --size large --precision all --what runs,scaling,ablation,full (clocks wait for the device;
memory is the GPU's). There --minutes is 7.5 unless it is given: what is left is divided among the parts that are left,
each says what it had no time for, and the reference loop is sampled in few steps and once for all precisions. A row is
told, and written to --out, as soon as it is there; a part that fails does not end the others.
"""

from __future__ import annotations

import argparse
import itertools
import os
import traceback
from collections.abc import Callable, Sequence
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
ONE_PRECISION = ("ablation",)
"""Parts that name the precision of each of their rows."""
WEIGHTS = {"runs": 1.5, "ablation": 2.0, "full": 0.8}
"""How much of the time a part gets; others 1."""
LEAST_SECONDS = 3.0
"""With less left a part is not begun."""
MINUTES = {"cuda": 7.5}
"""Minutes of a device where no other are given; what a way takes longer than there is time for comes on top."""
FAILED = "failed: "
REFERENCE_STEPS = 10
"""Steps of a sample of the reference where time is short."""
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
        "lengths": lengths, "clock": given.clock, "smoke": options.smoke, "minutes": given.minutes, "tables": [],
    }  # fmt: skip
    meter.show("", [], [
        f"{key} {value}" for key, value in document["machine"].items()
    ] + [f"random weights, {WORDS} words; caption lengths {lengths}, tokens estimated from characters",
         f"clock of all but cold: {given.clock}"])  # fmt: skip
    jobs = _jobs(parts, methods, precisions)
    for number, (name, method, precision) in enumerate(jobs):
        chosen = replace(options, method=method, precision=precision)
        weights = [WEIGHTS.get(part, 1.0) for part, _, _ in jobs[number:]]
        _measure(name, replace(chosen, allowed=options.allowed.part(weights[0], sum(weights))), document, given.out)
    if given.plot is not None:
        plot([table for table in document["tables"] if table["part"] == "scaling"], given.plot, options)
    failed = [table for table in document["tables"] if any(note.startswith(FAILED) for note in table["notes"])]
    if failed:
        raise SystemExit(f"{len(failed)} of {len(jobs)} tables failed")
    return document


def _jobs(parts: Sequence[str], methods: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, str, str]]:
    """Part, method and precision of each table, in the order in which they are measured."""
    return [
        (name, method, precision)
        for name, method, precision in itertools.product(parts, methods, precisions)
        if not (name in ONCE and (method, precision) != (methods[0], precisions[0]))
        and not (name in ONE_PRECISION and precision != precisions[0])
    ]


def _measure(name: str, options: Options, document: dict[str, Any], out: Path | None) -> None:
    """Measure one part: a table of the document, which is written whenever a row was found."""
    about = {"part": name, "method": options.method, "precision": options.precision}
    table: dict[str, Any] = {**about, "rows": [], "notes": []}
    document["tables"].append(table)
    before, told = os.getloadavg()[0], set[str]()

    def keep(found: Found) -> None:
        table.update(rows=found.rows, notes=found.notes)
        for row in found.rows:
            key = str(next(iter(row.values())))
            if key not in told:
                told.add(key)
                meter.tell(row)
        meter.write(out, document)  # as far as it got, should it be stopped

    if options.allowed.left() < LEAST_SECONDS:
        keep(Found([], ["left out: no time was left"]))
    else:
        try:
            keep(PARTS[name](replace(options, told=keep)))
        except Exception as error:  # the other parts must not be lost with it
            traceback.print_exc()
            keep(Found(table["rows"], [*table["notes"], f"{FAILED}{type(error).__name__}: {error}"]))
    load = f"load before {before:.1f}, after {os.getloadavg()[0]:.1f} (this process included)"
    keep(Found(table["rows"], [*table["notes"], load]))
    title = name if name in ONCE else f"{name}: {options.size}, {options.method}, {options.precision}, {options.device}"
    meter.show(title, table["rows"], table["notes"])


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
    made.add_argument("--minutes", type=float, help="of all parts together; default 7.5 on a GPU, else no limit")
    made.add_argument("--smoke", action="store_true", help="smallest sizes: only shows that every part runs")
    made.add_argument("--compile", action="store_true", help="a row of the ablation with compiled layers")
    made.add_argument("--plot", type=Path, help="draw time per run against the number of runs (part scaling)")
    made.add_argument("--out", type=Path, help="write the results to this file")
    return made


def options_of(given: argparse.Namespace) -> Options:
    """The options; settles what the device or a smoke test decides."""
    if given.precision is None:
        given.precision = "bf16" if given.device == "cuda" else "fp32"
    if given.minutes is None:
        given.minutes = MINUTES.get(given.device)
    is_short = given.minutes is not None
    made = Options(
        size=given.size, device=given.device, steps=given.steps, rounds=given.rounds, stack=given.stack,
        routine=given.routine, data=given.data, whole=given.whole, smoke=given.smoke, compile=given.compile,
        allowed=meter.Allowance(60 * given.minutes) if is_short else meter.UNLIMITED,
        reference_steps=min(given.steps, REFERENCE_STEPS) if is_short else None, kept={} if is_short else None,
    )  # fmt: skip
    return replace(made, steps=5, rounds=1, stack=made.stack or 3) if given.smoke else made


if __name__ == "__main__":
    main()
