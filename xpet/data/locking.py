"""Locks a file for one process at a time; the system releases the lock when the process ends, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xpet.core.errors import OutputError


@contextmanager
def locked(path: Path, what: str, patience: float = 0) -> Iterator[None]:
    """Hold the lock of a file (made if need be, never removed) for the block.

    Raises OutputError, naming `what`, when another process or another part of this one holds it for longer than
    `patience` in seconds.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=patience, thread_local=False)
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


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock of a file; nothing is written, and what is tried lasts for a moment."""
    try:
        import fcntl
    except ImportError:  # Windows
        return _is_refused(path)
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back when the file is closed
    except BlockingIOError:
        return True
    except OSError:  # no such file, or a file system without locks
        return False
    return False


def _is_refused(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with locked(path, str(path)):
            return False
    except OutputError:
        return True
