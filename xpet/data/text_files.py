"""Reads caption files so that their lines stay aligned: only a line feed ends a line.

`str.splitlines` and `strip` would break that: captions hold other Unicode line separators, and blank lines are rows.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from xpet.core.errors import DataError, one_line, short
from xpet.core.files import sha256_of
from xpet.core.regular_files import open_regular
from xpet.data.images import FolderPictures, ImageNames, unusable
from xpet.data.unpacked import BombError, open_unpacked

BOM = b"\xef\xbb\xbf"
ENCODINGS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Byte-order marks of other encodings than UTF-8, and Python's names of these."""
UNMARKED = {"x0x0": "utf-16-le", "0x0x": "utf-16-be", "x000": "utf-32-le", "000x": "utf-32-be"}
"""Where the zero bytes (0) are when such text begins with ASCII letters (x) and has no mark."""
OTHERS = {
    **{b"BZh%d1AY&SY" % level: "a bz2 archive; unpack it first" for level in range(1, 10)},
    b"PK\3\4": "a zip archive; unpack it first", b"\xfd7zXZ\0": "an xz archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstd archive; unpack it first", b"PAR1\x15": "Parquet; let its name end in .parquet",
}  # fmt: skip
"""First bytes of files that are no text, and what to say of them."""
HEAD = 10
"""Bytes at the beginning of a file by which these are recognised."""
MAX_LINES_PER_FILE = 3
"""Undecodable lines of a file that are named."""
MAX_PROBLEMS = 20
"""Problems that an error names."""
BLOCK = 1 << 17
"""Bytes read at a time."""
MAX_LINE = 1 << 20
"""Bytes of a line beyond which a streamed file is taken for no text."""
MAX_ROW = 1 << 24
"""Bytes of a line beyond which a table is taken for no text: its other columns may be long."""
MAX_LIST = 1 << 30
"""Bytes of a file of captions, one a line, which is read as a whole."""


def raise_problems(problems: Sequence[str]) -> None:
    """Raise one DataError of all problems, the first twenty in words and the others counted; nothing when empty."""
    if not problems:
        return
    more = len(problems) - MAX_PROBLEMS
    raise DataError(*problems[:MAX_PROBLEMS], *([f"and {more} more problems"] if more > 0 else []))


def decode_lines(data: bytes) -> tuple[tuple[str, ...], list[str]]:
    """Lines of UTF-8 bytes, and for every undecodable one 'line L, byte B: ...' (both from 1, B within the line).

    Blank lines are kept wherever they stand; one final line feed ends the last line; a byte-order mark and one
    carriage return at a line's end are dropped. An undecodable line becomes an empty one. A file in UTF-16 or UTF-32
    has one problem, and its lines are returned; a file that is no text has one problem and no lines.
    """
    problems = []
    if problem := _not_utf8(data[:HEAD]):
        problems.append(problem)
        encoding = _encoding(data[:4])
        data = data.decode(encoding, "replace").encode("utf-8", "replace") if encoding else b""
    lines = []
    for number, raw in _raw_lines(io.BytesIO(data)):
        line, problem = _decoded(number, raw)
        lines.append(line)
        problems += [problem] if problem else []
    return tuple(lines), problems


def stream_lines(name: str, file: BinaryIO) -> Iterator[str]:
    """The lines that `decode_lines` gives for a file's bytes, one at a time, so that memory holds only one.

    Raises:
        DataError: at the first line that is not UTF-8, or longer than any text is.
    """
    for number, raw in _raw_lines(file, MAX_LINE):
        if number == 1 and (problem := _not_utf8(raw[:HEAD])):
            raise DataError(f"{name} {problem}")
        if len(raw) == MAX_LINE:
            raise DataError(f"{name} line {number}: expected a line of text, found more than {MAX_LINE:,} bytes")
        line, problem = _decoded(number, raw)
        if problem:
            raise DataError(f"{name} {problem}; convert the file to UTF-8 first")
        yield line


def _raw_lines(file: BinaryIO, limit: int = -1) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and bytes of every line, without a byte-order mark; at most `limit` bytes at a time."""
    number, raw = 1, file.readline(limit).removeprefix(BOM)
    while raw:
        yield number, raw
        number, raw = number + 1, file.readline(limit)


def _decoded(number: int, raw: bytes) -> tuple[str, str]:
    """The text of a line without its ending, or the problem of its bytes; the other of the two is empty."""
    try:
        return raw.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8"), ""
    except UnicodeDecodeError as error:
        found = f"0x{error.object[error.start]:02x}"
        return "", f"line {number}, byte {error.start + 1}: expected UTF-8, found {found}"


def _encoding(head: bytes) -> str:
    """The encoding of a file with these first four bytes, where that is clear and not UTF-8; else nothing."""
    marked = next((encoding for mark, encoding in ENCODINGS.items() if head.startswith(mark)), "")
    return marked or UNMARKED.get("".join("0" if byte == 0 else "x" for byte in head), "")


def _not_utf8(head: bytes) -> str:
    """The problem of a file that begins with bytes that are no UTF-8 text; nothing for other files."""
    if encoding := _encoding(head[:4]):
        return f"line 1: expected UTF-8, found {encoding.upper()[:6]}; convert the file to UTF-8 first"
    kind = next((kind for mark, kind in OTHERS.items() if head.startswith(mark)), "")
    return f"line 1: expected UTF-8, found {kind}" if kind else ""


@dataclass(frozen=True)
class ReadableFile:
    """A file that was read once to its end without an error, and may be read again."""

    name: str
    """Its name in messages."""
    path: Path
    """Where it is; if it begins as gzip does it is decompressed when opened."""
    undecodable: tuple[str, ...] = ()
    """A problem for each line that is not UTF-8."""
    size: int = 0
    """Bytes, unpacked."""

    def open(self) -> BinaryIO:
        """The decompressed bytes."""
        return open_unpacked(self.path)

    def lines(self) -> Iterator[str]:
        """The lines that `decode_lines` gives, one at a time; raises DataError naming all lines that are not UTF-8."""
        raise_problems([f"{self.name} {text}" for text in self.undecodable])
        with self.open() as file:
            for number, raw in _raw_lines(file):
                yield _decoded(number, raw)[0]


def _undecodable_lines(file: BinaryIO) -> tuple[str, ...]:
    """The problems of all lines that are not UTF-8; of a file that is no text its one problem. Raises BombError."""
    problems = []
    for number, raw in _raw_lines(file, MAX_ROW):
        if number == 1 and (problem := _not_utf8(raw[:HEAD])):
            return (problem,)
        if len(raw) == MAX_ROW:
            raise BombError(f"more than {MAX_ROW:,} bytes in line {number}")
        if problem := _decoded(number, raw)[1]:
            problems.append(problem)
    return tuple(problems)


class CaptionFiles:
    """Reads the files of one data set and collects what is wrong with them; `check` raises it all together.

    Attributes:
        fingerprints: SHA-256 (hex) of every file read, by its path below the root.
        problems: what is wrong so far, each with its file.
    """

    def __init__(self, root: Path) -> None:
        """`root` is the folder that paths in problems and fingerprints are relative to."""
        self.root = root
        self.fingerprints: dict[str, str] = {}
        self.problems: list[str] = []

    def name(self, path: Path) -> str:
        """The path below the root, for messages."""
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def readable(self, path: Path, text: bool = True) -> ReadableFile | None:
        """The file, if it can be read to its end; None, with a problem noted, if it is missing, damaged or empty."""
        name = self.name(path)
        if path.is_fifo():  # it is read more than once
            self.problems.append(f"{name}: expected a file, found a pipe; write it to a file first")
            return None
        try:
            with open_unpacked(path) as file:
                undecodable = _undecodable_lines(file) if text else ()
                while file.read(BLOCK):  # to the end: an archive may be damaged anywhere
                    pass
                size = file.tell()
            with open_regular(path) as file:
                self.fingerprints[name] = sha256_of(file)
        except FileNotFoundError:
            self.problems.append(f"{name}: expected a file, found none in {self.root}")
            return None
        except (OSError, EOFError, zlib.error) as error:
            self.problems.append(f"{name}: expected a readable file, found {one_line(error)}")
            return None
        if not size:
            self.problems.append(f"{name}: expected captions, found an empty file")
            return None
        return ReadableFile(name, path, undecodable, size)

    def lines(self, path: Path, expected: int | None = None) -> tuple[str, ...]:
        """The lines of a file, blank ones included; another count than expected is noted as a problem."""
        file = self.readable(path, text=False)  # all of it is decoded at once: no need to look at it line by line
        if file is None:
            return ()
        name = self.name(path)
        if file.size > MAX_LIST:
            self.problems.append(f"{name}: expected captions, found more than {MAX_LIST:,} bytes")
            return ()
        with file.open() as contents:
            lines, undecodable = decode_lines(contents.read())
        if not lines and not undecodable:
            self.problems.append(f"{name}: expected captions, found an empty file")
        self.problems += [f"{name} {problem}" for problem in undecodable[:MAX_LINES_PER_FILE]]
        if len(undecodable) > MAX_LINES_PER_FILE:
            self.problems.append(f"{name}: {len(undecodable) - MAX_LINES_PER_FILE} more lines are not UTF-8")
        if expected and lines and len(lines) != expected:
            self.problems.append(f"{name}: expected {expected} lines, found {len(lines)}")
        return lines

    def image_names(self, path: Path) -> tuple[str, ...]:
        """The image names of a list, one a line; blank, impossible and repeated ones are noted as problems."""
        images = tuple(line.strip() for line in self.lines(path))
        names, first = ImageNames(FolderPictures(())), dict[str, tuple[int, str]]()
        for number, image in enumerate(images, start=1):
            where = f"{self.name(path)} line {number}"
            if not image:
                self.problems.append(f"{where}: expected an image name, found a blank line")
                continue
            self.problems += [f"{where}: {problem}" for problem in unusable(image)]
            line, spelling = first.setdefault(names.first_spelling(image), (number, image))
            if line != number:
                other = "" if spelling == image else f" as {short(spelling)}"
                self.problems.append(f"{where}: image {short(image)} stands on line {line} too{other}")
        return images

    def check(self) -> None:
        """Raise one DataError of all problems so far; nothing when there are none."""
        raise_problems(self.problems)
