"""Times a grid of `xpet align` in one process with two stacks at a time against two processes, as whole commands.

    python -m tests.bench.bench_processes [--processes 2] [--rounds 3] [--steps 100] [--runs 90] [--smoke]

Then the parts of which a larger world is made (`--what parts`): to meet, to draw a run, to load, to encode pictures,
to train, to write a run; and from these, on paper, the same grid on 1 to 64 devices.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.meter import Rows, in_turns, show

RATES = ("2e-4", "3e-4", "5e-4")
WEIGHTS = ("0.03", "0.1", "0.3")
WORLDS = (1, 2, 8, 64)
MEETING = """
import json, os, time
started = time.monotonic()
import torch
loaded = time.monotonic()
from xpet.core.processes import connected
with connected(60) as processes:
    met = time.monotonic()
    processes.barrier("ready")
    began = time.monotonic()
    while processes.draw("queue", 1, 4000):
        pass
    drawn = time.monotonic()
    if processes.is_first:
        print(json.dumps({"import torch": loaded - started, "meet": met - loaded, "draw": (drawn - began) / 4000}))
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--what", default="grid,parts")
    given.add_argument("--processes", type=int, default=2)
    given.add_argument("--rounds", type=int, default=3)
    given.add_argument("--steps", type=int, default=100)
    given.add_argument("--runs", type=int, default=90, help="of the grid: languages x rates x weights")
    given.add_argument("--smoke", action="store_true")
    options = given.parse_args(arguments)
    if options.smoke:
        options.rounds, options.steps, options.runs = 1, 2, 9
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XPET_CACHE"] = str(Path(folder) / "cache")
        if "grid" in options.what:
            show("a grid as whole commands", grid(options, Path(folder)))
        if "parts" in options.what:
            found = parts(options, Path(folder))
            show("parts, seconds", [{"part": name, "s": seconds} for name, seconds in found.items()])
            show("the grid on more devices, on paper", on_paper(found, options.runs))


def grid(options: argparse.Namespace, folder: Path) -> Rows:
    """The grid in one process with as many stacks at a time as there are processes, and in these processes."""
    world = options.processes
    ways = {
        f"one process, --workers {world}": lambda: align(options, folder, ["--workers", str(world)])["seconds"],
        f"--processes {world}": lambda: align(options, folder, ["--processes", str(world)])["seconds"],
    }
    align(options, folder, ["--workers", str(world)])  # fills the cache
    times = in_turns(ways, options.rounds)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    base = next(iter(medians.values()))
    return [{"way": name, "median s": median, "speed": base / median} for name, median in medians.items()]


def align(options: argparse.Namespace, folder: Path, how: Sequence[str]) -> dict[str, float]:
    """Train the grid; returns the seconds of the whole command, of its job, and of training alone."""
    languages = ("de", "fr", "es", "it", "ja", "ko", "pl", "ru", "tr", "zh")[: max(1, options.runs // 9)]
    out = folder / "grid"
    shutil.rmtree(out, ignore_errors=True)
    command = [
        sys.executable, "-m", "xpet", "align", "--lang", ",".join(languages), "--lr", ",".join(RATES),
        "--align-weight", ",".join(WEIGHTS), "--steps", str(options.steps), "-o", str(out), "--json", "-q", *how,
    ]  # fmt: skip
    started = time.monotonic()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = time.monotonic() - started
    result = json.loads(done.stdout)
    trained = sum(run["seconds"] for run in result["runs"])
    return {"seconds": seconds, "job": result["seconds"], "trained": trained, "runs": len(result["runs"])}


def parts(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Seconds of each part of a command: some once in every process, some for each run."""
    found = meeting(options.processes)
    one = argparse.Namespace(**{**vars(options), "runs": min(options.runs, 18)})
    shutil.rmtree(folder / "cache", ignore_errors=True)
    cold = align(one, folder, ["--workers", "1"])
    warm = align(one, folder, ["--workers", "1"])
    return found | {
        "encode all pictures": max(0.0, cold["seconds"] - warm["seconds"]),
        "start and prepare": warm["seconds"] - warm["trained"] - warm["runs"] * writing(folder / "grid", folder),
        "train a run, in a stack": warm["trained"] / warm["runs"],
        "write a run": writing(folder / "grid", folder),
    }


def meeting(world: int) -> dict[str, float]:
    """What it takes processes to meet, and one to draw a run while the others do."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(world)]
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(MEETING)
        script.flush()
        done = subprocess.run([*command, script.name], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def writing(runs: Path, folder: Path) -> float:
    """Seconds to write a run folder again, median."""
    from xpet.core.rundir import find_runs, read_run, write_run

    record = read_run(find_runs(runs)[0])
    times = []
    for number in range(9):
        started = time.monotonic()
        write_run(folder / f"written{number}", record, overwrite=True)
        times.append(time.monotonic() - started)
    return statistics.median(times)


def on_paper(found: dict[str, float], runs: int) -> Rows:
    """The grid on more devices: every process starts and prepares, pictures and runs are divided among them."""
    rows: Rows = []
    for world in WORLDS:
        each = math.ceil(runs / world)
        per_run = found["draw"] + found["train a run, in a stack"] + found["write a run"]
        fixed = found["start and prepare"] + (found["meet"] if world > 1 else 0.0)
        total = fixed + found["encode all pictures"] / world + each * per_run
        rows.append({"devices": world, "runs each": each, "fixed s": fixed, "s": total})
    return [{**row, "speed-up": rows[0]["s"] / row["s"], "fixed share": row["fixed s"] / row["s"]} for row in rows]


if __name__ == "__main__":
    main()
