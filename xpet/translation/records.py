"""Records: the texts of a file, each of which can write itself with a translation in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from xpet.core.errors import DataError

BOM = b"\xef\xbb\xbf"


class Record(NamedTuple):
    """One text: the line it begins on (from 1), and `write`, which makes the record's bytes from a translation.

    `counts` is False for parts of the file that are no text, such as a table's header.
    """

    line: int
    text: str
    write: Callable[[str], bytes]
    counts: bool = True


def decoded(lines: Iterable[bytes], name: str, first: int = 1) -> Iterator[tuple[int, bytes, str]]:
    """Number (from `first`), byte-order mark (line 1 only) and text of each line, with its ending. Raises DataError."""
    for number, raw in enumerate(lines, start=first):
        mark = BOM if number == 1 and raw.startswith(BOM) else b""
        try:
            yield number, mark, raw[len(mark) :].decode("utf-8")
        except UnicodeDecodeError as error:
            position = error.start + len(mark)
            raise DataError(
                f"{name} line {number}, byte {position + 1}: expected UTF-8, found 0x{raw[position]:02x}; "
                "convert the file to UTF-8 first"
            ) from None


def constant(line: int, data: bytes) -> Record:
    """A record that is written as it is, such as a header or an empty line."""
    return Record(line, "", lambda text: data, counts=False)


def spliced(mark: bytes, before: str, after: str, encode: Callable[[str], str]) -> Callable[[str], bytes]:
    """A writer of `mark`, then `before`, the translation encoded by `encode`, and `after`."""
    return lambda text: mark + f"{before}{encode(text)}{after}".encode()
