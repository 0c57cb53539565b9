"""How many runs fit into one stack, how many stacks train at a time, and how much memory was used."""

from __future__ import annotations

import math
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from xpet.training import graphs, saturation
from xpet.training.queue import Queue

if TYPE_CHECKING:
    from xpet.core.config import FitPlan, RunConfig
    from xpet.training.device import Engine
    from xpet.training.queue import RunData
    from xpet.training.stacklike import Collate, StackLike

SATURATED = {"cpu": 5e9, "cuda": 2.5e13}
"""FLOP per step beyond which more runs side by side gain nothing.

CPU: two cores, measured (tests/bench/bench_align --what scaling). GPU: 64 runs of XLM-R Large, not measured. Long
trainings measure it on their own device (`saturation.py`).
"""
IN_BF16 = {"cpu": 4.0, "cuda": 1.0}
"""Factor on SATURATED in bf16, in which a CPU multiplies that much faster; the GPU's figure is for bf16 already."""
SHARE_OF_FREE = 0.6
"""Share of the free memory that stacks may take."""
TEMPORARIES = 1.3
"""Peak memory of a step divided by what autograd keeps: the largest temporaries come on top."""
SLICE = 1.4
"""Peak memory of a slice that is encoded again, relative to a batch of its size (tests/bench/bench_large)."""
SAMPLE = 1000
"""Captions of a run whose lengths and tokens are looked at, the first ones."""


def runs_per_stack(
    stack: StackLike,
    runs: Sequence[tuple[RunConfig, RunData]],
    fit: FitPlan,
    collate: Collate,
    engine: Engine,
    workers: int = 1,
    sharing: int | None = None,
    threads: int | None = None,
) -> int:
    """How many runs of one shape train side by side: `--stack`, or as many as saturate the device and fit into memory.

    Memory is measured by a forward of the first run, which overwrites the stack's parameters; so is what saturates,
    where there is much to train. The runs are spread evenly over the stacks, so that no small stack is left over and
    every one of all `workers` has one. `sharing` of these (None: all) share the memory of this process's device. Each
    has so many of PyTorch's `threads` (None: all).
    """
    if fit.stack is not None or len(runs) == 1:
        return fit.stack or 1
    kind = engine.device.type
    saturated = SATURATED[kind] * (1.0 if engine.dtype is None else IN_BF16[kind])
    flop = flop_per_step(stack.tower, runs[0][1], fit.batch_size)
    saturating = math.ceil(saturated / flop)
    held = 2 if graphs.are_wanted(fit, engine) else 1  # recordings hold what a step needs, which plain ones need too
    free = SHARE_OF_FREE * free_bytes(engine) / (sharing or workers) / held
    fitting = int(free // bytes_per_run(stack, runs[0], fit, collate, engine))
    most = max(1, min(fitting, len(runs)))
    if len(runs) * Queue(runs, fit).steps >= saturation.LONG:
        trial = saturation.Trial(stack, runs, fit, collate, engine, threads or torch.get_num_threads())
        saturating = saturation.saturating(trial, saturating, most, flop)
    most = min(saturating, most)
    stacks = math.ceil(len(runs) / most / workers) * workers
    return math.ceil(len(runs) / min(stacks, len(runs)))


def workers_for(runs: int, fit: FitPlan, engine: Engine, alone: bool) -> int:
    """How many stacks train at a time: `--workers`, or one per PyTorch thread on a CPU; 1 if runs must be `alone`."""
    if engine.device.type != "cpu" or alone or fit.compile:
        return 1
    return min(runs, fit.workers or torch.get_num_threads())


def flop_per_step(tower: torch.nn.Module, data: RunData, batch_size: int) -> float:
    """FLOP of one run's step: forward and backward through the frozen matrices, without attention's own products."""
    config = tower.transformer.config  # type: ignore[union-attr]
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers  # type: ignore[union-attr]
    tokens = sum(
        statistics.fmean(len(column[i]) for i in range(min(SAMPLE, len(column))))
        for column in (data.student, data.anchor)
        if column is not None
    )
    return float(4 * batch_size * tokens * layers * (4 * hidden**2 + 2 * hidden * inner))  # type: ignore[operator, arg-type]


def bytes_per_run(
    stack: StackLike, run: tuple[RunConfig, RunData], fit: FitPlan, collate: Collate, engine: Engine
) -> float:
    """Bytes one run's step takes, estimated from what autograd keeps in a forward of its first batch.

    With a gradient cache that is what it keeps of the whole batch, and of one slice in the backward pass.
    """
    kept = _bytes_kept(stack, run, fit, collate, engine)
    if fit.gradient_cache is not None:
        columns = 1 if run[1].anchor is None else 2
        rows = max(2, math.ceil(min(fit.gradient_cache, columns * fit.batch_size) / columns))
        kept += SLICE * _bytes_kept(stack, run, replace(fit, gradient_cache=None, batch_size=rows), collate, engine)
    return TEMPORARIES * kept


def _bytes_kept(
    stack: StackLike, run: tuple[RunConfig, RunData], fit: FitPlan, collate: Collate, engine: Engine
) -> float:
    """Bytes that autograd keeps in a forward of a run's first batch."""
    from xpet.training.fit import first_loss

    frozen: set[int] = set()  # addresses of the tower's weights
    saved: dict[int, int] = {}  # address of what autograd keeps -> bytes

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in frozen:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    stack.reset([run[0].seed], [sorted({token for row in run[1].student[:SAMPLE] for token in row})])
    hooks = torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor)
    with stack.lowered(engine.dtype), hooks:
        frozen |= {p.untyped_storage().data_ptr() for p in stack.tower.parameters()}
        loss = first_loss(stack, run, fit, collate, engine)
    del loss
    return sum(saved.values())


def free_bytes(engine: Engine) -> int:
    """Bytes free for activations on the engine's device; a cautious 4 GiB where the system does not say."""
    if engine.device.type == "cuda":
        return graphs.device_memory().idle  # with what PyTorch holds and nothing lies in, as after a trial
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 4 << 30


def peak_mebibytes(engine: Engine) -> float:
    """Peak memory so far in MiB: of the GPU when there is one, else of the process; 0.0 where nothing tells it."""
    if engine.device.type == "cuda":
        return torch.cuda.max_memory_allocated(engine.device) / 2**20
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
