"""Whether Triton's kernel does a piece of work, or its plain twin.

A kernel is tried out against its twin when a device first needs it for a type and size. One that cannot be compiled or
computes something else is left out from then on, with one warning.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec

import torch
from torch import Tensor

from xpet.core.errors import XpetWarning, one_line

Trial = tuple[Sequence[Tensor], Sequence[Tensor]]
"""What a kernel computed, and its twin in float64: tensors of the same shapes, any of them."""

TOLERANCE = {torch.bfloat16: 0.03, torch.float16: 0.01, torch.float32: 1e-4}
"""Largest error of a kernel in its trial, relative to the largest value, by the type of its inputs."""
DEVICES = ("cuda",)
"""Kinds of devices that have kernels."""


@dataclass
class _Choice:
    """What this process knows of kernels: those that were tried, and those left out."""

    tried: set[Hashable] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)


class _Wanted(threading.local):
    """Whether this thread wants kernels; stacks are trained in threads of their own."""

    value = True


_choice, _wanted = _Choice(), _Wanted()


@contextmanager
def fused(wanted: bool) -> Iterator[None]:
    """Use kernels where they work, or (not `wanted`) their twins only, for the time of the block."""
    before, _wanted.value = _wanted.value, wanted
    try:
        yield
    finally:
        _wanted.value = before


def works(name: str, like: Tensor, case: Hashable, trial: Callable[[], Trial]) -> bool:
    """Whether the kernel `name` works for tensors such as `like`, of any shape; `case` is what else it depends on.

    The first time the `trial` says so, which waits for the device. While a step is recorded no trial is made.
    """
    if like.device.type not in DEVICES or not _wanted.value or name in _choice.left_out:
        return False
    if like.dtype not in TOLERANCE or (like.is_cuda and like.device.index != torch.cuda.current_device()):
        return False
    key = name, like.device, like.dtype, case
    if key not in _choice.tried:
        if find_spec("triton") is None:
            _choice.left_out.add(name)  # nothing is wrong with it
            return False
        if like.is_cuda and torch.cuda.is_current_stream_capturing():
            return False
        problem = _problem(trial, TOLERANCE[like.dtype])
        if problem is not None:
            _leave_out(name, like.device, problem)
            return False
        _choice.tried.add(key)
    return True


def _problem(trial: Callable[[], Trial], tolerance: float) -> str | None:
    """What is wrong with the kernel of a trial; None where it agrees with its twin."""
    try:
        with torch.inference_mode(False), torch.no_grad():
            for found, expected in zip(*trial(), strict=True):
                error = float((found.double() - expected).abs().max() / expected.abs().max())
                if not error <= tolerance:  # also where it is not a number
                    return f"it is off by {error:.2g}"
    except Exception as error:  # whatever it is, the twin does the work
        return one_line(error) or type(error).__name__
    return None


def _leave_out(name: str, device: torch.device, problem: str) -> None:
    """Use the twin from now on, with a warning."""
    _choice.left_out.add(name)
    text = f"Triton's kernel for {name} does not work on {device} ({problem}); PyTorch's own are used, which are slower"
    warnings.warn(text, XpetWarning, stacklevel=2)
