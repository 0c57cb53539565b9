"""Reads JSON lines as records: a translation is inserted into the line's own text, so that the rest stays as it is."""

from __future__ import annotations

import json
import json.decoder
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from xpet.core.errors import DataError, one_line
from xpet.translation.records import Record, constant, decoded, spliced

SPACE = " \t\n\r"  # white space of JSON
MAX_DIGITS = 4000  # Python refuses to make an int of more


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < MAX_DIGITS else float(digits)


_string: Callable[[str, int], tuple[str, int]] = json.decoder.scanstring  # type: ignore[attr-defined]
DECODER = json.JSONDecoder(parse_int=_whole)


def read_json_lines(lines: Iterable[bytes], name: str, column: str, into: str) -> Iterator[Record]:
    """The records of a file with one JSON object per line; the last of equal keys counts. Raises DataError."""
    for number, mark, line in decoded(lines, name):
        if not line.strip():
            yield constant(number, mark + line.encode())
            continue
        where = f"{name} line {number}"
        fields = _parsed(line, where)
        text = _text(fields, column, where)
        before, after = _around(line, fields, into)
        yield Record(number, text, spliced(mark, before, after, _as_json))


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        fields = DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected a JSON object, found {error}") from error
    if not isinstance(fields, dict):
        raise DataError(f"{where}: expected a JSON object, found {type(fields).__name__}")
    return fields


def _text(fields: dict[str, Any], column: str, where: str) -> str:
    text = fields.get(column)
    if not isinstance(text, str):
        found = repr(text) if column in fields else ", ".join(fields) or "no fields"
        raise DataError(f"{where}: expected text in {column}, found {one_line(found)}; see --column")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{where}: expected whole characters in {column}, found half of a surrogate pair") from None
    return text


def _around(line: str, fields: dict[str, Any], into: str) -> tuple[str, str]:
    """The line before and after the value of `into`; without such a key, before and after the place to add it."""
    if into in fields:
        start, end = _value(line, into)
        return line[:start], line[end:]
    end = len(line[: line.rindex("}")].rstrip(SPACE))
    return f"{line[:end]}{', ' if fields else ''}{_as_json(into)}: ", line[end:]


def _value(line: str, column: str) -> tuple[int, int]:
    """Start and end of a key's value in the line of a valid object; of a repeated key the last."""
    span = (0, 0)
    position = _skip(line, _skip(line, 0) + 1)  # behind the brace
    while line[position] != "}":
        key, position = _string(line, position + 1)
        start = _skip(line, _skip(line, position) + 1)  # behind the colon
        _, end = DECODER.raw_decode(line, start)
        if key == column:
            span = (start, end)
        position = _skip(line, end)
        if line[position] == ",":
            position = _skip(line, position + 1)
    return span


def _skip(line: str, position: int) -> int:
    """The position of the next character that is no white space."""
    while line[position] in SPACE:
        position += 1
    return position


def _as_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
