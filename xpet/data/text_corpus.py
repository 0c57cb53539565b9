"""Reads English text of any size one text at a time: lines of plain text, or a column of a table."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from xpet.core.errors import DataError, listing, one_line
from xpet.data.english import expect_english
from xpet.data.parquet import parquet_rows
from xpet.data.records import Records, delimited, json_objects, no_text
from xpet.data.text_files import raise_problems, stream_lines
from xpet.data.unpacked import module_of, unpacked

STDIN = "-"
STDIN_NAME = "standard input"
ENDINGS = (".gz", ".bz2")


def read_texts(
    paths: Sequence[str],
    column: str | None = None,
    stdin: BinaryIO | None = None,
    english: bool = True,
    names: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Every text of the files, in their order, blank ones included; no file is ever in memory as a whole.

    Args:
        paths: plain text (one a line), CSV, TSV, JSON lines or Parquet, by its ending; any may be compressed by gzip
            or bz2, `-` is plain text from `stdin`.
        column: where the texts stand in files that have columns; a field may be text, a list of texts, or nothing.
        stdin: standard input in bytes, where there is one.
        english: whether files whose first texts are clearly in another language are refused.
        names: what paths are called in messages, where that is not the path.

    The beginning of every file, but of no pipe, is read before this returns: most problems of all files are raised
    then, in one error, before any work. The rest is raised when a text is reached.

    Raises:
        DataError: no such file, damaged contents, bytes that are not UTF-8, a column that is needed or missing, text
            that is not English; each with the file and, where there is one, the line.
    """
    names = {STDIN: STDIN_NAME, **(names or {})}
    problems = _problems(paths, column, stdin, names)
    for path in () if problems else paths:
        try:
            if not _is_stream(path):
                next(_texts(path, column, stdin, english, names), None)
        except DataError as error:
            problems += error.problems
    raise_problems(problems)
    return (text for path in paths for text in _texts(path, column, stdin, english, names))


def _problems(paths: Sequence[str], column: str | None, stdin: BinaryIO | None, names: Mapping[str, str]) -> list[str]:
    """The problems that show without opening a file."""
    problems = [] if paths else ["expected a file of English text, found none"]
    if STDIN in paths and stdin is None:
        problems.append("expected English text on standard input, found none")
    if paths.count(STDIN) > 1:
        problems.append(f"expected {STDIN} for standard input once, found it {paths.count(STDIN)} times")
    if column is not None and paths and not any(_ending(path) in TABLES for path in paths):
        found = ", ".join(names.get(path, path) for path in paths)
        problems.append(f"column {column}: expected a file with columns ({', '.join(TABLES)}), found {found}")
    return problems


def _is_stream(path: str) -> bool:
    """Whether a path can be read only once: standard input or a pipe."""
    file = Path(path)
    return path == STDIN or (file.exists() and not file.is_file() and not file.is_dir())


def _ending(path: str) -> str:
    """The ending of a file's name in lower case, that of compression aside."""
    for packed in ENDINGS:
        path = path.removesuffix(packed)
    return Path(path).suffix.lower()


def _texts(
    path: str, column: str | None, stdin: BinaryIO | None, english: bool, names: Mapping[str, str]
) -> Iterator[str]:
    """The texts of one file; raises DataError as `read_texts` does."""
    name = names.get(path, path)
    try:
        with _opened(path, stdin) as file:
            read = READERS.get(_ending(path))
            where = f"{name} {'row' if _ending(path) == '.parquet' else 'line'}"
            texts = stream_lines(name, file) if read is None else _fields(where, read(name, file, column), str(column))
            yield from expect_english(texts, name) if english else texts
    except FileNotFoundError:
        raise DataError(f"{name}: expected a file of English text, found none") from None
    except (OSError, EOFError, zlib.error) as error:
        found = getattr(error, "strerror", None) or one_line(error)
        raise DataError(f"{name}: expected a readable file, found {found}") from error


@contextmanager
def _opened(path: str, stdin: BinaryIO | None) -> Iterator[BinaryIO]:
    """The (decompressed) bytes; standard input stays open afterwards."""
    with _raw(path, stdin) as file:
        yield unpacked(file) if module_of(file.peek()) else file


@contextmanager
def _raw(path: str, stdin: BinaryIO | None) -> Iterator[io.BufferedReader]:
    """The bytes of a file or of standard input, not decompressed."""
    if path != STDIN or stdin is None:
        with open(path, "rb") as file:
            yield file
    elif isinstance(stdin, io.BufferedReader):
        yield stdin
    else:
        wrapped = io.BufferedReader(cast(Any, stdin))
        yield wrapped
        wrapped.detach()


def _fields(where: str, records: Records, column: str) -> Iterator[str]:
    """The texts of a column; an absent value counts as a blank text."""
    for number, fields in records:
        if None in fields:
            raise DataError(f"{where} {number}: {fields[None]}")
        yield from _values(f"{where} {number}", fields, column)


def _values(where: str, fields: Mapping[str, Any], column: str) -> Iterable[str]:
    """The texts of one field, which may be a text, a list of texts, or nothing; raises DataError for all else."""
    if column not in fields:
        columns = listing(list(fields)) or "no columns"
        raise DataError(f"{where}: expected text in column {column}, found only {columns}; name another with --column")
    value = fields[column]
    texts: list[Any] = value if isinstance(value, list) else ["" if value is None else value]
    for text in texts:
        if found := no_text(text):
            raise DataError(f"{where}: expected text in column {column}, found {found}")
    return texts


def _check_column(name: str, column: str | None, columns: Sequence[str]) -> None:
    """Raise DataError unless a column is named, and is exactly once among `columns`."""
    found = listing(columns) or "none"
    if column is None:
        raise DataError(f"{name} has columns: expected the one with the texts in --column, found none; it has {found}")
    if list(columns).count(column) != 1:
        found = f"{list(columns).count(column)} of that name" if column in columns else found
        raise DataError(f"{name}: expected a column {column}, found {found}; name another with --column")


def _delimited(delimiter: str) -> Callable[[str, BinaryIO, str | None], Records]:
    """A reader of rows whose fields are separated by `delimiter`."""
    return lambda name, file, column: delimited(
        name, stream_lines(name, file), delimiter, partial(_check_column, name, column)
    )


def _json_lines(name: str, file: BinaryIO, column: str | None) -> Records:
    """The objects of JSON lines; raises DataError, naming the keys of the first, when no column is given."""
    for number, fields in json_objects(name, stream_lines(name, file)):
        if column is None:
            _check_column(name, column, list(fields))
        yield number, fields


def _parquet(name: str, file: BinaryIO, column: str | None) -> Records:
    return parquet_rows(name, file, [str(column)], partial(_check_column, name, column), lists=True)


def _json(name: str, file: BinaryIO, column: str | None) -> Records:
    """Refuses a JSON document, with the command that makes lines of it."""
    raise DataError(
        f"{name}: expected JSON lines (.jsonl), found one JSON document; "
        "turn its records into lines first, for COCO: jq -c '.annotations[]' FILE.json > FILE.jsonl"
    )


TABLES: dict[str, Callable[[str, BinaryIO, str | None], Records]] = {
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
READERS = {**TABLES, ".json": _json}
"""Readers of files that are not plain text, by the name's ending."""
