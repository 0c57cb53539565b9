"""Start-up and cold paths, each a process of its own from its start to its end (or its first step), and imports."""

from __future__ import annotations

import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.bench.align_runs import Found, Options
from tests.bench.meter import Rows

FIRST_STEP = """
import os, sys, time
from pathlib import Path
from xpet.core.collector import process_is_ours
from xpet.core.config import AlignConfig, DataConfig, FitConfig
from xpet.core.events import Progress
from xpet.jobs.align import run as align
def heard(event):
    if isinstance(event, Progress) and event.stage == "training":
        os._exit(0)
process_is_ours()  # as the command line says
fit = FitConfig(steps=1, device=sys.argv[2])
align.run(AlignConfig(("de",), data=DataConfig(shots=50), fit=fit, out=sys.argv[1]), heard)
"""
IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|( +)(\S+)")
SHOWN = 8


def cold(options: Options) -> Found:
    """`--help`, `align` to its first step, `eval` and `translate` on the demo; image features stored or not."""
    count = 1 if options.smoke else max(3, options.rounds)
    xpet = [sys.executable, "-m", "xpet"]
    python = [sys.executable, "-c"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cached = {"XPET_CACHE": str(root / "kept")}
        number = iter(range(10**6))

        def new() -> dict[str, str]:
            return {"XPET_CACHE": str(root / f"cold{next(number)}")}

        def align(cache: dict[str, str]) -> float:
            return process([*python, FIRST_STEP, str(root / f"run{next(number)}"), options.device], cache)

        evaluate = [*xpet, "eval", "--lang", "de", "--device", options.device]
        translate = [*xpet, "translate", "--packages", "demo", "--from", "de", "--to", "en", "-q"]
        line = "ein kleiner roter Ball\n"
        ways: dict[str, Callable[[], float]] = {
            "python itself": lambda: process([*python, "pass"], cached),
            "import torch, transformers": lambda: process([*python, "import torch, transformers"], cached),
            "xpet --help": lambda: process([*xpet, "--help"], cached),
            "xpet align to its first step, nothing stored": lambda: align(new()),
            "xpet align to its first step, image features stored": lambda: align(cached),
            "xpet eval, nothing stored": lambda: process(evaluate, new()),
            "xpet eval, image features stored": lambda: process(evaluate, cached),
            "xpet translate, one line, nothing stored": lambda: process(translate, new(), line),
        }
        if options.smoke:
            ways = {name: ways[name] for name in ("python itself", "xpet --help")}
        else:
            align(cached), process(evaluate, cached)
        rows: Rows = []
        for name, way in ways.items():
            busy = _cpu()
            times = [way() for _ in range(count)]
            each = (_cpu() - busy) / count
            rows.append({"what": name, "median s": statistics.median(times), "best s": min(times), "CPU s": each})
    return Found(rows, [f"whole processes, {count} each, the demo's towers and data", *import_profile(xpet)])


def _cpu() -> float:
    """CPU seconds of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def process(command: Sequence[str], environment: dict[str, str], given: str = "") -> float:
    """Seconds from the start of a process to its end; raises CalledProcessError when it fails."""
    started = time.perf_counter()
    subprocess.run(
        command, env={**os.environ, **environment}, input=given, text=True, check=True, capture_output=True
    )  # fmt: skip
    return time.perf_counter() - started


def import_profile(xpet: Sequence[str]) -> list[str]:
    """The dearest imports of `xpet --help`, and which heavy packages it loads (none is right)."""
    found = subprocess.run(
        [xpet[0], "-X", "importtime", *xpet[1:], "--help"], text=True, capture_output=True, check=True
    )
    times = {name: int(whole) for _, whole, _, name in IMPORTED.findall(found.stderr)}
    dear = sorted(times.items(), key=lambda item: -item[1])[:SHOWN]
    heavy = sorted({"torch", "transformers", "numpy", "PIL", "pyarrow", "matplotlib"} & times.keys())
    listed = ", ".join(f"{name} {taken / 1000:.0f}" for name, taken in dear)
    return [
        f"imports of --help, ms with what they import: {listed}",
        f"heavy packages loaded by --help: {heavy or 'none'}",
    ]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(cold(Options()).rows, indent=2) + "\n")
