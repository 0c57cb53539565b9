"""One step of gradient descent, as all of the demo's models are trained. Only `xpet.demo.build` needs it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

MAX_NORM = 1.0


def gradient_step(loss: Tensor, parameters: Iterable[Tensor], optimiser: Optimizer, schedule: LRScheduler) -> None:
    """Update the parameters by the gradient of a scalar loss, cut to length MAX_NORM, and move the schedule on."""
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(parameters, MAX_NORM)
    optimiser.step()
    schedule.step()
