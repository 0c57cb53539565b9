"""Lets commands use the standard streams when these are closed, full, or cannot write every character."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from xpet.core.files import cannot_write


class _Output:
    """Standard output that raises OutputError where a write fails; all else is the stream's own."""

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
    """Raise OutputError where a write in the block fails, but let BrokenPipeError (the reader left) through."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write("standard output", error, "free space or write elsewhere") from error


@contextmanager
def guarded() -> Iterator[None]:
    """For the block: characters a stream cannot write become escapes, and failed writes to stdout OutputErrors."""
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


_silenced: list[TextIO | None] = []
"""The standard error that `silenced` put away."""


@contextmanager
def silenced() -> Iterator[None]:
    """Drop what the block prints, until it speaks up: it is for processes other than the first."""
    stdout, stderr = sys.stdout, sys.stderr
    _silenced.append(stderr)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        sys.stdout = sys.stderr = nowhere
        try:
            yield
        finally:
            sys.stdout, sys.stderr = stdout, stderr
            _silenced.clear()


def speak_up() -> None:
    """Let a silenced block print to standard error from now on."""
    if _silenced:
        sys.stderr = _silenced[-1]  # type: ignore[assignment]


def open_closed() -> None:
    """Open the null device for each standard stream that is closed, lest another file get its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def flush_or_drop() -> None:
    """Flush stdout and stderr; what cannot be written is dropped, or the interpreter would complain when it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
