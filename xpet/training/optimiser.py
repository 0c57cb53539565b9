"""Adam over a stack: a learning rate per run, cosine decay to zero, diverged runs held still."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from xpet.core.kernels.adam import BETAS, adam_step
from xpet.training.stacklike import Reindex


class StackedAdam:
    """Adam without weight decay on parameters laid out [runs, n]; the arithmetic is torch.optim.Adam's, per run.

    Kingma and Ba 2015, algorithm 1. `rates` [runs] are initial learning rates, decayed by half a cosine over `steps`
    steps without warm-up. Every run counts its own steps in `counts` [runs], int64: one may start while others are
    half-way.
    """

    def __init__(self, parameters: Sequence[Tensor], rates: Tensor, steps: int) -> None:
        self.parameters = list(parameters)
        self.rates = rates
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.counts = torch.zeros(len(rates), dtype=torch.long, device=rates.device)
        factors = [_factors(step, steps) for step in range(steps)]
        self.factors = torch.tensor(factors, dtype=rates.dtype, device=rates.device).T  # [3, steps]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], alive: Tensor) -> None:
        """One update from gradients [runs, n]; runs where `alive` [runs] is False keep their parameters."""
        decay, correction1, correction2 = self.factors[:, self.counts].unsqueeze(2)  # each [runs, 1]
        self.counts += 1
        rate = self.rates.unsqueeze(1) * decay / correction1  # [runs, 1]
        updated = alive.unsqueeze(1)  # [runs, 1]
        for parameter, gradient, first, second in zip(self.parameters, gradients, self.first, self.second, strict=True):
            adam_step(parameter, gradient, first, second, rate, correction2, updated)

    def reindex(self, parameters: Sequence[Tensor], rates: Tensor, kept: Tensor, reindex: Reindex) -> None:
        """Keep the moments and counts of the slots `kept` [n], and append new runs with zero moments and counts.

        `parameters` are the stack's new ones, `rates` [runs] their initial learning rates; `reindex` moves moments.
        """
        self.parameters, self.rates = list(parameters), rates
        self.first, self.second = [list(map(reindex, moments)) for moments in (self.first, self.second)]
        counts = torch.zeros(len(rates), dtype=torch.long, device=rates.device)
        counts[: len(kept)] = self.counts[kept]
        self.counts = counts


def _factors(step: int, steps: int) -> tuple[float, float, float]:
    """Cosine decay of the learning rate in a step, and Adam's two bias corrections (Kingma and Ba 2015)."""
    decay = 0.5 * (1 + math.cos(math.pi * step / steps))
    return decay, 1 - BETAS[0] ** (step + 1), math.sqrt(1 - BETAS[1] ** (step + 1))
