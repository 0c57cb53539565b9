"""Reads rows of Parquet files: only the columns that are needed, once their types are checked."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from xpet.core.errors import DataError, listing, one_line, short
from xpet.data.records import CheckColumns, Records
from xpet.data.unpacked import BombError, check_ratio

ROWS = 4096
"""Rows held at a time, fewer where they would take more than TEXT bytes."""
TEXT = 64 << 20


def parquet_rows(
    name: str,
    file: BinaryIO,
    columns: Sequence[str],
    check: CheckColumns,
    lists: bool = False,
    hints: Mapping[str, str] | None = None,
) -> Records:
    """Row numbers (from 1) and fields of the given columns, as far as the file has them; no other column is read.

    Args:
        name: the file's, for messages.
        file: its bytes.
        columns: names of columns that hold text.
        check: called with the names of all columns of the file.
        lists: whether lists of texts are as good as texts.
        hints: what to do, by column, where a column holds no text.

    Raises:
        DataError: the file is damaged or no Parquet, a column holds no text (raised before any row is read), or
            what `check` raises.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        source = parquet.ParquetFile(file)
        schema = source.schema_arrow
        check(schema.names)
        kept = [column for column in columns if column in schema.names]
        _check_types(name, {column: schema.field(column).type for column in kept}, lists, hints or {})
        number, text, size = 0, 0, file.seek(0, io.SEEK_END)
        check_ratio(_unpacked_size(source.metadata), size)
        source = parquet.ParquetFile(file, metadata=source.metadata, read_dictionary=_paths(source.metadata, kept))
        for batch in source.iter_batches(ROWS, columns=kept):
            text += sum(map(_bytes_of, batch.columns))
            check_ratio(text, size)
            for part in _bounded(batch):
                for fields in _rows(name, part, number):
                    number += 1
                    yield number, fields
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{name}: expected a readable Parquet file, found {one_line(error)}") from error


def _paths(metadata: Any, columns: Sequence[str]) -> list[str]:
    """The paths in the file of what is stored of these columns; of lists they lead to the values."""
    paths = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    return [path for path in paths if any(path == name or path.startswith(f"{name}.") for name in columns)]


def _unpacked_size(metadata: Any) -> int:
    """Bytes of all columns, unpacked, as the file says: of all, for to look at a single one may end the process."""
    return sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))


def _bounded(batch: Any) -> Iterator[Any]:
    """The batch with plain columns, in parts of at most TEXT bytes; raises BombError for a row that has more.

    Text that repeats is stored once and numbered: a small file may have any amount of it.
    """
    size = sum(map(_bytes_of, batch.columns))
    if size > TEXT and len(batch) == 1:
        raise BombError(f"{size:,} bytes of text in one row")
    if size > TEXT:
        half = len(batch) // 2
        for part in (batch.slice(0, half), batch.slice(half)):
            yield from _bounded(part)
        return
    plain = [column.dictionary_decode() if hasattr(column, "dictionary") else column for column in batch.columns]
    yield type(batch).from_arrays(plain, names=batch.schema.names)


def _bytes_of(column: Any) -> int:
    """Bytes of the text of a numbered column if it is written out; 0 of others, which are in memory as they are."""
    from pyarrow import compute

    while hasattr(column, "flatten") and not hasattr(column, "dictionary") and hasattr(column, "value_lengths"):
        column = column.flatten()  # of lists their values
    if not hasattr(column, "dictionary"):
        return 0
    lengths = compute.binary_length(column.dictionary)
    return int(compute.sum(lengths.take(column.indices)).as_py() or 0)


def _rows(name: str, batch: Any, before: int) -> Iterator[dict[str, Any]]:
    """The rows of a batch after `before` rows; raises DataError, naming the row, for bytes that are not UTF-8."""
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
        yield from rows
        return
    except UnicodeDecodeError:
        pass
    for row in range(len(batch)):
        for column, values in zip(batch.schema.names, batch.columns, strict=True):
            try:
                values[row].as_py()
            except UnicodeDecodeError as error:
                found = f"found byte 0x{error.object[error.start]:02x}"
                raise DataError(f"{name} row {before + row + 1}: expected UTF-8 in column {column}, {found}") from error


def _check_types(name: str, types: Mapping[str, Any], lists: bool, hints: Mapping[str, str]) -> None:
    """Raises DataError of all columns that hold no text."""
    problems = [
        f"{name}: expected text in column {short(column)}, found {_in_words(kind)}"
        + (f"; {hints[column]}" if column in hints else "")
        for column, kind in types.items()
        if not _is_text(kind, lists)
    ]
    if problems:
        raise DataError(*problems)


def _plain(kind: Any) -> Any:
    """The plain type behind an Arrow type: that of a dictionary's values, or of an extension's storage."""
    while hasattr(kind, "storage_type") or hasattr(kind, "index_type"):
        kind = kind.storage_type if hasattr(kind, "storage_type") else kind.value_type
    return kind


def _is_text(kind: Any, lists: bool) -> bool:
    """Whether values of an Arrow type are text, or (with `lists`) lists of text."""
    kind = _plain(kind)
    if lists and "list" in str(kind).split("<")[0]:
        return _is_text(kind.value_type, lists=False)
    return str(kind) in ("string", "large_string", "string_view", "null")  # null: not one row has a value


def _in_words(kind: Any) -> str:
    """An Arrow type as a message names it."""
    kind = _plain(kind)
    word = str(kind).split("<")[0]
    if word == "struct":
        names = [kind.field(index).name for index in range(kind.num_fields)]
        return f"a struct of {' and '.join((listing(names[:-1], 3), short(names[-1])) if names[1:] else names)}"
    if "list" in word:
        inner = _in_words(kind.value_type)
        return f"a list of {inner}"
    if word.lstrip("u").startswith("int"):
        return f"integers ({word})"
    return "binary" if "binary" in word else short(word)
