"""Opens files to read, and nothing else: a pipe would make its reader wait, a device might never end."""

from __future__ import annotations

import errno
import io
import os
import stat

KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}  # fmt: skip
"""What stands where a file is expected, in words."""


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """A file, open for reading bytes; links are followed. Raises OSError for everything else, and never waits."""
    check_regular(path)
    at_once = getattr(os, "O_NONBLOCK", 0)  # what stands there may have changed since
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | at_once)
    if at_once:
        os.set_blocking(handle, True)
    return os.fdopen(handle, "rb")


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raise OSError unless there is a file at a path, for what other libraries open by its path."""
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"{KINDS.get(kind, 'something else')}, not a file", str(path))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The contents of a file; raises OSError as `open_regular` does."""
    with open_regular(path) as file:
        return file.read()


def read_text(path: str | os.PathLike[str]) -> str:
    """The contents of a text file in UTF-8; raises OSError as `open_regular` does, and UnicodeDecodeError."""
    with io.TextIOWrapper(open_regular(path), encoding="utf-8") as file:
        return file.read()
