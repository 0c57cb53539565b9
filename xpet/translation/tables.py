"""Reads CSV and TSV as records: the translation is inserted into the row's own text, so that the rest keeps its bytes.

A .csv file follows RFC 4180. A .tsv file has no quoting: a field is what stands between tabs, in one line.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence

from xpet.core.errors import DataError, one_line
from xpet.translation.lines import without_breaks
from xpet.translation.records import Record, constant, decoded, spliced

MAX_FIELD = 1 << 24  # characters
QUOTED = re.compile(r'"(?:[^"]|"")*"')
PLAIN = re.compile(r"[^,\r\n]*")
NEEDS_QUOTES = re.compile(r'[",\r\n]')
ENDING = re.compile(r"[\r\n]*\Z")
NO_QUOTING = "a .tsv file has no quoting: write texts with tabs or line breaks as .csv"


def read_tsv(lines: Iterable[bytes], name: str, column: str, into: str) -> Iterator[Record]:
    """The records of a table whose fields are separated by tabs. Raises DataError with the line."""
    header: list[str] | None = None
    if _plain(into) != into:
        raise DataError(f"{name}: expected a name of one line without tabs for the new column, found {into!r}")
    for number, mark, line in decoded(lines, name):
        body = ENDING.sub("", line)
        fields = body.split("\t")
        if header is None:
            header = fields
            _check_header(name, header, column, into, NO_QUOTING)
            yield constant(number, mark + (line if into in header else f"{body}\t{into}{line[len(body) :]}").encode())
        elif not body:
            yield constant(number, line.encode())
        else:
            _check_count(name, number, fields, header, NO_QUOTING)
            position = header.index(into) if into in header else len(fields)
            before = "".join(f"{field}\t" for field in fields[:position])
            after = "".join(f"\t{field}" for field in fields[position + 1 :]) + line[len(body) :]
            yield Record(number, fields[header.index(column)], spliced(b"", before, after, _plain))
    if header is None:
        raise _empty(name, column)


def read_csv(lines: Iterable[bytes], name: str, column: str, into: str) -> Iterator[Record]:
    """The records of a table with commas and quotation marks. Raises DataError with the line a row begins on."""
    header: list[str] | None = None
    for number, mark, raw, row in _csv_rows(lines, name):
        body = ENDING.sub("", raw)
        if header is None:
            header = row
            _check_header(name, header, column, into)
            yield constant(
                number, mark + (raw if into in header else f"{body},{_quoted(into)}{raw[len(body) :]}").encode()
            )
        elif not row:
            yield constant(number, raw.encode())
        else:
            _check_count(name, number, row, header)
            if into in header:
                start, end = _fields(body)[header.index(into)]
                write = spliced(b"", raw[:start], raw[end:], _quoted if len(header) > 1 else _sole)
            else:
                write = spliced(b"", f"{body},", raw[len(body) :], _quoted)
            yield Record(number, row[header.index(column)], write)
    if header is None:
        raise _empty(name, column)


def _csv_rows(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, bytes, str, list[str]]]:
    """Number of each row's first line, byte-order mark (first row only), the row's own text, its fields."""
    row_lines: list[
        tuple[int, bytes, str]
    ] = []  # lines of the present row: the reader takes no line before it needs it

    def texts() -> Iterator[str]:
        for line in decoded(lines, name):
            row_lines.append(line)
            yield line[2]

    csv.field_size_limit(MAX_FIELD)
    try:
        for row in csv.reader(texts(), strict=True):
            number, mark, _ = row_lines[0]
            yield number, mark, "".join(text for _, _, text in row_lines), row
            row_lines.clear()
    except csv.Error as error:
        raise _bad_row(name, row_lines[0][0], "".join(text for _, _, text in row_lines), error) from error


def _bad_row(name: str, first: int, raw: str, error: csv.Error) -> DataError:
    start, end = _fields(raw)[-1]
    if start == end and raw[start : start + 1] == '"':  # a quoted field without an end
        line = first + raw.count("\n", 0, start)
        return DataError(f"{name} line {line}: expected an end of the quotation mark that opens a field, found none")
    found = "a carriage return without a line feed" if "new-line" in str(error) else error
    return DataError(f"{name} line {first}: expected a well-formed row, found {found}")


def _fields(body: str) -> list[tuple[int, int]]:
    """Start and end of each field of a row, quotation marks included; stops at a field whose quotation has no end."""
    spans, start = [], 0
    while True:
        match = (QUOTED if body.startswith('"', start) else PLAIN).match(body, start)
        end = match.end() if match else start
        spans.append((start, end))
        if match is None or body[end : end + 1] != ",":
            return spans
        start = end + 1


def _check_header(name: str, header: list[str], column: str, into: str, hint: str = "") -> None:
    for required in dict.fromkeys((column, into)):
        count = header.count(required)
        if count > 1 or (required == column and not count):
            found = f"{count} columns of that name" if count else one_line(", ".join(header))
            quotes = f" ({hint})" if hint and any(field.startswith('"') for field in header) else ""
            raise DataError(
                f"{name} line 1: expected a column {required}, found {found}; give its name with --column{quotes}"
            )


def _check_count(name: str, line: int, row: Sequence[str], header: Sequence[str], hint: str = "") -> None:
    if len(row) != len(header):
        more = f"; {hint}" if hint else ""
        raise DataError(f"{name} line {line}: expected {len(header)} fields as the header has, found {len(row)}{more}")


def _empty(name: str, column: str) -> DataError:
    return DataError(f"{name}: expected a header with column {column}, found an empty file")


def _plain(text: str) -> str:
    """A field of a .tsv file, with spaces for tabs and line breaks, which would end it."""
    return without_breaks(text).replace("\t", " ")


def _quoted(text: str) -> str:
    """A field of a .csv file, in quotation marks where it needs them."""
    return '"' + text.replace('"', '""') + '"' if NEEDS_QUOTES.search(text) else text


def _sole(text: str) -> str:
    """The only field of a row of a .csv file: an empty one without quotation marks would be an empty line."""
    return _quoted(text) or '""'
