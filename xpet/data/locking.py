"""Locks a file for one process at a time; the system releases the lock when the process ends, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xpet.core.errors import OutputError


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold the lock of a file (made if need be, never removed) for the block.

    Raises OutputError at once when another process, or another part of this one, holds it; `what` is named in it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"{what}: expected to be its only writer, found another; wait for it to end or choose another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()
