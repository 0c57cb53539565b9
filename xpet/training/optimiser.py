"""Adam over a stack: a learning rate per run, cosine decay to zero, diverged runs held still (SPEC section 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from xpet.training.stacklike import Move

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class StackedAdam:
    """Adam without weight decay on parameters laid out [runs, n]; the arithmetic is torch.optim.Adam's, per run.

    `rates` [runs] are initial learning rates, decayed by half a cosine over `steps` steps without warm-up. Every run
    counts its own steps: one may start while others are half-way.
    """

    def __init__(self, parameters: Sequence[Tensor], rates: Tensor, steps: int) -> None:
        self.parameters = list(parameters)
        self.rates = rates
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.counts = torch.zeros(len(rates), dtype=torch.long, device=rates.device)
        factors = [
            (
                0.5 * (1 + math.cos(math.pi * step / steps)),
                1 - BETAS[0] ** (step + 1),
                math.sqrt(1 - BETAS[1] ** (step + 1)),
            )
            for step in range(steps)
        ]
        self.factors = torch.tensor(factors, dtype=rates.dtype, device=rates.device).T  # [3, steps]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], alive: Tensor) -> None:
        """One update from gradients [runs, n]; runs where `alive` [runs] is False keep their parameters."""
        decay, correction1, correction2 = self.factors[:, self.counts].unsqueeze(2)  # each [runs, 1]
        self.counts += 1
        rate = self.rates.unsqueeze(1) * decay / correction1
        keep = alive.unsqueeze(1)
        for parameter, gradient, first, second in zip(self.parameters, gradients, self.first, self.second, strict=True):
            gradient = torch.where(keep, gradient, 0.0)
            first.lerp_(gradient, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            update = rate * first / (second.sqrt() / correction2 + EPSILON)
            parameter.sub_(torch.where(keep, update, 0.0))

    def exchange(self, parameters: Sequence[Tensor], rates: Tensor, kept: Tensor, move: Move) -> None:
        """Go on with the `kept` runs of the former stack, by place, and with new ones behind them."""
        self.parameters, self.rates = list(parameters), rates
        self.first, self.second = [list(map(move, moments)) for moments in (self.first, self.second)]
        counts = torch.zeros(len(rates), dtype=torch.long, device=rates.device)
        counts[: len(kept)] = self.counts[kept]
        self.counts = counts
