"""The device and precision that a training computes with, by accelerate."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from xpet.core.errors import ConfigError
from xpet.core.processes import here
from xpet.core.transfer import send

SLICES_ON_CPU = 4
"""Slices of a padded batch on a CPU, see `Engine.slices`."""


@dataclass(frozen=True)
class Engine:
    """Device and precision of a computation; made by `make_engine`. `precision` is fp32, tf32 or bf16."""

    accelerator: Any
    precision: str

    @property
    def device(self) -> torch.device:
        """The device accelerate chose; a CPU has no number, of which accelerate gives it one beside other processes."""
        device: torch.device = self.accelerator.device
        return torch.device("cpu") if device.type == "cpu" else device

    @property
    def slices(self) -> int:
        """Slices of captions of similar length per padded batch: a CPU pays for padding, a GPU for every launch."""
        return 1 if self.device.type == "cuda" else SLICES_ON_CPU

    @property
    def dtype(self) -> torch.dtype | None:
        """The type the frozen weights are computed in; None: their own."""
        return torch.bfloat16 if self.precision == "bf16" else None

    @cached_property
    def _second(self) -> Any:
        """A stream that begins where the work given to the device so far ends."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        return stream

    def aside(self) -> AbstractContextManager[object]:
        """For the block, this thread's work on a GPU goes beside that of others: it has a stream of its own.

        What other threads change meanwhile must not be read in it, nor what was changed outside since the first block:
        it waits for nothing that was given to the device later.
        """
        return torch.cuda.stream(self._second) if self.device.type == "cuda" else nullcontext()

    def send(self, tensor: Tensor) -> Tensor:
        """Copy a tensor of any shape from the CPU to the device, without waiting for what the device is doing."""
        return send(tensor, self.device)

    def backward(self, loss: Tensor) -> None:
        """Back-propagate a scalar loss through accelerate."""
        self.accelerator.backward(loss)


def make_engine(device: str = "auto", precision: str = "auto") -> Engine:
    """An engine for a device choice ('auto', 'cpu', 'cuda') and precision ('auto': fp32 on CPU, tf32 on GPU).

    Raises ConfigError when a GPU is asked for and there is none, or a precision the device does not have.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, PartialState

    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise ConfigError("device 'cuda' was asked for, but torch finds no GPU; use --device cpu or auto")
    on_gpu = has_gpu and device != "cpu"
    if precision == "tf32" and not on_gpu:
        raise ConfigError("precision 'tf32' needs a GPU; use --precision fp32 or auto")
    _join_group(on_gpu)
    if PartialState._shared_state and PartialState().device.type != ("cuda" if on_gpu else "cpu"):
        AcceleratorState._reset_state(reset_partial_state=True)  # accelerate keeps a process's first choice
    accelerator = Accelerator(cpu=not on_gpu)
    if precision == "auto":
        precision = "tf32" if on_gpu else "fp32"
    if on_gpu:
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    return Engine(accelerator, precision)


def _join_group(on_gpu: bool) -> None:
    """Make torch's process group of the command's processes, which accelerate then uses; nothing where there is one.

    Raises ConfigError where a machine has fewer GPUs than processes.
    """
    import torch.distributed as dist

    processes = here()
    if processes.store is None or dist.is_initialized():
        return
    gpus, launch = torch.cuda.device_count(), processes.launch
    if on_gpu and launch.local_world > gpus:
        raise ConfigError(
            f"expected a GPU for each of the {launch.local_world} processes on this machine, found {gpus}; start fewer "
            "or use --device cpu"
        )
    dist.init_process_group(
        "cuda:nccl,cpu:gloo" if on_gpu else "gloo", timeout=timedelta(seconds=processes.timeout),
        store=processes.store, rank=processes.rank, world_size=processes.world,
    )  # fmt: skip
