"""How many runs side by side saturate a device: measured in a second or two, and kept in the cache.

Which size of a stack is the fastest depends on the processor, its caches and threads, on the tower, the method and the
precision. What is found for them is kept, so that a command that is repeated makes the same stacks.
"""

from __future__ import annotations

import json
import math
import platform
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from xpet.core.config import FitPlan
from xpet.core.errors import OutputError
from xpet.core.files import write_file
from xpet.core.kernels.choice import fused
from xpet.core.paths import cache_folder
from xpet.core.regular_files import read_text
from xpet.training.device import Engine
from xpet.training.queue import Queue, Run
from xpet.training.setup import FitSetup
from xpet.training.slots import admit, occupied
from xpet.training.stacklike import Collate, StackLike
from xpet.training.step import read_batch, step_losses

LONG = 20_000
"""Steps of all runs together from which on measuring pays: on a small tower that is a minute or two of training."""
SECONDS = 2.0
"""Seconds that measuring takes, about; a size that would take longer is not tried."""
ROUNDS = 5
"""How often each size is timed at most; the fastest time counts, for other programs only make it longer."""
WORSE = 1.3
"""A size that is slower than the best by this factor is not timed again, unless it is the usual one."""
GOOD_ENOUGH = 1.05
"""A size is good enough when it is slower than the best by no more than this factor."""
VALIDATION = 2
"""Validation texts of a run that is timed: their features are not computed."""


@dataclass(frozen=True)
class Trial:
    """What is timed: the first runs of a command on a stack, whose parameters are overwritten."""

    stack: StackLike
    runs: Sequence[Run]
    fit: FitPlan
    collate: Collate
    engine: Engine
    threads: int

    def seconds(self, count: int) -> float:
        """Seconds of a forward and backward of so many runs side by side, after one that is not counted."""
        runs = [_with_little_validation(run) for run in self.runs[:count]]
        vocabularies = [sorted({token for row in data.student[:1000] for token in row}) for _, data in runs]
        self.stack.reset([config.seed for config, _ in runs], vocabularies)
        setup = FitSetup(self.stack, Queue(runs, self.fit), count, self.fit, self.collate, self.engine)
        occupancy = occupied(setup, admit(setup, count, step=0))
        batch, steps = read_batch(setup, occupancy.slots), torch.zeros(count, dtype=torch.long, device=setup.device)
        started = 0.0
        for _ in range(2):
            started = self._now()
            losses = torch.stack(step_losses(setup, occupancy, batch, steps))  # [2, runs]
            self.engine.backward(losses.sum())
            self.stack.clear_gradients()
        return self._now() - started

    def _now(self) -> float:
        """The time, when the device has done all it was given."""
        if self.engine.device.type == "cuda":
            torch.cuda.synchronize(self.engine.device)
        return time.monotonic()

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """For the block, the tower in the engine's precision, and as many of PyTorch's threads as a stack will have."""
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(self.threads)
            with self.stack.lowered(self.engine.dtype), fused(self.fit.fused):
                yield
        finally:
            torch.set_num_threads(before)
            self.stack.tower.eval()


def _with_little_validation(run: Run) -> Run:
    data = run[1]
    index = data.val_image_index[:VALIDATION]
    return run[0], replace(data, val_text=data.val_text[:VALIDATION], val_image_index=index)


def saturating(trial: Trial, usual: int, most: int, flop: float) -> int:
    """How many runs side by side, up to `most`, have the fastest steps per run, or nearly.

    `usual` where that is good enough, else a power of two. `flop` are those of one run's step. What was found before
    is taken from the cache.
    """
    usual = min(usual, most)
    key = _key(trial, flop) | {"usual": usual, "most": most}
    path = cache_folder() / "stack-sizes" / f"{zlib.crc32(json.dumps(key, sort_keys=True).encode()):08x}.json"
    found = _stored(path, key)
    if found is None:
        try:
            with trial.prepared():
                found = _fastest(trial, usual, most)
        except torch.OutOfMemoryError:  # memory was estimated
            return usual
        with suppress(OSError, OutputError):  # measured again next time
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, json.dumps({**key, "runs": found}, indent=2) + "\n")
    return found


def _fastest(trial: Trial, usual: int, most: int) -> int:
    """`usual` if that is nearly the fastest per run, else the smallest power of two up to `most` that is."""
    each = _tried(trial, usual, most)
    enough = [count for count, seconds in each.items() if seconds <= GOOD_ENOUGH * min(each.values())]
    return usual if usual in enough or usual not in each else min(enough)


def _tried(trial: Trial, usual: int, most: int) -> dict[int, float]:
    """Number of runs -> the least seconds of a step per run: `usual`, and powers of two around it, as time allows."""
    began, each = time.monotonic(), dict[int, float]()
    counts = sorted({usual, *(1 << power for power in range(most.bit_length()))}, key=lambda n: abs(n - usual))
    for _ in range(ROUNDS):
        for count in counts:
            left = SECONDS - (time.monotonic() - began)
            if each and 2 * count * min(each.values()) > left:
                return each
            each[count] = min(trial.seconds(count) / count, each.get(count, math.inf))
        counts = [count for count in counts if count == usual or each[count] <= WORSE * min(each.values())]
    return each


def _key(trial: Trial, flop: float) -> dict[str, Any]:
    """What a measurement holds for."""
    return {
        "processor": _processor(trial.engine), "threads": trial.threads, "torch": torch.__version__,
        "tower": f"{zlib.crc32(repr(trial.stack.tower).encode()):08x}", "parameters": trial.stack.flat[0].shape[1],
        "precision": trial.engine.precision, "batch": trial.fit.batch_size, "layout": trial.fit.layout,
        "dropout": trial.fit.dropout, "flop": f"{flop:.0e}",
    }  # fmt: skip


def _processor(engine: Engine) -> str:
    """The name of the processor that computes."""
    if engine.device.type == "cuda":
        return str(torch.cuda.get_device_name(engine.device))
    name = platform.processor()
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", read_text("/proc/cpuinfo"), re.MULTILINE)
        name = found[1] if found else name
    return f"{name} {torch.backends.cpu.get_cpu_capability()}"


def _stored(path: Path, key: Mapping[str, Any]) -> int | None:
    """The number that was found for the same; None where there is none, or the file is damaged."""
    try:
        stored = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return None
    runs = stored.pop("runs", None) if isinstance(stored, dict) else None
    return runs if type(runs) is int and runs > 0 and stored == key else None
