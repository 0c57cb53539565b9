"""What is written into a file of captions is what is read from it; whatever else stands there is told as an error."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpet.cli.printable import clean, in_csv, in_json, visible
from xpet.core.captions import Corpus
from xpet.core.config import DataConfig
from xpet.core.errors import DataError
from xpet.core.json_files import parsed
from xpet.data.records import delimited, json_objects
from xpet.data.splits import PARTS, SplitPlan
from xpet.data.text_corpus import read_texts
from xpet.data.text_files import decode_lines, stream_lines
from xpet.data.unpacked import open_unpacked
from xpet.jobs.shared.corpus import read_corpus
from xpet.translation.documents import read_records

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n\t"), max_size=20).map(lambda text: f"x{text}x")
"""Captions on one line, neither blank nor padded."""
LINES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\t"), max_size=20).map(lambda text: f"x{text}x")
"""Captions that may have several lines."""
COLUMNS = ("image", "lang", "caption")
BREAKS = re.compile("[\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
"""What ends a line to somebody: it would end a field of TSV."""


def rows(texts: st.SearchStrategy[str]) -> st.SearchStrategy[list[dict[str, str]]]:
    """Rows of English and German captions of six pictures; English has at least one, German, too."""
    row = st.tuples(st.integers(0, 5), st.sampled_from(("en", "de")), texts)
    some = st.lists(row, max_size=12).map(lambda found: [(0, "en", "a dog"), (0, "de", "ein Hund"), *found])
    return some.map(
        lambda found: [dict(zip(COLUMNS, (f"{n}.png", lang, text), strict=True)) for n, lang, text in found]
    )


def _csv(path: Path, table: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)


def _tsv(path: Path, table: list[dict[str, str]]) -> None:
    lines = ["\t".join(COLUMNS), *("\t".join(row[name] for name in COLUMNS) for row in table)]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def _jsonl(path: Path, table: list[dict[str, str]]) -> None:
    path.write_bytes("".join(json.dumps(row) + "\n" for row in table).encode())


def _parquet(path: Path, table: list[dict[str, str]]) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(table), path, row_group_size=5)


WRITERS: dict[str, tuple[Callable[[Path, list[dict[str, str]]], None], st.SearchStrategy[str]]] = {
    ".csv": (_csv, LINES), ".tsv": (_tsv, TEXT), ".jsonl": (_jsonl, LINES), ".parquet": (_parquet, LINES),
}  # fmt: skip


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="xpet-properties-") as path:
        yield Path(path)


def captions(corpus: Corpus, language: str) -> list[tuple[str, str]]:
    """Picture and caption of each row of a language."""
    split = corpus.splits["all"]
    column = split.captions[language]
    return [(split.images[i], text) for i, text in zip(column.image_index, column.slot("target"), strict=True)]


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize("packed", [False, True])
@given(data=st.data())
def test_a_table_is_read_as_it_was_written(ending: str, packed: bool, data: Any) -> None:
    write, texts = WRITERS[ending]
    table = data.draw(rows(texts))
    with folder() as where:
        path = where / f"table{ending}"
        write(path, table)
        if packed and ending != ".parquet":
            packed_path = where / f"table{ending}.gz"
            packed_path.write_bytes(gzip.compress(path.read_bytes()))
            path = packed_path
        corpus = read_corpus(DataConfig("table", str(path)))
    for language in ("en", "de"):
        written = [(row["image"], row["caption"]) for row in table if row["lang"] == language]
        assert captions(corpus, language) == written
    assert list(corpus.splits["all"].images) == list(dict.fromkeys(row["image"] for row in table))


@pytest.mark.parametrize("ending", [".txt", ".csv", ".tsv", ".jsonl", ".parquet", ".npy", ".json"])
@given(
    data=st.binary(max_size=300), begin=st.sampled_from((b"", b"text\n", b'{"text": "', b"\x1f\x8b", b"PAR1", b"BZh"))
)
def test_any_bytes_are_texts_or_an_error(ending: str, data: bytes, begin: bytes) -> None:
    with folder() as where:
        path = where / f"a{ending}"
        path.write_bytes(begin + data)
        try:
            found = list(read_texts([str(path)], "text" if ending in (".csv", ".tsv", ".jsonl", ".parquet") else None))
        except DataError:
            return
    assert all(isinstance(text, str) for text in found)
    assert not any("\n" in text for text in found if ending in (".txt", ".npy", ".tsv"))


@given(data=st.binary(max_size=200))
def test_lines_in_memory_are_those_that_are_streamed(data: bytes) -> None:
    lines, problems = decode_lines(data)
    try:
        assert tuple(stream_lines("a", io.BytesIO(data))) == lines
    except DataError:
        assert problems


@given(text=st.text(max_size=200), delimiter=st.sampled_from(",\t"))
def test_any_table_is_rows_or_an_error(text: str, delimiter: str) -> None:
    lines = text.split("\n")
    for read in (lambda: delimited("a", lines, delimiter, lambda names: None), lambda: json_objects("a", lines)):
        try:
            assert all(number >= 1 for number, _ in read())
        except DataError:
            continue


@given(texts=st.lists(LINES, max_size=20), ending=st.sampled_from((".csv", ".txt", ".tsv", ".jsonl")))
def test_records_that_are_written_unchanged_are_the_file(texts: list[str], ending: str) -> None:
    """A translation that is the text itself gives the bytes that were read, in every format."""
    flat = [BREAKS.sub(" ", text) for text in texts]
    out = io.StringIO()
    if ending == ".csv":
        csv.writer(out, lineterminator="\n").writerows([["id", "text"], *([str(i), t] for i, t in enumerate(texts))])
    elif ending == ".jsonl":
        out.write(
            "".join(json.dumps({"id": i, "text": text}, ensure_ascii=False) + "\n" for i, text in enumerate(texts))
        )
    else:
        head = "id\ttext\n" if ending == ".tsv" else ""
        out.write(head + "".join(f"{i}\t{text}\n" if head else f"{text}\n" for i, text in enumerate(flat)))
    data = out.getvalue().encode()
    column = None if ending == ".txt" else "text"
    lines = io.BytesIO(data).readlines()
    records = list(read_records(lines, f"a{ending}", column, column or ""))
    read = [record.text for record in records if record.counts]
    assert read == (texts if ending in (".csv", ".jsonl") else flat)
    assert b"".join(record.write(record.text) for record in records) == data


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress])
@given(data=st.binary(max_size=5000), pieces=st.integers(1, 3))
def test_what_is_packed_is_unpacked(compress: Callable[[bytes], bytes], data: bytes, pieces: int) -> None:
    with folder() as where:
        (where / "a").write_bytes(b"".join(compress(data) for _ in range(pieces)))
        with open_unpacked(where / "a", ("gzip", "bz2")) as file:
            assert file.read() == data * pieces


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=15,
)  # fmt: skip


@given(value=JSON, ascii_only=st.booleans())
def test_json_is_read_back_whatever_it_holds(value: Any, ascii_only: bool) -> None:
    text = in_json(json.dumps(value, ensure_ascii=ascii_only))
    assert parsed(text) == value
    assert not any(0x7F <= ord(sign) <= 0x9F or 0xD800 <= ord(sign) <= 0xDFFF for sign in text)


@given(text=st.text())
def test_what_is_shown_of_any_text_is_harmless(text: str) -> None:
    for shown in (visible(text), clean(text), str(in_csv(text))):
        assert not any(ord(sign) < 32 and sign != "\n" or 0x7F <= ord(sign) <= 0x9F for sign in shown)
        shown.encode()  # no half of a surrogate pair
    assert visible(visible(text)) == visible(text)
    assert not str(in_csv(text)).startswith(("=", "+", "-", "@"))


@given(
    order=st.permutations(range(12)), sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    spelled=st.sampled_from(("{}", "./{}", "a/../{}")),
)  # fmt: skip
def test_a_split_file_is_the_plan_that_was_written(order: list[int], sizes: tuple[int, int], spelled: str) -> None:
    from xpet.core.captions import LanguageCaptions, Split

    images = tuple(f"{number}.png" for number in range(12))
    english = LanguageCaptions("en", tuple(range(12)), {"target": images})
    corpus = Corpus("table", {"all": Split(images, {"en": english})})
    bounds = (0, sizes[0], sum(sizes), 12)
    parts = [tuple(order[start:stop]) for start, stop in zip(bounds, bounds[1:], strict=False)]
    names = {part: [spelled.format(images[i]) for i in found] for part, found in zip(PARTS, parts, strict=True)}
    assert SplitPlan.from_json(json.dumps(names), corpus) == SplitPlan(*parts)
