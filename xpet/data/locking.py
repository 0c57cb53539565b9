"""A file that one process at a time holds; the system lets it go when that process ends, however it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xpet.core.errors import OutputError


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Holds the lock of a file (made if need be, never removed) for the block.

    Raises OutputError at once when another process, or another part of this one, holds it; `what` is named in it.
    """
    with path.open("a+b") as file:
        try:
            _hold(file.fileno())
        except BlockingIOError:
            raise OutputError(
                f"{what}: expected to be its only writer, found another; wait for it to end or choose another folder"
            ) from None
        yield


def _hold(handle: int) -> None:
    """Raises BlockingIOError when the file is held elsewhere."""
    if sys.platform == "win32":
        import msvcrt

        try:
            os.lseek(handle, 0, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
