"""Files of texts, read record by record so that everything but the translation comes out as it went in.

A record knows how to write itself with its translation: a line of a text file, a row of a table, a JSON document.
Byte-order marks, line endings, blank lines and other columns are kept.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from xpet.core.errors import DataError

BOM = b"\xef\xbb\xbf"
TABLES = {".csv": ",", ".tsv": "\t"}
JSON_LINES = ".jsonl"
MAX_FIELD = 1 << 24
BLOCK = 1024  # lines decoded at once


class Record(NamedTuple):
    """One text: the line it begins on (from 1) and how to write the record with a translation.

    `counts` is False for what belongs to the file and not to the texts, such as a table's header.
    """

    line: int
    text: str
    write: Callable[[str], bytes]
    counts: bool = True


def needs_column(name: str) -> bool:
    """Whether a file of that name holds records with columns."""
    return Path(name).suffix.lower() in (*TABLES, JSON_LINES)


def read_records(lines: Iterable[bytes], name: str, column: str | None = None, into: str = "") -> Iterator[Record]:
    """The records of a file by its name's ending: text, CSV and TSV (with a header), or JSON lines.

    Args:
        lines: the file's lines in bytes, each with its line feed.
        name: for the ending and for messages.
        column: what is translated, in a table or in JSON lines.
        into: the column that gets the translation, added or replaced.

    Raises:
        DataError: bytes that are not UTF-8, ragged rows, a missing column, bad JSON; with the line.
    """
    ending = Path(name).suffix.lower() if column is not None else ""
    if ending in TABLES:
        return _table(lines, name, TABLES[ending], str(column), into)
    if ending == JSON_LINES:
        return _json_lines(lines, name, str(column), into)
    return _text(lines, name)


def count_records(lines: Iterable[bytes], name: str, column: str | None = None) -> int:
    """How many texts a file has; reads and checks all of it. Raises DataError as `read_records` does."""
    if column is None:
        return sum(count for _, _, count, _ in _blocks(lines, name))
    return sum(record.counts for record in read_records(lines, name, column, column))


def _decoded(lines: Iterable[bytes], name: str, first: int = 1) -> Iterator[tuple[int, bytes, str]]:
    """Line number, byte-order mark (first line only) and text with its line ending."""
    for number, raw in enumerate(lines, start=first):
        mark = BOM if number == 1 and raw.startswith(BOM) else b""
        try:
            yield number, mark, raw[len(mark) :].decode("utf-8")
        except UnicodeDecodeError as error:
            place = error.start + len(mark)
            raise DataError(
                f"{name} line {number}, byte {place + 1}: expected UTF-8, found 0x{raw[place]:02x}; "
                "convert the file to UTF-8 first"
            ) from None


def _blocks(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, bytes, int, str]]:
    """Many lines as one text: number of the first, byte-order mark (first block only), how many, text."""
    lines, first = iter(lines), 1
    while raw := list(itertools.islice(lines, BLOCK)):
        mark = BOM if first == 1 and raw[0].startswith(BOM) else b""
        try:
            yield first, mark, len(raw), b"".join(raw)[len(mark) :].decode("utf-8")
        except UnicodeDecodeError:
            for _ in _decoded(raw, name, first):  # one by one, for the line's number
                pass
        first += len(raw)


def _text(lines: Iterable[bytes], name: str) -> Iterator[Record]:
    for first, mark, count, text in _blocks(lines, name):
        bodies = text.split("\n")
        endings = ["\n"] * count
        if len(bodies) > count:
            bodies.pop()  # nothing stands behind the last line feed
        else:
            endings[-1] = ""
        if "\r" in text:
            for place, body in enumerate(bodies):
                if body.endswith("\r"):
                    bodies[place], endings[place] = body[:-1], "\r" + endings[place]
        writers = {ending: _line_writer(b"", ending) for ending in set(endings)}
        writes = [writers[ending] for ending in endings]
        if mark:
            writes[0] = _line_writer(mark, endings[0])
        yield from map(Record, range(first, first + count), bodies, writes)


def _line_writer(mark: bytes, ending: str) -> Callable[[str], bytes]:
    return lambda text: mark + (text + ending).encode("utf-8")


def _table(lines: Iterable[bytes], name: str, delimiter: str, column: str, into: str) -> Iterator[Record]:
    marks: list[bytes] = []
    endings: list[str] = []

    def texts() -> Iterator[str]:
        for _, mark, line in _decoded(lines, name):
            if not marks:
                marks.append(mark)
                endings.append("\r\n" if line.endswith("\r\n") else "\n")
            yield line

    csv.field_size_limit(MAX_FIELD)
    reader = csv.reader(texts(), delimiter=delimiter, strict=True)
    begin = 1
    header: list[str] | None = None
    try:
        for row in reader:
            if header is None:
                header = row
                _check_header(name, header, column)
                titles = header if into in header else [*header, into]
                start = marks[0] + _row(titles, delimiter, endings[0])
                yield Record(begin, "", _constant(start), counts=False)
            elif not row:
                yield Record(begin, "", _constant(endings[0].encode()), counts=False)
            else:
                yield _table_record(name, begin, row, header, column, into, delimiter, endings[0])
            begin = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{name} line {reader.line_num}: expected a well-formed row, found {error}") from error
    if header is None:
        raise DataError(f"{name}: expected a header with column {column}, found an empty file")


def _check_header(name: str, header: list[str], column: str) -> None:
    if header.count(column) != 1:
        found = f"{header.count(column)} columns of that name" if column in header else ", ".join(header)
        raise DataError(f"{name} line 1: expected a column {column}, found {found}; give its name with --column")


def _table_record(
    name: str, line: int, row: list[str], header: list[str], column: str, into: str, delimiter: str, ending: str
) -> Record:
    if len(row) != len(header):
        raise DataError(f"{name} line {line}: expected {len(header)} fields as the header has, found {len(row)}")

    def write(text: str) -> bytes:
        if into in header:
            place = header.index(into)
            return _row([*row[:place], text, *row[place + 1 :]], delimiter, ending)
        return _row([*row, text], delimiter, ending)

    return Record(line, row[header.index(column)], write)


def _row(fields: list[str], delimiter: str, ending: str) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, lineterminator=ending).writerow(fields)
    return out.getvalue().encode("utf-8")


def _constant(data: bytes) -> Callable[[str], bytes]:
    return lambda text: data


def _json_lines(lines: Iterable[bytes], name: str, column: str, into: str) -> Iterator[Record]:
    for number, mark, line in _decoded(lines, name):
        body = line.removesuffix("\n")
        ending = "\n" if body != line else ""
        if not body.strip():
            yield Record(number, "", _constant(mark + line.encode("utf-8")), counts=False)
            continue
        fields = _fields(body, f"{name} line {number}")
        if not isinstance(fields.get(column), str):
            found = repr(fields[column]) if column in fields else ", ".join(fields) or "no fields"
            raise DataError(f"{name} line {number}: expected text in {column}, found {found}; see --column")
        yield Record(number, fields[column], _json_writer(mark, fields, into, ending))


def _fields(body: str, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(body)
        body_again = json.dumps(fields, ensure_ascii=False)
        body_again.encode("utf-8")
    except UnicodeEncodeError:
        raise DataError(f"{where}: expected whole characters, found half of a surrogate pair") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected a JSON object, found {error}") from error
    if not isinstance(fields, dict):
        raise DataError(f"{where}: expected a JSON object, found {type(fields).__name__}")
    return fields


def _json_writer(mark: bytes, fields: dict[str, Any], into: str, ending: str) -> Callable[[str], bytes]:
    return lambda text: mark + (json.dumps({**fields, into: text}, ensure_ascii=False) + ending).encode("utf-8")
