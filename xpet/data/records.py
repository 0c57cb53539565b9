"""Reads rows of CSV, TSV and JSON lines one at a time, each with the number of the line on which it begins."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from xpet.core.errors import DataError, quoted

Fields = dict[str | None, Any]
"""Fields of a row by column; the key None holds what is wrong with the row, in words."""
Records = Iterator[tuple[int, Mapping[Any, Any]]]
"""Line (or row) numbers from 1 and the Fields that stand there."""
CheckColumns = Callable[[list[str]], None]
"""Raises DataError for a file whose columns are not those that are needed."""
TAB = "\t"
DELIMITERS = {",": "commas", TAB: "tabs", ";": "semicolons"}
LONGEST_ROW = 1 << 22
"""Characters of a row of CSV, which may have many lines."""
ROW_LIMIT = "row limit"
NO_QUOTING = "TSV has no quoting (quotation marks are text, tabs and line breaks end a field), .csv has"
MEND = "close it, and double quotation marks that are text"


class Repeated:
    """The value of a key that a JSON object has more than once."""

    def __init__(self, count: int) -> None:
        """`count` says how often the key is there."""
        self.count = count

    def __repr__(self) -> str:
        return f"{self.count} fields of that name"


def no_text(value: object) -> str:
    """The value of a field that is no text, for a message; nothing when it is text."""
    if not isinstance(value, str):
        return quoted(value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"half a surrogate pair in {quoted(value)}"
    return ""


def delimited(name: str, lines: Iterable[str], delimiter: str, check: CheckColumns) -> Records:
    """Rows of CSV or TSV with a header, without blank lines. Fields of CSV may be quoted and hold line breaks.

    Raises:
        DataError: a row that is not well formed, or what `check` raises.
    """
    tabs = delimiter == TAB
    lines = _without_nul(name, lines)
    rows = _split(lines) if tabs else _parsed(name, lines, delimiter)
    header = next(rows, (0, []))[1]
    try:
        check(header)
    except DataError as error:
        if tabs and any('"' in column for column in header):
            raise DataError(*error.problems[:-1], f"{error.problems[-1]}; {NO_QUOTING}") from None
        if other := _other_delimiter(header, delimiter):
            problem = f"{error.problems[-1]}; it seems to separate them by {other}, expected {DELIMITERS[delimiter]}"
            raise DataError(*error.problems[:-1], problem) from None
        raise
    for number, row in rows:
        fields: Fields = dict(zip(header, row, strict=False))
        if len(row) < len(header):
            fields |= dict.fromkeys(header[len(row) :])
        if len(row) > len(header) or (tabs and len(row) < len(header)):
            fields[None] = f"expected {len(header)} fields as the header has, found {len(row)}"
            fields[None] += f"; {NO_QUOTING}" if tabs else ""
        yield number, fields


def _other_delimiter(header: Sequence[str], delimiter: str) -> str:
    """The delimiter that a header of a single column seems to have instead, in words; nothing when there is none."""
    others = (
        words for sign, words in DELIMITERS.items() if sign != delimiter and len(header) == 1 and sign in header[0]
    )
    return next(others, "")


def _split(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Rows of TSV: a field is what stands between tabs, whatever it is."""
    for number, line in enumerate(lines, start=1):
        if line:
            yield number, line.split(TAB)


def _parsed(name: str, lines: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Rows of CSV; of a row of several lines the number of the first."""
    held = 0

    def counted() -> Iterator[str]:
        nonlocal held
        for line in lines:
            held += len(line) + 1
            if held > LONGEST_ROW:
                raise csv.Error(ROW_LIMIT)
            yield line + "\n"

    reader = csv.reader(counted(), delimiter=delimiter, strict=True)
    while True:
        begin, held = reader.line_num + 1, 0
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            fault = _fault(str(error), begin, reader.line_num)
            raise DataError(f"{name} line {begin}: expected a well-formed row, found {fault}") from error
        if row:
            yield begin, row


def _without_nul(name: str, lines: Iterable[str]) -> Iterator[str]:
    """The lines; raises DataError at the first with a NUL byte."""
    for number, line in enumerate(lines, start=1):
        if "\0" in line:  # not every version of Python's csv can read it
            character = line.index("\0") + 1
            raise DataError(f"{name} line {number}: expected text, found a NUL byte (character {character})")
        yield line


def _fault(error: str, begin: int, end: int) -> str:
    """What is wrong between two lines, in words that say what to do, from the csv module's message."""
    limit = f"{csv.field_size_limit():,} characters"
    if "end of data" in error:
        return f"a quotation mark that is not closed up to the end of the file; {MEND}"
    if error == ROW_LIMIT:
        return f"one of more than {LONGEST_ROW:,} characters"
    if "field limit" in error:
        return f"a field of more than {limit}" if begin == end else (
            f"a quotation mark that is not closed within {limit}; {MEND}"
        )  # fmt: skip
    if "expected after" in error:
        return f"text behind a closing quotation mark; {MEND.split(', and ')[1]}" if begin == end else (
            f"a quotation mark that is not closed (the next one, on line {end}, has text behind it); {MEND}"
        )  # fmt: skip
    if "new-line" in error:
        return "a carriage return inside it; end lines with line feeds, and quote fields that hold carriage returns"
    return error


def json_objects(name: str, lines: Iterable[str]) -> Records:
    """Objects of JSON lines, blank lines passed over; raises DataError for a line that is no object.

    A key that an object has more than once gets the value Repeated.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            fault = str(error)
            if isinstance(error, json.JSONDecodeError):  # it says "line 1" of every line
                fault = f"{error.msg} at character {error.pos + 1}"
            raise DataError(f"{name} line {number}: expected a JSON object, found {fault}") from error
        if not isinstance(fields, dict):
            raise DataError(f"{name} line {number}: expected a JSON object, found {type(fields).__name__}")
        yield number, fields


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, with Repeated for the value of a key that stands there more than once."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        fields |= {key: Repeated(count) for key, count in counts.items() if count > 1}
    return fields
