"""How many runs fit into one stack, and how much memory was used."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from xpet.core.config import FitConfig, RunConfig
    from xpet.training.device import Engine
    from xpet.training.fit import RunData

VALUES_PER_TOKEN_AND_CHANNEL = 40
"""Activations autograd keeps per token, layer and hidden channel (measured with an XLM-R layer, rounded up)."""
MOST_ON_CPU, MOST_ON_GPU = 16, 64
"""Beyond these a wider stack gains nothing (FINDINGS: compute-bound)."""
SHARE_OF_FREE = 0.6


def runs_per_stack(
    tower: torch.nn.Module, runs: Sequence[tuple[RunConfig, RunData]], fit: FitConfig, engine: Engine
) -> int:
    """Runs of one shape to train side by side: `--stack`, or as many as fit into the free memory."""
    if fit.stack is not None:
        return fit.stack
    longest = max(len(row) for _, data in runs for column in (data.student, data.anchor or ()) for row in column)
    config = tower.transformer.config  # type: ignore[union-attr]
    rows = fit.batch_size * (2 if runs[0][1].anchor is not None else 1)
    values = rows * longest * config.num_hidden_layers * config.hidden_size * VALUES_PER_TOKEN_AND_CHANNEL  # type: ignore[union-attr, operator]
    fitting = int(SHARE_OF_FREE * free_bytes(engine) // (4 * values))
    most = MOST_ON_GPU if engine.device.type == "cuda" else MOST_ON_CPU
    return max(1, min(most, fitting, len(runs)))


def free_bytes(engine: Engine) -> int:
    """Memory available for activations on the engine's device; a cautious 4 GiB where it cannot be asked."""
    if engine.device.type == "cuda":
        return int(torch.cuda.mem_get_info(engine.device)[0])
    if hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 4 << 30


def peak_mebibytes(engine: Engine) -> float:
    """Peak memory so far: of the GPU when there is one, else of the process; 0.0 where it cannot be asked."""
    if engine.device.type == "cuda":
        return torch.cuda.max_memory_allocated(engine.device) / 2**20
    if sys.platform == "win32":
        return 0.0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
