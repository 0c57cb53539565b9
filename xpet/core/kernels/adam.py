"""A step of Adam for all runs (Kingma and Ba 2015, algorithm 1): by Triton on a GPU, else by its plain twin."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xpet.core.kernels.choice import Trial, works

BETAS = (0.9, 0.999)
EPSILON = 1e-8
"""Adam's constants, those of torch.optim.Adam."""

Update = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], None]
"""See `adam_step`."""


def adam_step(
    parameter: Tensor, gradient: Tensor, first: Tensor, second: Tensor, rate: Tensor, correction: Tensor, alive: Tensor
) -> None:
    """Update parameters and moments [runs, n] in place from gradients [runs, n].

    `rate` [runs, 1] is the learning rate divided by the first moment's bias correction, `correction` [runs, 1] the root
    of the second's. Runs where `alive` [runs, 1] is False keep their parameters, whatever their gradients are.
    """
    _update_for(parameter, gradient, first, second)(parameter, gradient, first, second, rate, correction, alive)


def _plain(
    parameter: Tensor, gradient: Tensor, first: Tensor, second: Tensor, rate: Tensor, correction: Tensor, alive: Tensor
) -> None:
    """See `adam_step`."""
    gradient = torch.where(alive, gradient, 0.0)  # [runs, n], as all that follows
    first.lerp_(gradient, 1 - BETAS[0])
    second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
    update = (rate * first).div_(second.sqrt().div_(correction).add_(EPSILON))
    parameter.sub_(torch.where(alive, update, 0.0))


def _update_for(*tensors: Tensor) -> Update:
    """Triton's where it works for these tensors, all [runs, n], else the twin."""
    parameter = tensors[0]
    simple = all(tensor.is_contiguous() and tensor.dtype == torch.float32 for tensor in tensors)
    if not (simple and works("Adam", parameter, None, lambda: _trial(parameter.device))):
        return _plain
    from xpet.core.kernels import adam_triton

    return adam_triton.update


def _trial(device: torch.device) -> Trial:
    """Triton's and the twin's results on random numbers; one of the runs is not alive."""
    from xpet.core.kernels import adam_triton

    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(4, 3, 2500, generator=generator)
    drawn[3] = drawn[3].square()
    drawn[1, 1] = torch.nan
    per_run = torch.tensor([[0.1], [0.2], [0.3]]), torch.tensor([[0.5], [0.9], [1.0]])
    alive = torch.tensor([[True], [False], [True]], device=device)
    results = []
    for update, dtype in ((adam_triton.update, torch.float32), (_plain, torch.float64)):
        parameter, gradient, first, second = (part.to(device, dtype, copy=True) for part in drawn)
        rate, correction = (each.to(device, dtype) for each in per_run)
        update(parameter, gradient, first, second, rate, correction, alive)
        results.append([parameter, first, second])
    return results[0], results[1]
