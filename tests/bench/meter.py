"""What the benchmarks share: clocks that wait for the device, peak memory, the matmul rate, tables and JSON."""

from __future__ import annotations

import ctypes
import gc
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
GIB = 2**30
Measured = TypeVar("Measured")

Rows = list[dict[str, Any]]
"""Rows of a table; the first column names the row."""


_clock: list[Callable[[], float]] = [time.perf_counter]


def use_clock(name: str) -> None:
    """What `now` reads: `wall`, or `cpu` (this process's CPU seconds, for a machine that others use too)."""
    _clock[0] = {"wall": time.perf_counter, "cpu": time.process_time}[name]


def now() -> float:
    """Seconds on the chosen clock."""
    return _clock[0]()


def wait(device: torch.device | str) -> None:
    """Until the device has done all it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def seconds(work: Callable[[], Any], device: torch.device | str = "cpu") -> float:
    wait(device)
    started = now()
    work()
    wait(device)
    return now() - started


@dataclass(eq=False)
class Allowance:
    """Seconds that something may take, counted from when this was made; without end unless it says otherwise."""

    seconds: float = math.inf
    clock: Callable[[], float] = time.monotonic
    since: float = field(init=False)

    def __post_init__(self) -> None:
        self.since = self.clock()

    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (self.clock() - self.since)

    def part(self, weight: float, weights: float) -> Allowance:
        """The share of `weight` of `weights` of what is left: what one part does not use, the next ones have."""
        return Allowance(max(0.0, self.left()) * weight / weights, self.clock)


UNLIMITED = Allowance()


def in_turns(
    ways: Mapping[str, Callable[[], Measured]], rounds: int, allowed: Allowance = UNLIMITED,
    after: Callable[[dict[str, list[Measured]]], None] = lambda found: None,
) -> dict[str, list[Measured]]:  # fmt: skip
    """What each way returns, round by round, so that other work on the machine moves all of them alike.

    Ways for which no time is left in the first round are missing (the first one never is); a further round is begun
    only where there is time for all of it. `after` gets all that is known after each way.
    """
    found: dict[str, list[Measured]] = {}
    for number in range(rounds):
        started = allowed.left()
        for name, way in ways.items():
            if number == 0 and found and allowed.left() <= 0:
                break
            if name in found or number == 0:
                found.setdefault(name, []).append(way())
                after(found)
        if allowed.left() < started - allowed.left():
            break
    return found


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median over the rounds of how many times faster; of both medians where one side has fewer rounds."""
    if len(slow) != len(fast):
        return statistics.median(slow) / statistics.median(fast)
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def matmul_rate(device: torch.device | str, precision: str) -> float:
    """FLOP/s of a large square product in the given precision, the best of several rounds; sets tf32 as asked."""
    where = torch.device(device)
    on_gpu = where.type == "cuda"
    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    size, repeats = (8192, 10) if on_gpu else (1536, 2)
    one = torch.randn(size, size, device=where, dtype=DTYPES[precision])
    other = torch.randn(size, size, device=where, dtype=DTYPES[precision])

    def work() -> None:
        for _ in range(repeats):
            torch.mm(one, other)

    work()
    return 2 * size**3 * repeats / min(seconds(work, where) for _ in range(3 if on_gpu else 4))


class Peak:
    """Peak memory in GiB from here on: of the GPU, or of the process above what it holds now (Linux)."""

    def __init__(self, device: torch.device | str) -> None:
        self.on_gpu = torch.device(device).type == "cuda"
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            return
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc: give freed memory back, to see it taken again
        if trim is not None:
            trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts here
        self.before = resident("VmRSS")

    def gib(self) -> float:
        if self.on_gpu:
            return torch.cuda.max_memory_allocated() / GIB
        return resident("VmHWM") - self.before


def resident(name: str = "VmHWM") -> float:
    """GiB of this process, from the kernel: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**20


def free_memory(device: torch.device | str) -> float:
    """GiB that are free on the device."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info()[0] / GIB
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20


def machine(device: torch.device | str) -> dict[str, Any]:
    """Under which conditions the numbers were taken."""
    on_gpu = torch.device(device).type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else _processor(),
        "kind": torch.device(device).type,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": [round(value, 2) for value in os.getloadavg()],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "command": "python -m " + " ".join([_module(), *sys.argv[1:]]),
    }


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else Path(sys.argv[0]).stem


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def show(name: str, rows: Rows, notes: Sequence[str] = ()) -> None:
    """A table on standard output, Markdown that also reads well in a terminal."""
    if rows:
        heads = list(dict.fromkeys(head for row in rows for head in row))
        cells = [heads, *([_cell(row.get(head)) for head in heads] for row in rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(heads))]
        lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        sys.stdout.write(f"\n{name}\n\n" + "\n".join(lines) + "\n")
    sys.stdout.write("".join(f"- {note}\n" for note in notes))
    sys.stdout.flush()


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)


def tell(row: Mapping[str, Any]) -> None:
    """A row of a table, at once and in one line, before the table is complete."""
    name, *others = row.items()
    sys.stdout.write(f"  {name[1]}: " + ", ".join(f"{head} {_cell(value)}" for head, value in others) + "\n")
    sys.stdout.flush()


def write(path: Path | None, document: Mapping[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
