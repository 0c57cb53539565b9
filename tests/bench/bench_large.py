"""Times one large run: spread over processes, and with a gradient cache; ratios first.

    python -m tests.bench.bench_large [--what spread,cache] [--size tiny|base] [--batch 256,1024] [--slices 64,256]
        [--method lora|adapter|compacter] [--steps N] [--rounds N] [--smoke] [--out FILE.json]

- spread: one process with all threads against two gloo processes with half of them each. All are started once and then
  train in turns; a process that waits does nothing.
- cache: batches encoded whole and in slices, in one process; peak memory above what is held before the first step.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing import get_context

from tests.bench import meter
from tests.bench.align_runs import METHODS
from tests.bench.ours import fit_config
from tests.bench.setting import SIZES, drawn_lengths, made_up, text_tower
from xpet.core.config import FitPlan, RunConfig
from xpet.methods.build import build_stack
from xpet.training.device import make_engine
from xpet.training.fit import stream
from xpet.training.queue import Queue, Run, RunData
from xpet.training.setup import FitSetup
from xpet.training.spread import Spread
from xpet.training.stacklike import StackLike

PROCESSES = 2
VALIDATION = 2


@dataclass(frozen=True)
class Options:
    """The command line, less what concerns the output."""

    size: str
    method: str
    steps: int
    rounds: int

    def run(self, batch: int) -> Run:
        """A run of routine 1 on as many captions as a batch has, with random image features."""
        dims, rows = SIZES[self.size].dims, batch + VALIDATION
        generator = torch.Generator().manual_seed(1)
        image = torch.randn(rows, dims, generator=generator)
        longest = SIZES[self.size].positions - 2
        student, anchor = (_tokens(slot, rows, longest) for slot in ("target", "pivot"))
        index = torch.arange(VALIDATION)
        data = RunData(student[:batch], anchor[:batch], image[:batch], student[batch:], image[batch:], index)
        return RunConfig("de", "routine1", "mse", 0.1, 1e-4), data


def _tokens(slot: str, rows: int, longest: int) -> list[list[int]]:
    lengths = [min(length, longest) for length in drawn_lengths("de", slot, rows)]
    return [[0, *map(int, text.split()), 2] for text in made_up(lengths, slot)]


class Trainer:
    """One tower with a stack of one run; trains a few steps from the start whenever it is asked."""

    def __init__(self, options: Options, spread: Spread) -> None:
        self.options, self.spread, self.engine = options, spread, make_engine("cpu")
        self.stack = build_stack(text_tower(SIZES[options.size]), METHODS[options.method], [1])
        self.runs: dict[int, Run] = {}

    def seconds(self, batch: int, steps: int, most: int | None = None) -> tuple[float, float]:
        """Seconds a step and CPU seconds a step, of that many steps."""
        run = self.runs.setdefault(batch, self.options.run(batch))
        plan: FitPlan = fit_config(batch, steps, gradient_cache=most)
        setup = FitSetup(self.stack, Queue([run], plan), 1, plan, _unused, self.engine, self.spread)
        used = time.process_time()
        taken = meter.seconds(lambda: list(stream(setup, _assign)))
        return taken / steps, (time.process_time() - used) / steps


def _assign(stack: StackLike, kept: Any, runs: Any) -> Any:
    return stack.reindex(kept, [run[0].seed for run in runs]) if runs else torch.zeros_like


def _unused(rows: Any) -> Any:
    raise NotImplementedError("captions are packed here")


def _serve(pipe: Connection, options: Options, rank: int, world: int, threads: int, store: str) -> None:
    """Train as the pipe says, `(batch, steps)` at a time, until it says None."""
    torch.set_num_threads(threads)
    if world > 1:
        dist.init_process_group("gloo", f"file://{store}", rank=rank, world_size=world)
    trainer = Trainer(options, Spread(rank, world))
    while (wanted := pipe.recv()) is not None:
        pipe.send(trainer.seconds(*wanted))
    if world > 1:
        dist.destroy_process_group()


class Team:
    """Processes that train one run together, `threads` each."""

    def __init__(self, options: Options, world: int, threads: int, store: Path) -> None:
        context, self.pipes, self.processes = get_context("spawn"), [], []
        for rank in range(world):
            mine, theirs = context.Pipe()
            arguments = (theirs, options, rank, world, threads, str(store))
            self.processes.append(context.Process(target=_serve, args=arguments, daemon=True))
            self.pipes.append(mine)
            self.processes[-1].start()

    def seconds(self, *wanted: int) -> tuple[float, float]:
        """Seconds a step of the slowest process, and CPU seconds a step of all together."""
        for pipe in self.pipes:
            pipe.send(wanted)
        taken = [pipe.recv() for pipe in self.pipes]
        return max(wall for wall, _ in taken), sum(used for _, used in taken)

    def end(self) -> None:
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            pipe.send(None)
            process.join()


def spread(options: Options, batches: list[int]) -> meter.Rows:
    """One process with all threads against `PROCESSES` with their share of them."""
    threads, rows = torch.get_num_threads(), []
    with tempfile.TemporaryDirectory() as folder:
        one = Team(options, 1, threads, Path(folder) / "store")
        several = Team(options, PROCESSES, max(1, threads // PROCESSES), Path(folder) / "store")
        for batch in batches:
            teams = {"one": one, "several": several}
            for team in teams.values():
                team.seconds(batch, 1)
            ways = {name: lambda t=team, b=batch: t.seconds(b, options.steps) for name, team in teams.items()}  # type: ignore[misc]
            found = meter.in_turns(ways, options.rounds)
            (wall, used), (walls, useds) = (zip(*found[name], strict=True) for name in teams)
            ratios = [a / b for a, b in zip(wall, walls, strict=True)]
            rows.append({
                "batch": batch, f"{PROCESSES} processes are faster by": statistics.median(ratios),
                "least": min(ratios), "most": max(ratios), "CPU seconds": meter.ratio(useds, used),
                "one process ms/step": 1000 * statistics.median(wall),
                f"{PROCESSES} processes ms/step": 1000 * statistics.median(walls),
            })  # fmt: skip
        one.end()
        several.end()
    return rows


def cache(options: Options, batches: list[int], slices: list[int]) -> meter.Rows:
    """Whole batches against slices: time and peak memory."""
    trainer, rows = Trainer(options, Spread(0, 1)), []
    for batch in batches:
        sizes = [None, *(most for most in slices if most < 2 * batch)]
        peaks: dict[int | None, list[float]] = {most: [] for most in sizes}

        def timed(
            most: int | None, batch: int = batch, peaks: dict[int | None, list[float]] = peaks
        ) -> tuple[float, float]:
            peak = meter.Peak("cpu")
            taken = trainer.seconds(batch, options.steps, most)
            peaks[most].append(peak.gib())
            return taken

        trainer.seconds(batch, 1)
        found = meter.in_turns({str(most): lambda m=most: timed(m) for most in sizes}, options.rounds)  # type: ignore[misc]
        walls, useds = ({name: [pair[i] for pair in pairs] for name, pairs in found.items()} for i in (0, 1))
        for most in sizes:
            name = str(most)
            rows.append({
                "batch": batch, "captions at a time": most or f"{2 * batch} (all)",
                "memory": statistics.median(peaks[most]) / statistics.median(peaks[None]),
                "time": meter.ratio(walls[name], walls["None"]), "CPU seconds": meter.ratio(useds[name], useds["None"]),
                "MiB": 1024 * statistics.median(peaks[most]), "ms/step": 1000 * statistics.median(walls[name]),
            })  # fmt: skip
    return rows


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, and write the document that is returned."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--what", default="spread,cache", help="parts, comma-separated")
    made.add_argument("--size", default="tiny", choices=("tiny", "base"))
    made.add_argument("--method", default="lora", choices=tuple(METHODS))
    made.add_argument("--batch", default="256,1024", help="batch sizes, comma-separated; captions are twice as many")
    made.add_argument("--slices", default="64,256", help="captions encoded at a time, comma-separated")
    made.add_argument("--steps", type=int, default=4, help="steps of a sample")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--smoke", action="store_true", help="smallest sizes: only shows that every part runs")
    made.add_argument("--out", type=Path, help="write the results to this file")
    given = made.parse_args(arguments)
    batches, slices = ([int(size) for size in text.split(",")] for text in (given.batch, given.slices))
    if given.smoke:
        batches, slices, given.steps, given.rounds = [16], [8], 1, 1
    options = Options(given.size, given.method, given.steps, given.rounds)
    document: dict[str, Any] = {"machine": meter.machine("cpu"), "load before": os.getloadavg()[0], "tables": {}}
    for part in given.what.split(","):
        rows = spread(options, batches) if part == "spread" else cache(options, batches, slices)
        meter.show(f"{part}: {options.size}, {options.method}", rows, [f"load {os.getloadavg()[0]:.1f}"])
        document["tables"][part] = rows
    meter.write(given.out, document)
    return document


if __name__ == "__main__":
    main()
