"""What a device has computed, read in the order it was asked for: at once, or later without stopping the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from torch import Tensor

from xpet.core.transfer import fetch

Read = Callable[[], Any]
"""Waits until a copy has arrived; its values as lists of numbers."""


class Answers:
    """Tensors that were asked for, each with what is to be done with its values.

    Reading a GPU's memory waits until all that was launched before is computed, and meanwhile nothing new is launched.
    So, when `later`, a copy is only started, and read a round after: then the device has more to do already. What is
    handed over when depends on rounds alone, never on how fast the device is.
    """

    def __init__(self, later: bool) -> None:
        self.later = later
        self._asked: deque[tuple[Read, Callable[[Any], None]]] = deque()
        self._before = 0

    def ask(self, tensor: Tensor, then: Callable[[Any], None]) -> None:
        """Have `then` called with the values, as lists, that a tensor of any shape has now."""
        if self.later:
            self._asked.append((_copy_begun(tensor), then))
        else:
            then(tensor.tolist())

    def turn(self) -> None:
        """End a round: hand over what was asked for in the rounds before it."""
        self._hand_over(self._before)
        self._before = len(self._asked)

    def flush(self) -> None:
        """Wait for the device, and hand over all that was asked for."""
        self._hand_over(len(self._asked))
        self._before = 0

    def _hand_over(self, count: int) -> None:
        for _ in range(count):
            read, then = self._asked.popleft()
            then(read())


def _copy_begun(tensor: Tensor) -> Read:
    """Copy a tensor of any shape as soon as it is computed, into pinned memory where it is on a GPU."""
    if tensor.device.type != "cuda":
        return tensor.clone().tolist
    arrived = fetch(tensor.detach())
    return lambda: arrived().tolist()
