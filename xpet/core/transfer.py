"""Copies between the CPU and a GPU for which neither waits: pinned memory, and no wait before the result is used.

A copy from ordinary memory, and every reading of a result, stops the host until the GPU has done all it was given.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

PIECE = 32 << 20
"""Bytes that `fetch_all` copies at a time: pinning memory takes long, so that little is."""


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of any shape on the device, without waiting for what the device is doing."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return _pinned(tensor).to(device, non_blocking=True)


def fetch(tensor: Tensor) -> Callable[[], Tensor]:
    """Start to copy a tensor of any shape to the CPU; what is returned waits for that alone, and gives the copy."""
    host = _pinned_empty(tensor) if tensor.device.type == "cuda" else None
    if host is None:
        on_cpu = tensor.cpu()  # now: the tensor may change
        return lambda: on_cpu
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(tensor.device))

    def arrived() -> Tensor:
        copied.synchronize()
        return host.clone()

    return arrived


def fetch_all(tensor: Tensor) -> Tensor:
    """A copy on the CPU of a large tensor of any shape, in pieces."""
    tensor = tensor.detach()
    if tensor.device.type != "cuda":
        return tensor.to("cpu", copy=True)
    between = _pinned_empty(torch.empty(min(PIECE, tensor.nbytes), dtype=torch.uint8))
    if between is None:
        return tensor.cpu()
    found = torch.empty(tensor.shape, dtype=tensor.dtype)
    copy_in_pieces(tensor, found, between, torch.cuda.current_stream(tensor.device).synchronize)
    return found


def copy_in_pieces(source: Tensor, target: Tensor, between: Tensor, wait: Callable[[], object]) -> None:
    """Copy to a contiguous tensor of the same type and any shape, by way of the bytes `between` [n].

    `wait` waits until what was copied to these is there.
    """
    if not len(between):
        return
    parts = (each.view(-1).view(torch.uint8).split(len(between)) for each in (source.contiguous(), target))
    for part, copy in zip(*parts, strict=True):
        between[: len(part)].copy_(part, non_blocking=True)
        wait()
        copy.copy_(between[: len(part)])


def stacked(rows: list[Tensor], device: torch.device) -> Tensor:
    """Rows [...] on the CPU as one tensor [rows, ...] on the device, without waiting for what the device is doing."""
    place = _pinned_empty(rows[0], len(rows)) if device.type == "cuda" else None
    if place is None:
        return torch.stack(rows).to(device)
    return torch.stack(rows, out=place).to(device, non_blocking=True)


def _pinned(tensor: Tensor) -> Tensor:
    """A copy in pinned memory; the tensor itself where the system gives no such memory."""
    place = _pinned_empty(tensor)
    return tensor if place is None else place.copy_(tensor)


def _pinned_empty(like: Tensor, *rows: int) -> Tensor | None:
    """Pinned memory for a tensor of this type and shape, with `rows` before it; None where the system gives none."""
    try:
        return torch.empty((*rows, *like.shape), dtype=like.dtype, pin_memory=True)
    except RuntimeError:
        return None
