"""Signals that end a command: Ctrl-C, and what batch schedulers send before they kill (SIGTERM, SIGUSR1)."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from xpet.core.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

T = TypeVar("T")

SIGNALS = {"SIGINT": EXIT_INTERRUPTED, "SIGTERM": EXIT_TERMINATED, "SIGUSR1": EXIT_TERMINATED}
"""Names of the signals, where the system has them, and the exit codes of a command that one of them ends."""
PATIENCE = 2.0
"""Seconds after the first signal in which others count as the same: launchers pass on what their processes got, too."""
KEPT = "what was finished is kept"


class Stopped(KeyboardInterrupt):
    """A signal ended the command. `go_on` is the command that goes on with its work; empty where there is none."""

    def __init__(self, name: str) -> None:
        self.name, self.go_on = name, ""
        super().__init__(name)

    @property
    def exit_code(self) -> int:
        """128 and the signal's number, with which shells tell of it; that of SIGTERM for SIGUSR1."""
        return SIGNALS[self.name]

    def __str__(self) -> str:
        what = "interrupted" if self.exit_code == EXIT_INTERRUPTED else f"stopped by {self.name}"
        return f"{what}; {KEPT}, " + (f"go on with: {self.go_on}" if self.go_on else "nothing half-written is left")


class Signals:
    """The signals that a command gets while they are `caught`; without that, none."""

    def __init__(self) -> None:
        self._name = ""
        self._since = 0.0
        self._is_deferring = False

    def check(self) -> None:
        """Raise Stopped where a signal came; in any thread."""
        if self._name:
            raise Stopped(self._name)

    def each(self, items: Iterator[T]) -> Iterator[T]:
        """The items. While one is made, a first signal only makes `check` raise Stopped, where the maker calls it."""
        while True:
            with self._deferring():
                item = next(items, None)
            if item is None:
                return
            yield item

    @contextmanager
    def _deferring(self) -> Iterator[None]:
        self._is_deferring = True
        try:
            yield
        finally:
            self._is_deferring = False
        self.check()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Take note of a signal. Raises Stopped, unless the work is to come to a good end first."""
        now, is_first = time.monotonic(), not self._name
        if is_first:
            self._name, self._since = signal.Signals(number).name, now
        elif now - self._since < PATIENCE:
            return
        if not (is_first and self._is_deferring):
            raise Stopped(self._name)


NONE = Signals()
"""Where no signals are caught."""
_caught = NONE


def caught_signals() -> Signals:
    """The signals of this command, as `catching` found them."""
    return _caught


@contextmanager
def catching() -> Iterator[Signals]:
    """Catch the signals that end a command, for the time of the block; the handlers before are set again after it.

    In the main thread only, which alone gets signals. Blocks inside such a block change nothing. A signal that is
    ignored (a job in the background of a shell) stays so.
    """
    global _caught
    if _caught is not NONE or threading.current_thread() is not threading.main_thread():
        yield _caught
        return
    _caught = Signals()
    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    earlier = {number: signal.getsignal(number) for number in numbers}
    earlier = {number: handler for number, handler in earlier.items() if handler not in (None, signal.SIG_IGN)}
    try:
        for number in earlier:
            signal.signal(number, _caught.handle)
        yield _caught
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        _caught = NONE
