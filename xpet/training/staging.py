"""The tensors of a batch in one buffer on the host, so that one copy takes all of them to a device.

On a GPU the buffer is pinned: the copy does not wait for what the device is doing, and is done from that very memory.
Pinning takes long, so buffers are written again, once the device has read them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from xpet.core.errors import one_line

ALIGNED = 64
"""Every tensor begins at a multiple of this many bytes of the buffer: kernels read aligned memory faster."""
ROOM = 1.25
"""Size of a new buffer, relative to the first batch in it: batches differ a little."""
MOST_BUFFERS = 16
"""Pinned buffers that a device may still have to read; then the host waits for the first of them."""


class Mark(Protocol):
    """A moment in the device's work, as `torch.cuda.Event`."""

    def query(self) -> bool:
        """Whether the device has come to it."""
        ...

    def synchronize(self) -> None:
        """Wait until it has."""
        ...


@dataclass(frozen=True)
class Staged:
    """Tensors in the first `size` bytes of a buffer: where each begins, with its type and shape."""

    buffer: Tensor
    size: int
    spans: Sequence[tuple[int, torch.dtype, torch.Size]]
    is_pinned: bool

    def views(self, memory: Tensor) -> list[Tensor]:
        """The tensors, as views of the buffer or of a copy of it: bytes [n], at least `size`."""
        views = []
        for start, dtype, shape in self.spans:
            part = memory[start : start + shape.numel() * dtype.itemsize]
            views.append(part.view(dtype).view(shape))
        return views


class Staging:
    """Takes batches of tensors to a device. `stage` may run in another thread: it asks nothing of the device.

    `pin` makes a buffer of so many bytes that the device can read, `mark` an event at the end of all work given to it.
    """

    def __init__(
        self, device: torch.device, pin: Callable[[int], Tensor] | None = None, mark: Callable[[], Mark] | None = None
    ) -> None:
        self.device = device
        self._pin, self._mark = pin or _pinned, mark or _recorded
        self._free: deque[Tensor] = deque()
        self._in_use: deque[tuple[Mark, Tensor]] = deque()

    def stage(self, tensors: Sequence[Tensor]) -> Staged:
        """Put tensors of any shapes and types, on the CPU, into one buffer: a pinned one where one is free."""
        size, spans = 0, []
        for tensor in tensors:
            spans.append((size, tensor.dtype, tensor.shape))
            size += -(-tensor.numel() * tensor.element_size() // ALIGNED) * ALIGNED
        buffer = self._free_buffer(size)
        staged = Staged(buffer if buffer is not None else _bytes(size), size, spans, buffer is not None)
        for view, tensor in zip(staged.views(staged.buffer), tensors, strict=True):
            view.copy_(tensor)
        return staged

    def _free_buffer(self, size: int) -> Tensor | None:
        """A pinned buffer of at least so many bytes that the device does not need; smaller ones are dropped."""
        while self._free:
            buffer = self._free.popleft()
            if len(buffer) >= size:
                return buffer
        return None

    def send(self, staged: Staged) -> list[Tensor]:
        """The tensors, of any shapes, on the device: views of one memory, copied in the order of its work."""
        self._free_read()
        buffer = staged.buffer if staged.is_pinned else self._pinned_copy(staged)
        memory = torch.empty(staged.size, dtype=torch.uint8, device=self.device)
        memory.copy_(buffer[: staged.size], non_blocking=True)
        self._in_use.append((self._mark(), buffer))
        return staged.views(memory)

    def _free_read(self) -> None:
        """Free the buffers that the device has read."""
        while self._in_use and self._in_use[0][0].query():
            self._free.append(self._in_use.popleft()[1])

    def _pinned_copy(self, staged: Staged) -> Tensor:
        if len(self._in_use) >= MOST_BUFFERS:
            self._in_use.popleft()[0].synchronize()
        buffer = self._pin(int(ROOM * staged.size))
        buffer[: staged.size].copy_(staged.buffer[: staged.size])
        return buffer

    def problem(self) -> str:
        """Why tensors do not arrive on the device as they are; empty where they do. Waits for the device."""
        given = torch.arange(5), torch.arange(3).double(), torch.arange(6).view(2, 3)
        try:
            for _ in range(3):  # the third is staged in the pinned buffer of the first
                arrived = [tensor.cpu() for tensor in self.send(self.stage(given))]
                if not all(map(torch.equal, arrived, given)):
                    return "what arrives on the device is not what was sent"
        except Exception as error:
            return one_line(error, first_only=True)
        return ""


def _bytes(count: int) -> Tensor:
    return torch.empty(count, dtype=torch.uint8)


def _pinned(count: int) -> Tensor:
    try:
        return torch.empty(count, dtype=torch.uint8, pin_memory=True)
    except RuntimeError:  # the system gives no such memory; copies from other memory are slower
        return _bytes(count)


def _recorded() -> Mark:
    event = torch.cuda.Event()
    event.record()
    return event  # type: ignore[no-any-return]


def memory_of(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """One tensor of all bytes where these tensors of any shapes are views of one memory, else the tensors themselves.

    Copying from one to the other copies all of equally laid out tensors at once.
    """
    if len({tensor.untyped_storage().data_ptr() for tensor in tensors}) != 1 or len(tensors) == 1:
        return tensors
    storage = tensors[0].untyped_storage()
    return [torch.empty(0, dtype=torch.uint8, device=tensors[0].device).set_(storage)]
