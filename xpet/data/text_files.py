"""Caption files read so that line alignment holds: a line is what stands between two line feeds, nothing else.

Never `str.splitlines` or `strip`: captions hold other Unicode line separators, and blank lines are rows.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from xpet.core.errors import DataError, one_line, short
from xpet.core.files import sha256_of
from xpet.data.images import FolderPictures, ImageNames, unusable

GZIP_MAGIC = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
ENCODINGS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""How text begins that is in another encoding than UTF-8, and Python's name of that."""
UNMARKED = {"x0x0": "utf-16-le", "0x0x": "utf-16-be", "x000": "utf-32-le", "000x": "utf-32-be"}
"""Where zeros stand in it when it begins with ASCII letters and no mark."""
OTHERS = {
    **{b"BZh%d1AY&SY" % level: "a bz2 archive; unpack it first" for level in range(1, 10)},
    b"PK\3\4": "a zip archive; unpack it first", b"\xfd7zXZ\0": "an xz archive; unpack it first",
    b"\x28\xb5\x2f\xfd": "a zstd archive; unpack it first", b"PAR1\x15": "Parquet; let its name end in .parquet",
}  # fmt: skip
"""How files begin that are no text, and what they are."""
HEAD = 10
"""Bytes at the beginning of a file by which these are recognised."""
MAX_LINES_PER_FILE = 3
MAX_PROBLEMS = 20
BLOCK = 1 << 17
"""Bytes read at a time."""
MAX_LINE = 1 << 20
"""Bytes of a line beyond which a streamed file is taken for no text."""


def raise_problems(problems: Sequence[str]) -> None:
    """Raise one DataError of all problems, the first twenty in words and the others counted; nothing when empty."""
    if not problems:
        return
    more = len(problems) - MAX_PROBLEMS
    raise DataError(*problems[:MAX_PROBLEMS], *([f"and {more} more problems"] if more > 0 else []))


def decode_lines(data: bytes) -> tuple[tuple[str, ...], list[str]]:
    """Lines of UTF-8 bytes, and for every undecodable one 'line L, byte B: ...' (both from 1, B within the line).

    Blank lines are kept wherever they stand; one final line feed ends the last line; a byte-order mark and one
    carriage return at a line's end are dropped. An undecodable line is kept as an empty one. A file in UTF-16 or UTF-32
    has one problem, and its own lines; one that is no text at all has one problem, and none.
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
    """The lines `decode_lines` gives of a file's bytes, one at a time and never more of it in memory.

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
    """Number (from 1) and bytes of every line, without a byte-order mark; of a longer line its first `limit` bytes."""
    number, raw = 1, file.readline(limit).removeprefix(BOM)
    while raw:
        yield number, raw
        number, raw = number + 1, file.readline(limit)


def _decoded(number: int, raw: bytes) -> tuple[str, str]:
    """The text of a line without what ends it, and the problem with its bytes: one of the two is empty."""
    try:
        return raw.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8"), ""
    except UnicodeDecodeError as error:
        found = f"0x{error.object[error.start]:02x}"
        return "", f"line {number}, byte {error.start + 1}: expected UTF-8, found {found}"


def _encoding(head: bytes) -> str:
    """The encoding of which the first four bytes of a file are, where that is clear and not UTF-8; else nothing."""
    marked = next((encoding for mark, encoding in ENCODINGS.items() if head.startswith(mark)), "")
    return marked or UNMARKED.get("".join("0" if byte == 0 else "x" for byte in head), "")


def _not_utf8(head: bytes) -> str:
    """The problem with a file that begins with these bytes and is no text in UTF-8; nothing for other files."""
    if encoding := _encoding(head[:4]):
        return f"line 1: expected UTF-8, found {encoding.upper()[:6]}; convert the file to UTF-8 first"
    kind = next((kind for mark, kind in OTHERS.items() if head.startswith(mark)), "")
    return f"line 1: expected UTF-8, found {kind}" if kind else ""


@dataclass(frozen=True)
class ReadableFile:
    """A file that was seen to be readable: it may be read as often as one likes, a line or block at a time."""

    name: str
    """What messages call it."""
    path: Path
    """The file; it is decompressed when it begins as gzip does."""
    undecodable: tuple[str, ...] = ()
    """A problem for each line that is not UTF-8."""

    def open(self) -> BinaryIO:
        """The decompressed bytes."""
        return open_unpacked(self.path)

    def lines(self) -> Iterator[str]:
        """The lines that `decode_lines` gives, one at a time; raises DataError naming all lines that are not UTF-8."""
        raise_problems([f"{self.name} {text}" for text in self.undecodable])
        with self.open() as file:
            for number, raw in _raw_lines(file):
                yield _decoded(number, raw)[0]


def open_unpacked(path: Path) -> BinaryIO:
    """A file's bytes, decompressed when they begin as gzip does; raises OSError, later EOFError or zlib.error too."""
    with path.open("rb") as file:
        packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]


def _undecodable_lines(file: BinaryIO) -> tuple[str, ...]:
    """The problem of every line that is not UTF-8; of a file that is no text at all that one problem."""
    problems = []
    for number, raw in _raw_lines(file):
        if number == 1 and (problem := _not_utf8(raw[:HEAD])):
            return (problem,)
        if problem := _decoded(number, raw)[1]:
            problems.append(problem)
    return tuple(problems)


class CaptionFiles:
    """Reads the files of one data set and collects what is wrong with them; `check` raises it all together.

    Attributes:
        fingerprints: sha256 hex digest of every file read, by its path below the root.
        problems: what is wrong so far, each with its file.
    """

    def __init__(self, root: Path) -> None:
        """Take the root; paths are named from there in problems and fingerprints."""
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
                while file.read(BLOCK):  # to the end: a damaged archive may be so anywhere
                    pass
                empty = file.tell() == 0
            with path.open("rb") as file:
                self.fingerprints[name] = sha256_of(file)
        except FileNotFoundError:
            self.problems.append(f"{name}: expected a file, found none in {self.root}")
            return None
        except (OSError, EOFError, zlib.error) as error:
            self.problems.append(f"{name}: expected a readable file, found {one_line(error)}")
            return None
        if empty:
            self.problems.append(f"{name}: expected captions, found an empty file")
            return None
        return ReadableFile(name, path, undecodable)

    def lines(self, path: Path, expected: int | None = None) -> tuple[str, ...]:
        """The lines of a file, blank ones included; another count than expected is noted as a problem."""
        file = self.readable(path, text=False)  # all of it is decoded at once: no need to look at it line by line
        if file is None:
            return ()
        with file.open() as contents:
            lines, undecodable = decode_lines(contents.read())
        name = self.name(path)
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
