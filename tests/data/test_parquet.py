"""Parquet tables: types of columns are looked at before any row, and only needed columns are read."""

from __future__ import annotations

import io
import os

import pyarrow
import pytest
from pyarrow import parquet

from xpet.core.captions import ReadRequest
from xpet.core.errors import DataError
from xpet.data.table import read
from xpet.data.text_corpus import read_texts

TEXTS = ["a cat", "a dog"]
NO_PICTURES = (
    "pictures inside Parquet are not read: write them to files, or give --image-features; in column image their names"
)


def file_of(columns, write, **settings):
    target = io.BytesIO()
    table = columns if isinstance(columns, pyarrow.Table) else pyarrow.table(columns)
    parquet.write_table(table, target, **settings)
    return str(write("t.parquet", target.getvalue()))


def columns_of(**changes):
    return {"image": ["a.png", "b.png"], "lang": ["en", "en"], "caption": TEXTS, **changes}


def problems_of(path):
    with pytest.raises(DataError) as error:
        read(ReadRequest(path))
    return error.value.problems


@pytest.mark.parametrize(("values", "found"), [
    (pyarrow.array([{"bytes": b"x", "path": "p"}] * 2), "a struct of bytes and path"),
    (pyarrow.array([{"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}] * 2), "a struct of a, b, c and 1 more and e"),
    (pyarrow.array([b"x"] * 2), "binary"),
    (pyarrow.array([b"x"] * 2, pyarrow.binary(1)), "binary"),
    (pyarrow.array([["x"]] * 2), "a list of string"),
    (pyarrow.array([1] * 2), "integers (int64)"),
    (pyarrow.array([1] * 2, pyarrow.uint8()).dictionary_encode(), "integers (uint8)"),
    (pyarrow.array([0.5] * 2), "double"),
])  # fmt: skip
def test_columns_without_text_are_told_before_any_row(values, found, write):
    path = file_of(columns_of(image=values, caption=values), write)
    assert problems_of(path) == (
        f"t.parquet: expected text in column image, found {found}; {NO_PICTURES}",
        f"t.parquet: expected text in column caption, found {found}",
    )


def test_pictures_in_a_file_are_not_read(write, monkeypatch):
    pictures = [{"bytes": os.urandom(200_000), "path": f"{n}.png"} for n in range(60)]
    columns = {
        "picture": pictures,
        "picture.x": pictures,
        "image": pictures,
        "lang": ["en"] * 60,
        "caption": ["x"] * 60,
    }
    path = file_of(columns, write)
    before = pyarrow.total_allocated_bytes()
    peaks = []
    batches = parquet.ParquetFile.iter_batches

    def watched(self, *asked, **settings):
        for batch in batches(self, *asked, **settings):
            peaks.append(pyarrow.total_allocated_bytes() - before)
            yield batch

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", watched)
    (problem,) = problems_of(path)
    assert problem.startswith("t.parquet: expected text in column image, found a struct of bytes and path; ")
    assert not peaks  # not one row was read
    path = file_of({**columns, "image": [f"{n}.png" for n in range(60)]}, write)
    assert len(read(ReadRequest(path)).splits["all"].images) == 60
    assert peaks
    assert max(peaks) < 1_000_000  # of 24 MB


@pytest.mark.parametrize("kind", [
    pyarrow.large_string(), pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
    pyarrow.dictionary(pyarrow.int32(), pyarrow.large_string()), getattr(pyarrow, "string_view", pyarrow.string)(),
])  # fmt: skip
def test_every_type_of_text_is_text(kind, write):
    path = file_of({name: pyarrow.array(texts).cast(kind) for name, texts in columns_of().items()}, write)
    assert read(ReadRequest(path)).splits["all"].captions["en"].texts["target"] == tuple(TEXTS)
    assert list(read_texts([path], "caption")) == TEXTS


@pytest.mark.parametrize("kind", [
    pyarrow.list_(pyarrow.string()), pyarrow.large_list(pyarrow.large_string()), pyarrow.list_(pyarrow.string(), 2),
])  # fmt: skip
def test_lists_of_texts_are_captions_of_a_corpus(kind, write):
    path = file_of({"caption": pyarrow.array([TEXTS, TEXTS], kind), "n": pyarrow.array([[1], [2]])}, write)
    assert list(read_texts([path], "caption")) == TEXTS * 2
    with pytest.raises(DataError, match=r"t\.parquet: expected text in column n, found a list of integers \(int64\)$"):
        read_texts([path], "n")


def test_columns_without_a_value_are_empty_slots(write):
    corpus = read(ReadRequest(file_of(columns_of(to_pivot=[None, None]), write)))
    assert set(corpus.splits["all"].captions["en"].texts) == {"pivot", "target", "from_pivot", "to_pivot"}
    (first, second) = problems_of(file_of(columns_of(caption=[None, None]), write))
    assert first == "t.parquet row 1: expected text in column caption, found None"
    assert second.startswith("t.parquet row 2")


def test_nested_and_repeated_and_missing_columns(write):
    nested = [{"image": "a.png", "lang": "en", "caption": "x"}] * 2
    assert problems_of(file_of({"row": nested, "caption": TEXTS}, write)) == (
        "t.parquet: expected columns image, lang, caption, found row, caption; image, lang missing",
    )
    arrays = [pyarrow.array(values) for values in (*columns_of().values(), TEXTS)]
    twice = pyarrow.Table.from_arrays(arrays, ["image", "lang", "caption", "caption"])
    assert problems_of(file_of(twice, write)) == ("t.parquet: expected one column caption, found 2 of that name",)
    others = pyarrow.Table.from_arrays([*arrays, arrays[0]], ["image", "lang", "caption", "n", "n"])
    assert read(ReadRequest(file_of(others, write))).splits["all"].images == ("a.png", "b.png")
    corpus = read(ReadRequest(file_of({**columns_of(), "caption.de": [b"1", b"2"]}, write)))
    assert corpus.splits["all"].captions["en"].texts["target"] == tuple(TEXTS)


def test_no_rows_at_all(write):
    table = pyarrow.table(columns_of())
    target = io.BytesIO()
    parquet.ParquetWriter(target, table.schema).close()
    assert parquet.ParquetFile(target).num_row_groups == 0
    path = str(write("t.parquet", target.getvalue()))
    assert problems_of(path) == (f"{path}: expected caption files, found none with a caption in it; check --data-root",)
    assert list(read_texts([path], "caption")) == []


def test_bytes_that_are_not_utf8_are_told_with_their_row(write):
    bad = pyarrow.array([b"ok", b"ab\xff"]).view(pyarrow.string())
    path = file_of(columns_of(caption=bad), write)
    assert problems_of(path) == ("t.parquet row 2: expected UTF-8 in column caption, found byte 0xff",)
    with pytest.raises(DataError, match=r"t\.parquet row 2: expected UTF-8 in column caption, found byte 0xff$"):
        read_texts([path], "caption")
