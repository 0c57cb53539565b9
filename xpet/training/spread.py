"""One stack trained by several processes: each encodes a share of the captions, all make the same update.

Every process holds the whole stack and reads the same batch. Features are gathered, so that every process computes the
whole loss; back-propagation then goes through a process's own features alone, and the gradients are summed. That is the
gradient of one process, for a loss depends on the parameters through the features only. Processes talk by the default
group of torch.distributed, which must be there and, with GPUs, have a backend for tensors of the CPU too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from xpet.core.errors import LostError, one_line

_WHERE = re.compile(r" ?\[[^]]*\](:\d+)?")
"""Source lines and addresses in gloo's errors: `[.../pair.cc:534] Connection closed by peer [127.0.0.1]:52344`."""


@dataclass(frozen=True)
class Spread:
    """A process among those that train one stack.

    Every method but `alone` waits for all processes, and raises LostError when one is gone or does not answer before
    the group's timeout.

    Attributes:
        rank: this process's number, from 0.
        world: how many processes there are.
    """

    rank: int
    world: int

    @property
    def alone(self) -> bool:
        """Whether there is no other process."""
        return self.world == 1

    def gather(self, features: Tensor) -> Tensor:
        """Features [runs, share, d] of every process, in the order of ranks, [runs, world * share, d].

        The gradient goes to this process's own features alone.
        """
        return features if self.alone else _Gathered.apply(features, self)  # type: ignore[no-any-return, no-untyped-call]

    def sum_gradients(self, gradients: Sequence[Tensor], losses: Tensor) -> None:
        """Replace gradients [runs, n] by their sums over all processes, equal to the last bit in each of them.

        Where a run's loss in `losses` [runs] is not finite in some process, its sums are not finite in any.
        """
        if self.alone:
            return
        gradients[0][:, 0] += 0 * losses.detach().to(gradients[0].dtype)
        with self._all_there():
            for work in [dist.all_reduce(gradient, async_op=True) for gradient in gradients]:
                work.wait()

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite tensors of any shapes with those of rank 0."""
        if self.alone:
            return
        with self._all_there():
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    @contextmanager
    def _all_there(self) -> Iterator[None]:
        """Turn what torch.distributed raises into a LostError."""
        try:
            yield
        except RuntimeError as error:
            raise LostError(self.world, _noticed(error)) from error


def _noticed(error: RuntimeError) -> str:
    """The first sentence of torch's error, without source lines and addresses."""
    return _WHERE.sub("", one_line(error, first_only=True)).partition(". ")[0].strip()


class _Gathered(torch.autograd.Function):
    """`Spread.gather`; torch.distributed has differentiable collectives, but deprecates them (torch 2.13)."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, spread: Spread) -> Tensor:
        """Features [runs, world * share, d] of features [runs, share, d] in every process."""
        ctx.own = slice(spread.rank * features.shape[1], (spread.rank + 1) * features.shape[1])
        features = features.contiguous()
        gathered = [torch.empty_like(features) for _ in range(spread.world)]
        with spread._all_there():
            dist.all_gather(gathered, features)
        return torch.cat(gathered, dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient [runs, share, d] of this process's features."""
        return gradients[0][:, ctx.own], None
