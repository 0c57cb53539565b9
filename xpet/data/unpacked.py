"""Opens files that may be compressed (gzip, bz2), within a bound: no small file fills the memory, or runs for days.

Files that are larger than FREE when unpacked may be RATIO times as large as they are packed. Captions and books are
3 to 10 times as large.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, cast

from xpet.core.regular_files import open_regular

FREE = 16 << 20
"""Unpacked bytes that a file of any size may have."""
RATIO = 200
"""Unpacked bytes for each packed byte, beyond FREE."""
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2"}
"""How compressed files begin, and the standard module that unpacks them."""
ALL = tuple(PACKED.values())
"""Every kind of compression."""
BUFFER = 1 << 14
"""Bytes unpacked at a time."""


class BombError(OSError):
    """A file is far larger unpacked than any text would be."""


def check_ratio(unpacked: int, packed: int) -> None:
    """Raise BombError where so many bytes cannot be text that was packed into so few."""
    if unpacked > FREE and unpacked > RATIO * packed:
        raise BombError(
            f"{unpacked:,} bytes packed in {packed:,}, more than {RATIO} to 1; if you trust the file, unpack it first"
        )


def open_unpacked(path: Path, kinds: Collection[str] = ("gzip",)) -> BinaryIO:
    """A file's bytes, decompressed where it begins as one of `kinds` does.

    Raises OSError; reading raises OSError, EOFError and zlib.error, and BombError beyond the bound.
    """
    file = open_regular(path)
    return unpacked(file, owned=True) if module_of(file.peek(), kinds) else file


def module_of(head: bytes, kinds: Collection[str] = ALL) -> str | None:
    """The module that unpacks a file with these first bytes; None for one that is not packed as one of `kinds`."""
    return next((module for magic, module in PACKED.items() if module in kinds and head.startswith(magic)), None)


def unpacked(packed: io.BufferedReader, owned: bool = False) -> BinaryIO:
    """The decompressed bytes of an open packed file, within the bound; closing them closes the file if `owned`."""
    module = module_of(packed.peek())
    assert module is not None, "no packed file"
    return io.BufferedReader(_Unpacked(packed, import_module(module), owned), BUFFER)


class _Counted(io.RawIOBase):
    """An open file that counts the bytes that were read."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.count = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def readinto(self, buffer: Any) -> int:
        read = self._file.readinto(buffer)
        self.count += read
        return read

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.count = 0
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class _Unpacked(io.RawIOBase):
    """The decompressed bytes of a file."""

    def __init__(self, packed: io.BufferedReader, module: Any, owned: bool) -> None:
        self._packed, self._owned, self._source = packed, owned, _Counted(packed)
        self._file = cast(io.BufferedIOBase, module.open(self._source, "rb"))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def readinto(self, buffer: Any) -> int:
        read = self._file.readinto(buffer)
        check_ratio(self._file.tell(), self._source.count)
        return read

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            if self._owned:
                self._packed.close()
        super().close()
