"""English text read as a stream: every format, every mistake named, nothing held in memory."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import os
import threading
import tracemalloc

import pytest

from xpet.core.errors import DataError
from xpet.data.text_corpus import read_texts
from xpet.data.text_files import MAX_LINE, decode_lines, stream_lines

TEXTS = ["a red ball on the grass", "", "the dog, and 'the' cat", "a café by the sea", "two men and a horse"]
NO_FILE = "expected a file of English text, found none"


def dump(kind: str, texts: list[str]) -> bytes:
    if kind == "txt":
        return "".join(f"{text}\n" for text in texts).encode()
    rows = [{"id": n, "caption": text} for n, text in enumerate(texts)]
    if kind == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    if kind == "parquet":
        import pyarrow
        from pyarrow import parquet

        target = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(rows), target, row_group_size=2)
        return target.getvalue()
    if kind == "tsv":  # has no quoting
        return ("id\tcaption\r\n" + "".join(f"{n}\t{text}\r\n" for n, text in enumerate(texts))).encode()
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["id", "caption"])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
@pytest.mark.parametrize("kind", ["txt", "csv", "tsv", "jsonl", "parquet"])
def test_every_format_gives_the_same_texts(kind, pack, write):
    ending = {gzip.compress: ".gz", bz2.compress: ".bz2"}.get(pack, "")
    path = write(f"corpus.{kind}{ending}", pack(dump(kind, TEXTS)))
    assert list(read_texts([str(path)], None if kind == "txt" else "caption")) == TEXTS


def test_fields_with_breaks_lists_and_nothing(write):
    table = write("a.csv", 'caption,n\n"two\nlines, ""quoted""",1\nlast,2\n')
    lines = write("b.jsonl", '{"caption": ["one", "two"]}\n\n{"caption": null}\n{"caption": "three"}\n')
    texts = read_texts([str(table), str(lines), str(write("c.txt", "plain"))], "caption")
    assert list(texts) == ['two\nlines, "quoted"', "last", "one", "two", "", "three", "plain"]


@pytest.mark.parametrize("data", [b"a\nb\n", b"a\nb", b"\na\n\nb\n\n", b"\n", b"", b"a\r\nb\r\r\n", b"\xef\xbb\xbfa\n"])
@pytest.mark.parametrize("more", [b"", " \u2028b\u0085c\x0bd\x0c\n".encode()])
def test_streamed_lines_are_those_of_whole_files(data, more):
    assert tuple(stream_lines("f", io.BytesIO(data + more))) == decode_lines(data + more)[0]


def test_standard_input_may_be_compressed_and_stays_open(write):
    data = dump("txt", TEXTS)
    for packed in (data, gzip.compress(data), bz2.compress(data)):
        stdin = io.BytesIO(packed)
        path = write("other.txt", "before\n")
        assert list(read_texts([str(path), "-"], stdin=stdin)) == ["before", *TEXTS]
        assert not stdin.closed


def test_a_pipe_is_read_once(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(gzip.compress(dump("txt", TEXTS))))
    writer.start()
    assert list(read_texts([str(pipe)])) == TEXTS
    writer.join()


@pytest.mark.parametrize(
    ("name", "data", "column", "text"),
    [
        ("a.csv", "id,text\n1,x\n", None,
         "{} has columns: expected the one with the texts in --column, found none; it has id, text"),
        ("a.jsonl", '{"id": 1, "text": "x"}', None,
         "{} has columns: expected the one with the texts in --column, found none; it has id, text"),
        ("a.csv", "id,text\n1,x\n", "caption", "{}: expected a column caption, found id, text; name another with "
         "--column"),
        ("a.csv", "", "caption", "{}: expected a column caption, found none; name another with --column"),
        ("a.csv", "x,x\n1,2\n", "x", "{}: expected a column x, found 2 of that name; name another with --column"),
        ("a.parquet", dump("parquet", TEXTS), "text", "{}: expected a column text, found id, caption; name another "
         "with --column"),
        ("a.jsonl", '{"id": 1}', "text", "{} line 1: expected text in column text, found only id; name another with "
         "--column"),
        ("a.parquet", dump("parquet", TEXTS), "id", "{}: expected text in column id, found integers (int64)"),
        ("a.tsv", "id\ttext\n1\tx\ty\n", "text", "{} line 2: expected 2 fields as the header has, found 3; "
         "TSV has no quoting (quotation marks are text, tabs and line breaks end a field), .csv has"),
        ("a.csv", 'id,text\n1,"x\ny"\n\n1,"x\ny",z\n', "text", "{} line 5: expected 2 fields as the header has, "
         "found 3"),
        ("a.csv", 'id,text\n1,"x\ny"\n2,"z\n3,a\n', "text", "{} line 4: expected a well-formed row, found a quotation "
         "mark that is not closed up to the end of the file; close it, and double quotation marks that are text"),
        ("a.jsonl", '\n{"text": ["a", "\\udc00"]}', "text", "{} line 2: expected text in column text, found half a "
         "surrogate pair in '\\udc00'"),
        ("a.txt", b"good\nab\xffc\n", None, "{} line 2, byte 3: expected UTF-8, found 0xff; convert the file to UTF-8 "
         "first"),
        ("a.txt", b"x" * MAX_LINE, None, "{} line 1: expected a line of text, found more than 1,048,576 bytes"),
        ("a.txt", "x\n", "caption", "column caption: expected a file with columns (.csv, .tsv, .jsonl, .parquet), "
         "found {}"),
        ("a.json", "{}", "caption", "column caption: expected a file with columns (.csv, .tsv, .jsonl, .parquet), "
         "found {}"),
        ("a.json", "{}", None, "{}: expected JSON lines (.jsonl), found one JSON document; turn its records into "
         "lines first, for COCO: jq -c '.annotations[]' FILE.json > FILE.jsonl"),
    ],
)  # fmt: skip
def test_mistakes_are_named_before_any_text_is_given(name, data, column, text, write):
    path = str(write(name, data))
    with pytest.raises(DataError) as error:
        read_texts([path], column)
    assert str(error.value) == text.replace("{}", path, 1)


def test_all_files_are_looked_at_first(tmp_path, write):
    german = write("german.txt", "".join(f"der Hund {n} und die Katze\n" for n in range(10)))
    cut = write("cut.txt.gz", gzip.compress(os.urandom(99))[:-40])
    paths = [str(p) for p in (write("good.txt", "a dog\n"), tmp_path / "absent.txt", tmp_path, german, cut)]
    with pytest.raises(DataError) as error:
        read_texts(paths)
    problems = error.value.problems
    assert problems[:3] == (
        f"{paths[1]}: {NO_FILE}",
        f"{paths[2]}: expected a readable file, found Is a directory",
        f"{paths[3]}: expected English text, found lines that look German (10 of 10); pass English captions",
    )
    assert problems[3].startswith(f"{paths[4]}: expected a readable file, found ")
    assert len(problems) == 4


def test_what_comes_late_is_named_when_it_is_reached(write):
    lines = [f"a line number {n} of the corpus".encode() for n in range(3000)]
    path = str(write("late.txt", b"\n".join([*lines, b"\xff"])))
    texts = read_texts([path])
    assert sum(1 for _ in zip(range(3000), texts, strict=False)) == 3000
    with pytest.raises(DataError, match=r"late\.txt line 3001, byte 1: expected UTF-8, found 0xff"):
        next(texts)
    packed = write("late.txt.gz", gzip.compress(b"\n".join(lines * 9))[:-9])
    with pytest.raises(DataError, match=r"late\.txt\.gz: expected a readable file, found .*end"):
        list(read_texts([str(packed)]))


def test_nothing_to_read():
    for paths, text in (([], NO_FILE), (["-"], "expected English text on standard input, found none")):
        with pytest.raises(DataError) as error:
            read_texts(paths)
        assert str(error.value) == text
    with pytest.raises(DataError, match="^expected - for standard input once, found it 2 times$"):
        read_texts(["-", "-"], stdin=io.BytesIO())


@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_no_file_is_held_in_memory(kind, write):
    texts = [f"a dog number {n} runs over the long green field of the old farm" for n in range(10_000)]
    path = write(f"big.{kind}.gz", gzip.compress(dump(kind, texts), 1))
    del texts
    stream = read_texts([str(path)], None if kind == "txt" else "caption", english=False)
    tracemalloc.start()
    assert sum(1 for _ in stream) == 10_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 18  # the texts alone take four times as much
