"""Where the time of a training step goes: by kind of operation, for stacks of 1, 16, 64 and 128 runs side by side.

    python -m tests.bench.profile_step [--size tiny|base|large] [--device cpu|cuda] [--precision fp32|tf32|bf16]
        [--method lora] [--runs 1,16,64,128] [--steps 10] [--routine routine1] [--minutes 2.5] [--out FILE.json]
        [--smoke]

A fit is warmed up, timed without the profiler (wall), and then traced by torch's profiler. Of each kind of operation
(products, attention, ...) the table has the milliseconds of a step in its kernels: on a GPU of the device, on a CPU of
the processor. `host` is what a step takes outside of kernels on a CPU, and on a GPU what the host takes to launch them;
`launches` are the operations of a step. On a GPU all this is of steps that are launched, and `replayed wall` is what a
recorded one takes. Preparing a fit and ending it are in it, so take enough steps. A row is told, and written to --out,
as soon as it is there; stacks that would take longer than --minutes are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.profiler import ProfilerActivity, profile

from tests.bench import meter
from tests.bench.align_runs import BATCH, METHODS, Options, grid
from tests.bench.ours import Ours, fit_config
from tests.bench.setting import SIZES

KINDS: dict[str, tuple[str, ...]] = {
    "attention": ("attention", "attn", "flash", "softmax", "fmha", "sdpa"),
    "products": ("mm", "gemm", "nvjet", "cutlass", "linear", "matmul", "einsum"),
    "LayerNorm": ("layer_norm", "layernorm", "rms_norm"),
    "GELU": ("gelu",),
    "Adam": ("adam", "foreach", "addcmul", "addcdiv"),
    "copies and conversions": ("copy", "memcpy", "memset", "convert", "clone", "_to_", "cat", "contiguous"),
    "lookups": ("embedding", "index", "gather", "scatter", "select", "take"),
    "sums": ("sum", "mean", "reduce", "norm"),
    "elementwise": ("add", "mul", "div", "sub", "exp", "sqrt", "where", "fill", "zero", "elementwise", "vectorized"),
}
"""Kinds of operations by parts of their names, in lower case; the first that fits counts."""
OTHER = "other"
REPLAYED = 60
"""Steps that are timed with recordings, whose median leaves out the recording."""


class Operation(Protocol):
    """A row of torch's profiler: all calls of an operation or kernel."""

    key: str
    count: int
    self_cpu_time_total: float
    self_device_time_total: float


def kind_of(name: str) -> str:
    """The kind of an operation or kernel, one of KINDS or OTHER."""
    lower = name.lower()
    return next((kind for kind, parts in KINDS.items() if any(part in lower for part in parts)), OTHER)


def by_kind(operations: Iterable[Operation], steps: int, on_gpu: bool) -> tuple[dict[str, float], float, float]:
    """Milliseconds of a step in kernels of each kind, milliseconds of the host, and launches."""
    spent = dict.fromkeys((*KINDS, OTHER), 0.0)
    host = launches = 0.0
    for each in operations:
        kernel = each.self_device_time_total if on_gpu else each.self_cpu_time_total
        host += each.self_cpu_time_total if on_gpu else 0.0
        if kernel > 0 and (on_gpu or each.key.startswith("aten::")):
            spent[kind_of(each.key)] += kernel
            launches += each.count
    return {kind: took / 1000 / steps for kind, took in spent.items()}, host / 1000 / steps, launches / steps


def measure(ours: Ours, options: Options, count: int) -> dict[str, Any]:
    """The row of a stack of so many runs."""
    plans = grid(options)
    runs = [plans[(i * 7) % len(plans)] for i in range(count)]  # languages mixed, as in a search over all
    on_gpu = options.device == "cuda"
    launched = {"cuda_graphs": False} if on_gpu else {}  # recorded steps have no operations to tell apart
    config = fit_config(BATCH, options.steps, **launched)
    ours.fit(runs, config, validation=2)
    wall = 1000 * ours.fit(runs, config, validation=2)
    replayed = fit_config(BATCH, REPLAYED, cuda_graphs=True)
    replays = {"replayed wall ms": 1000 * ours.fit(runs, replayed, validation=2)} if on_gpu else {}
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as traced:
        ours.fit(runs, config, validation=2)
    spent, host, launches = by_kind(traced.key_averages(), options.steps, on_gpu)
    kernels = sum(spent.values())
    return {
        "runs": count, "wall ms": wall, **replays, "kernels ms": kernels,
        "host ms": host if on_gpu else max(0.0, wall - kernels), "launches": launches, **spent,
    }  # fmt: skip


def measured(
    counts: Sequence[int], allowed: meter.Allowance, measure_one: Callable[[int], dict[str, Any]],
    keep: Callable[[list[dict[str, Any]]], None],
) -> list[int]:  # fmt: skip
    """Measure stacks of these sizes, and give `keep` all rows so far after each; returns sizes there was no time for.

    A stack is taken to need as much time as the last one, times as many runs as it has more.
    """
    rows: list[dict[str, Any]] = []
    took = 0.0
    for number, count in enumerate(counts):
        left = allowed.left()
        if rows and took * max(1, count // rows[-1]["runs"]) > left:
            return list(counts[number:])
        rows.append(measure_one(count))
        took = left - allowed.left()
        keep(rows)
    return []


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print, and write the rows that are returned."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="tiny", choices=tuple(SIZES))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="fp32", choices=tuple(meter.DTYPES))
    parser.add_argument("--method", default="lora", choices=tuple(METHODS))
    parser.add_argument("--routine", default="routine1")
    parser.add_argument("--runs", default="1,16,64,128", help="runs side by side, comma-separated")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=2.5, help="of all stacks together")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true", help="smallest size: only shows that it runs")
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no GPU here; nothing was measured")
    allowed = meter.Allowance(60 * given.minutes)
    options = Options(
        size=given.size, method=given.method, device=given.device, precision=given.precision, routine=given.routine,
        steps=2 if given.smoke else given.steps, smoke=given.smoke,
    )  # fmt: skip
    title = f"a step: {options.size}, {options.method}, {options.precision}, {options.device}, batch {BATCH}"
    document: dict[str, Any] = {"machine": meter.machine(options.device), "title": title, "rows": []}

    def keep(rows: list[dict[str, Any]]) -> None:
        document["rows"] = rows
        meter.tell(rows[-1])
        meter.write(given.out, document)

    ours = Ours(options.setting(), options.config, options.precision)
    counts = [int(count) for count in ("1,2" if given.smoke else given.runs).split(",")]
    left_out = measured(counts, allowed, lambda count: measure(ours, options, count), keep)
    notes = [f"milliseconds of a step of all its runs; {options.steps} steps traced"]
    if left_out:
        notes.append(f"left out for want of time: {', '.join(map(str, left_out))} runs")
    meter.show(title, document["rows"], notes)
    meter.write(given.out, {**document, "notes": notes})
    return document["rows"]  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
