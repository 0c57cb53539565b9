"""The three standard streams as a command finds them: closed, full, of an encoding that lacks characters."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from xpet.core.files import cannot_write


class _Output:
    """Standard output whose refusals are OutputErrors, whoever writes to it; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with refusals():
            return self._stream.write(text)

    def flush(self) -> None:
        with refusals():
            self._stream.flush()


@contextmanager
def refusals() -> Iterator[None]:
    """Make what standard output refuses an OutputError; a reader that left (BrokenPipeError) is no refusal."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write("standard output", error, "free space or write elsewhere") from error


@contextmanager
def guarded() -> Iterator[None]:
    """Standard output and error that take every text (as escapes, where it must be), and tell of refusals."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    stream = sys.stdout
    if stream is not None:
        sys.stdout = cast(TextIO, _Output(stream))
    try:
        yield
    finally:
        sys.stdout = stream


def occupy() -> None:
    """Open what was closed of the three streams: no file of ours may get their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def abandon() -> None:
    """Let go of what a standard stream does not take, so that the interpreter's end says nothing of it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
