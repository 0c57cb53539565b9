"""Adam over a stack: a learning rate per run, cosine decay to zero, diverged runs held still (SPEC section 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class StackedAdam:
    """Adam without weight decay on parameters laid out [runs, n]; the arithmetic is torch.optim.Adam's, per run.

    `rates` [runs] are initial learning rates, decayed by half a cosine over `steps` steps without warm-up.
    """

    def __init__(self, parameters: Sequence[Tensor], rates: Tensor, steps: int) -> None:
        self.parameters = list(parameters)
        self.rates = rates
        self.steps = steps
        self.step_count = 0
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], alive: Tensor) -> None:
        """One update from gradients [runs, n]; runs where `alive` [runs] is False keep their parameters."""
        decay = 0.5 * (1 + math.cos(math.pi * self.step_count / self.steps))
        self.step_count += 1
        correction1 = 1 - BETAS[0] ** self.step_count
        correction2 = math.sqrt(1 - BETAS[1] ** self.step_count)
        rate = (self.rates * decay / correction1).unsqueeze(1)  # [runs, 1]
        keep = alive.unsqueeze(1)
        for parameter, gradient, first, second in zip(self.parameters, gradients, self.first, self.second, strict=True):
            gradient = torch.where(keep, gradient, 0.0)
            first.lerp_(gradient, 1 - BETAS[0])
            second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            update = rate * first / (second.sqrt() / correction2 + EPSILON)
            parameter.sub_(torch.where(keep, update, 0.0))
