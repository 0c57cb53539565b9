"""Rows of tables, one at a time: CSV, TSV, JSON lines and Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from xpet.core.errors import DataError

Records = Iterator[tuple[int, Mapping[str, Any]]]
"""Line (or row) numbers from 1 and the fields that stand there."""
CheckColumns = Callable[[list[str]], None]
"""Raises DataError when the columns a file has are not those needed."""
PARQUET_ROWS = 4096
"""Rows of a Parquet file held at a time."""


def delimited(name: str, lines: Iterable[str], delimiter: str, check: CheckColumns) -> Records:
    """Rows of CSV or TSV with a header; fields may hold line breaks. Fields too many are under the key None.

    Raises:
        DataError: a row that is not well formed, or what `check` raises.
    """
    reader = csv.DictReader((line + "\n" for line in lines), delimiter=delimiter, strict=True)
    try:
        check(list(reader.fieldnames or []))
        for fields in reader:
            yield reader.line_num, fields
    except csv.Error as error:
        raise DataError(f"{name} line {reader.line_num}: expected a well-formed row, found {error}") from error


def json_objects(name: str, lines: Iterable[str]) -> Records:
    """Objects of JSON lines, blank lines passed over; raises DataError for a line that is no object."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name} line {number}: expected a JSON object, found {error}") from error
        if not isinstance(fields, dict):
            raise DataError(f"{name} line {number}: expected a JSON object, found {type(fields).__name__}")
        yield number, fields


def parquet_rows(name: str, file: BinaryIO, wanted: Sequence[str], check: CheckColumns) -> Records:
    """Rows of Parquet with those of the wanted columns that are there; other columns are not read.

    Raises:
        DataError: the file is damaged or no Parquet, or what `check` raises.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        source = parquet.ParquetFile(file)
        columns = source.schema_arrow.names
        check(columns)
        number = 0
        for batch in source.iter_batches(PARQUET_ROWS, columns=[column for column in wanted if column in columns]):
            for fields in batch.to_pylist():
                number += 1
                yield number, fields
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{name}: expected a readable Parquet file, found {error}") from error
