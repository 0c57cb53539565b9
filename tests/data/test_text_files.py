"""Line alignment of caption files, and problems told all at once."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os

import pytest

from xpet.core.errors import DataError
from xpet.data.text_files import CaptionFiles, decode_lines, raise_problems, stream_lines


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a\nb\n", ("a", "b")),
        (b"a\nb", ("a", "b")),
        (b"\na\n\nb\n\n", ("", "a", "", "b", "")),
        (b"\n", ("",)),
        (b"", ()),
        (b"a\r\nb\r\n", ("a", "b")),
        (b"a\r\r\n", ("a\r",)),
        (b"\xef\xbb\xbfa\n", ("a",)),
        (" a \u2028b\u0085c\x0bd\x0c\n".encode(), (" a \u2028b\u0085c\x0bd\x0c",)),
    ],
)
def test_lines_stand_between_line_feeds(data, lines):
    assert decode_lines(data) == (lines, [])


def test_bad_utf8_names_line_and_byte_and_keeps_the_count():
    lines, problems = decode_lines(b"good\nab\xffc\n\xc3(\n")
    assert lines == ("good", "", "")
    assert problems == [
        "line 2, byte 3: expected UTF-8, found 0xff",
        "line 3, byte 1: expected UTF-8, found 0xc3",
    ]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_other_encodings_are_named_once(mark, encoding, tmp_path, write):
    data = f"{mark}image,lang,caption\n犬.png,ja,犬が走る\n\u0a0a.png,ja,猫\n".encode(encoding)
    problem = f"line 1: expected UTF-8, found {encoding[:6].upper()}; convert the file to UTF-8 first"
    assert decode_lines(data) == (("image,lang,caption", "犬.png,ja,犬が走る", "\u0a0a.png,ja,猫"), [problem])
    path = write("t.csv", data)
    with pytest.raises(DataError) as error:
        next(stream_lines("t.csv", io.BytesIO(data)))
    assert error.value.problems == (f"t.csv {problem}",)
    source = CaptionFiles(tmp_path).readable(path)
    with pytest.raises(DataError) as error:
        next(source.lines())
    assert error.value.problems == (f"t.csv {problem}",)


@pytest.mark.parametrize(("data", "found"), [
    (bz2.compress(b"a\nb\n"), "a bz2 archive; unpack it first"),
    (bz2.compress(b"a", 1), "a bz2 archive; unpack it first"),
    (lzma.compress(b"a\nb\n"), "an xz archive; unpack it first"), (b"PK\3\4\x14\0", "a zip archive; unpack it first"),
    (b"PAR1\x15\x04\x15", "Parquet; let its name end in .parquet"),
])  # fmt: skip
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_files_that_are_no_text_are_named(data, found, pack, tmp_path, write):
    files = CaptionFiles(tmp_path)
    path = write("captions.txt.gz", pack(data))
    assert files.lines(path, 2) == ()
    assert files.problems == [f"captions.txt.gz line 1: expected UTF-8, found {found}"]
    with pytest.raises(DataError) as error:
        list(files.readable(path).lines())
    assert error.value.problems == (f"captions.txt.gz line 1: expected UTF-8, found {found}",)
    with pytest.raises(DataError, match=f"^t line 1: expected UTF-8, found {found}$"):
        next(stream_lines("t", io.BytesIO(data)))


def test_gzip_is_told_by_its_magic_bytes(tmp_path, write):
    data = gzip.compress(b"one\n\ntwo\n")
    files = CaptionFiles(tmp_path)
    assert files.lines(write("plainly.txt", data), 3) == ("one", "", "two")
    files.check()
    assert files.fingerprints == {"plainly.txt": hashlib.sha256(data).hexdigest()}


def test_problems_of_all_files_are_told_together(tmp_path, write):
    files = CaptionFiles(tmp_path)
    files.lines(write("short.txt", "a\nb\n"), 3)
    files.lines(write("bad.txt", b"a\n\xff\nc\n"), 3)
    files.lines(write("worse.txt", b"\xff\n" * 5), 5)
    files.lines(write("empty.txt", b""), 3)
    files.lines(write("bom.txt", b"\xef\xbb\xbf"), 3)
    files.lines(write("cut.txt.gz", gzip.compress(b"a\nb\nc\n" * 99)[:-9]), 3)
    files.lines(tmp_path / "absent.txt", 3)
    files.lines(tmp_path, 3)
    with pytest.raises(DataError) as error:
        files.check()
    problems = error.value.problems
    assert problems[:2] == (
        "short.txt: expected 3 lines, found 2",
        "bad.txt line 2, byte 1: expected UTF-8, found 0xff",
    )
    assert problems[2:6] == (
        *(f"worse.txt line {n}, byte 1: expected UTF-8, found 0xff" for n in (1, 2, 3)),
        "worse.txt: 2 more lines are not UTF-8",
    )
    assert problems[6:8] == tuple(f"{n}.txt: expected captions, found an empty file" for n in ("empty", "bom"))
    assert problems[8].startswith("cut.txt.gz: expected a readable file, found ")
    assert problems[9] == f"absent.txt: expected a file, found none in {tmp_path}"
    assert "expected a readable file" in problems[10]
    assert len(problems) == 11
    assert set(files.fingerprints) == {"short.txt", "bad.txt", "worse.txt", "empty.txt", "bom.txt"}


def test_image_names_must_be_there_once(tmp_path, write):
    files = CaptionFiles(tmp_path)
    assert files.image_names(write("names.txt", "a.jpg\n\na.jpg \n")) == ("a.jpg", "", "a.jpg")
    assert files.problems == [
        "names.txt line 2: expected an image name, found a blank line",
        "names.txt line 3: image a.jpg stands on line 1 too",
    ]


def test_many_problems_are_counted():
    with pytest.raises(DataError) as error:
        raise_problems([f"p{n}" for n in range(25)])
    assert error.value.problems[-2:] == ("p19", "and 5 more problems")
    raise_problems([])


def test_a_pipe_is_told_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "t.csv")
    files = CaptionFiles(tmp_path)
    assert files.lines(tmp_path / "t.csv") == ()
    assert files.readable(tmp_path / "t.csv") is None
    assert files.problems == ["t.csv: expected a file, found a pipe; write it to a file first"] * 2
