"""The precision in which the image tower computes: fp32, bf16 or fp16."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from xpet.core.errors import ConfigError, one_line, unknown
from xpet.core.pictures import FEATURE_PRECISIONS
from xpet.models.weights import LONG

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def precision_on(device: str | torch.device, precision: str = "auto") -> str:
    """The precision that a name means on a device: `auto` is bf16 on CUDA and fp32 elsewhere.

    Raises ConfigError for a precision that is not known.
    """
    if precision not in FEATURE_PRECISIONS:
        raise ConfigError(unknown("feature precision", precision, FEATURE_PRECISIONS))
    if precision == "auto":
        return "bf16" if torch.device(device).type == "cuda" else "fp32"
    return precision


@contextmanager
def computing(device: torch.device, precision: str) -> Iterator[None]:
    """Matrix products and convolutions of the block in a precision of `precision_on`, without gradients.

    fp32 is true float32, also where TF32 or bf16 was allowed for float32 products; that is put back afterwards.
    Raises ConfigError when the device does not have the precision.
    """
    half = precision != "fp32"
    with torch.inference_mode(), _cast(device.type, precision, half):
        if half and not torch.is_autocast_enabled(device.type):  # torch only warns of some
            raise _absent(device.type, precision, "torch switches it off")
        with nullcontext() if half else true_float32():
            yield


def _cast(kind: str, precision: str, half: bool) -> torch.autocast:
    """Autocast to a half precision, or switched off; raises ConfigError where torch refuses."""
    try:
        return torch.autocast(kind, _DTYPES[precision] if half else None, enabled=half)
    except RuntimeError as error:
        raise _absent(kind, precision, one_line(error, LONG, first_only=True)) from None


def _absent(kind: str, precision: str, reason: str) -> ConfigError:
    """The error for a device that does not have a precision."""
    return ConfigError(f"feature precision {precision}: expected a device with it, found {kind} ({reason}); use fp32")


@dataclass
class _Float32Blocks:
    """How many blocks of `true_float32` run now, over all threads, and what to restore after the last."""

    running: int = 0
    before: list[tuple[Callable[[Any], None], Any]] = field(default_factory=list)
    """Setter and earlier state of each of torch's switches."""


_LOCK, _blocks = threading.Lock(), _Float32Blocks()


@contextmanager
def true_float32() -> Iterator[None]:
    """float32 products of the block with all of their bits.

    Torch's switches are of the whole process: they are put back when the last thread leaves such a block.
    """
    with _LOCK:
        if not _blocks.running:
            _blocks.before = [(put, state) for get, put, _ in _SWITCHES if (state := _state(get)) is not None]
            for _, put, exact in _SWITCHES:
                put(exact)
        _blocks.running += 1
    try:
        yield
    finally:
        with _LOCK:
            _blocks.running -= 1
            for put, state in () if _blocks.running else _blocks.before:
                put(state)


def _state(get: Callable[[], Any]) -> Any:
    """A switch's state; None where torch gives none, since it was set in another way."""
    try:
        return get()
    except RuntimeError:
        return None


def _switches() -> Iterator[tuple[Callable[[], Any], Callable[[Any], None], Any]]:
    """Getter and setter of each of torch's switches, and its value for exact float32."""
    yield *_attribute(torch.backends.cuda.matmul, "allow_tf32"), False
    yield torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"  # says more than the first
    yield *_attribute(torch.backends.cudnn, "allow_tf32"), False
    operations = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv")  # since torch 2.9
    for backend, _, operation in (name.partition(".") for name in operations):
        settings = getattr(getattr(torch.backends, backend), operation, None)
        if hasattr(settings, "fp32_precision"):
            yield *_attribute(settings, "fp32_precision"), "ieee"


def _attribute(settings: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """Getter and setter of an attribute."""
    return partial(getattr, settings, name), partial(setattr, settings, name)


_SWITCHES = tuple(_switches())
"""Torch's switches for float32 products, as `_switches` gives them."""
