"""Reads files of texts record by record, in such a way that all but the translation is written as it was read.

A record is a line of a text file, a row of a table, or a JSON object, and can write itself with a translation.
Byte-order marks, line endings, blank lines and other columns are kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from xpet.core.errors import DataError
from xpet.translation.jsonlines import read_json_lines
from xpet.translation.records import BOM, Record, decoded
from xpet.translation.tables import read_csv, read_tsv

WITH_COLUMNS = {".csv": read_csv, ".tsv": read_tsv, ".jsonl": read_json_lines}
"""Readers of files with columns, by the ending of the name; all other files are texts."""
LINES_PER_BLOCK = 1024  # decoded at once
MAX_LINE = 1 << 24  # bytes of a line beyond which a file is taken for no text


def bounded_lines(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The lines of an open file; raises DataError, with its name, at one that is longer than any text's."""
    for line in iter(partial(file.readline, MAX_LINE), b""):
        if len(line) == MAX_LINE:
            raise DataError(f"{name}: expected lines of text, found one of more than {MAX_LINE:,} bytes")
        yield line


def needs_column(name: str) -> bool:
    """Whether a file of that name has columns."""
    return Path(name).suffix.lower() in WITH_COLUMNS


def read_records(lines: Iterable[bytes], name: str, column: str | None = None, into: str = "") -> Iterator[Record]:
    """The records of a file by its name's ending: text, CSV and TSV (with a header), or JSON lines.

    Args:
        lines: the file's lines in bytes, each with its line feed.
        name: the file's name, whose ending decides how it is read, and which messages give.
        column: the column to translate, of a table or of JSON lines.
        into: the column for the translation, which is added or replaced.

    Raises:
        DataError: bytes that are not UTF-8, ragged rows, a missing column, bad JSON; with the line.
    """
    if column is not None and needs_column(name):
        return WITH_COLUMNS[Path(name).suffix.lower()](lines, name, column, into)
    return _text(lines, name)


def count_records(lines: Iterable[bytes], name: str, column: str | None = None) -> int:
    """Count the texts of a file, which reads and checks all of it. Raises DataError as `read_records` does."""
    if column is None:
        return sum(count for _, _, count, _ in _blocks(lines, name))
    return sum(record.counts for record in read_records(lines, name, column, column))


def _blocks(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, bytes, int, str]]:
    """Blocks of lines: number of the first line, byte-order mark (first block only), count of lines, their text."""
    lines, first = iter(lines), 1
    while raw := list(itertools.islice(lines, LINES_PER_BLOCK)):
        mark = BOM if first == 1 and raw[0].startswith(BOM) else b""
        try:
            yield first, mark, len(raw), b"".join(raw)[len(mark) :].decode("utf-8")
        except UnicodeDecodeError:
            for _ in decoded(raw, name, first):  # one by one, for the line's number
                pass
        first += len(raw)


def _text(lines: Iterable[bytes], name: str) -> Iterator[Record]:
    """The lines of a text file as records."""
    for first, mark, count, text in _blocks(lines, name):
        bodies = text.split("\n")
        endings = ["\n"] * count
        if len(bodies) > count:
            bodies.pop()  # after the last line feed nothing follows
        else:
            endings[-1] = ""
        if "\r" in text:
            for index, body in enumerate(bodies):
                if body.endswith("\r"):
                    bodies[index], endings[index] = body[:-1], "\r" + endings[index]
        writers = {ending: _line_writer(b"", ending) for ending in set(endings)}
        writes = [writers[ending] for ending in endings]
        if mark:
            writes[0] = _line_writer(mark, endings[0])
        yield from map(Record, range(first, first + count), bodies, writes)


def _line_writer(mark: bytes, ending: str) -> Callable[[str], bytes]:
    return lambda text: mark + (text + ending).encode("utf-8")
